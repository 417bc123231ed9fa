"""Composes many configurations of one command, faster than Hydra alone."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, open_dict

from bench.jobs.errors import ConfigError
from bench.jobs.groups import Groups


def unknown_key(error: Exception) -> str | None:
    """The key that Hydra finds nowhere, by the words of its error; None if that is about something else."""
    found = re.search(r"Could not override '([^'@]+)'", str(error))
    return found[1] if found else None


class Composer:
    """Composes jobs faster than Hydra alone: one composition per choice of yaml files, plain values set on a copy.

    Hydra takes 50 ms a job, more than the training of a small replica. Equality with it is tested.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._loader = loader
        self._config = config
        self._options = Groups(loader, config)
        self._parser = self._options.parser()
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._groups: dict[str, bool] = {}
        self._parsed: dict[str, Override] = {}  # most overrides of a sweep are those of many jobs

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of one job, Hydra's own part left out. Raises ConfigError on a key that does not exist."""
        from bench.jobs.keys import no_such_key

        files, values = self._split(overrides)
        config = copy.deepcopy(self._of_files(files))
        with open_dict(config):
            del config["hydra"]
        for text in values:
            try:
                ConfigLoaderImpl._apply_overrides_to_config([self._parse(text)], config)
            except ConfigCompositionException as error:
                key = unknown_key(error)
                raise ConfigError(no_such_key(key, config)) if key else error from None
        return config

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """The yaml chosen in every group, Hydra's own left out; a list of files is joined by +."""
        chosen = self._of_files(self._split(overrides)[0]).hydra.runtime.choices
        named = {str(group): name for group, name in chosen.items() if not str(group).startswith("hydra/")}
        return {
            group: name if isinstance(name, str) else "+".join(name)
            for group, name in named.items()
            if name is not None and group not in ("experiment", "engine", "logger")
        }

    def options(self, group: str) -> list[str]:
        """The names of a group's yaml files."""
        return self._options.get_group_options(group)

    def _split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
        """Overrides that choose files, and overrides that set values."""
        files: list[str] = []
        values: list[str] = []
        for text in overrides:
            key = self._parse(text).key_or_group
            if key not in self._groups:
                self._groups[key] = bool(self._options.get_group_options(key))
            is_file = self._groups[key] or key.startswith("hydra.")
            (files if is_file else values).append(text)
        return tuple(files), values

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            (self._parsed[text],) = self._parser.parse_overrides([text])  # whose errors quote the override
        return self._parsed[text]

    def _of_files(self, files: tuple[str, ...]) -> DictConfig:
        if files not in self._composed:
            self._composed[files] = self._loader.load_sweep_config(self._config, list(files))
        return self._composed[files]
