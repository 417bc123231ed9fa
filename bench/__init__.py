"""Reference suite for long-range memory in recurrent networks."""

__version__ = "0.1.0"
