"""What is done to a net, its data, its loss or its gradient so that it learns better: one remedy, one file."""
