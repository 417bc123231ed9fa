"""An experiment's question, and the rules by which its answer is read off its results."""
