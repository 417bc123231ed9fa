"""The recurrence: one cell, one file."""
