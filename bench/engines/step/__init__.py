"""The step compiler: traces the `step` of a cell, differentiates it, and writes it forward and back in C or Triton."""
