"""One training run as a checked configuration, and the loop that trains a pack of them."""
