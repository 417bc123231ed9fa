"""Statistics of many runs: intervals, tests, time to solve, memory length, decay of the gradient."""
