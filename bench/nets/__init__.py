"""A cell with its readout: the recurrences, how they start, and how their parameters lie in memory."""
