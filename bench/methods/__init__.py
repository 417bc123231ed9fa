"""What is done to gradients, weights and losses while a net learns: one small dataclass per method."""
