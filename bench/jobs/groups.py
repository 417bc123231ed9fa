"""The groups of yaml files in `conf/` and in a user's packages, for whoever reads a sweep's command line."""

from __future__ import annotations

from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig


class Groups:
    """What Hydra's own `get_group_options` answers, asked with the search path of this command."""

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._loader = loader
        self._overrides = list(config.hydra.overrides.hydra)
        self._config_name = config.hydra.job.config_name

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        """The names of a group's yaml files; none if there is no such group."""
        return self._loader.get_group_options(group_name, results_filter, self._config_name, self._overrides)

    def parser(self) -> OverridesParser:
        """A parser of overrides whose `glob()` finds these files."""
        groups: Any = self  # the one method of a ConfigLoader that a parser's overrides use
        return OverridesParser.create(groups)
