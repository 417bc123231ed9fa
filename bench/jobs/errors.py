"""What a mistake in the configuration raises; apart from `build`, so that Hydra's plugins need no torch for it."""


class ConfigError(ValueError):
    """A mistake in the configuration, told in one line: what was given, what is accepted, what to do."""
