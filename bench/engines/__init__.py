"""Loss, gradients and gradient trace of a pack: one question, several answers."""
