"""One cell's step on the tensors of a pack, forward and backward, written by hand: one cell, one file."""
