"""From the `step` of a cell to C or Triton: tracing, differentiation, and the text of one step forward and back."""
