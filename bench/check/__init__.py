"""`python -m bench.check`: the gradient of training against differences of the loss."""
