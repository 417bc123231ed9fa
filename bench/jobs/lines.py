"""The command lines of an experiment's `sweep:`, a list of them or headings with a named line each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bench.jobs.errors import ConfigError

EACH = "each"  # stands under a heading beside its lines
KINDS = "must be a list of command lines, such as ['cell=tanh,irnn seed=range(5)'], or headings with named ones"


@dataclass(frozen=True)
class Line:
    """A command line of a sweep.

    names: the headings above the line, and its own name; of a line in a list there are none. own: words that the line
    itself has. each: words of its headings. heading: those of them that the innermost heading itself has.
    """

    names: tuple[str, ...]
    own: tuple[str, ...]
    each: tuple[str, ...] = ()
    heading: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """All words; a key that the line sets is not taken from its headings."""
        return _replaced(self.each, self.own)

    @property
    def swept(self) -> dict[str, tuple[str, ...]]:
        """The keys that have several values, with these."""
        return {override.get_key_element(): values for override, values in self._overrides if values}

    @property
    def fixed(self) -> tuple[str, ...]:
        """The words that have one value."""
        return tuple(str(override.input_line) for override, values in self._overrides if not values)

    @property
    def _overrides(self) -> list[tuple[Override, tuple[str, ...]]]:
        parsed = OverridesParser.create().parse_overrides(list(self.words))
        return [(one, tuple(one.sweep_string_iterator()) if one.is_sweep_override() else ()) for one in parsed]


def lines_of(config: DictConfig) -> list[Line]:
    """The lines of a composed configuration's `sweep:`, in which \\${task.length} stands for a key of each run.

    Raises ConfigError.
    """
    sweep = config.get("sweep") or []
    return lines(OmegaConf.to_container(sweep, resolve=True) if OmegaConf.is_config(sweep) else sweep)


def lines(sweep: Any) -> list[Line]:
    """The lines of a sweep, in order. Raises ConfigError on something else, and on quotes that do not close.

    sweep: a list of command lines; or a mapping of headings to mappings, as deep as one likes, of names to command
    lines. Words under `each` go with every line of that heading.
    """
    if isinstance(sweep, Mapping):
        return list(_under(sweep, (), ()))
    if not isinstance(sweep, list) or not all(isinstance(line, str) for line in sweep):
        raise ConfigError(f"sweep={sweep}: {KINDS}")
    return [Line((), _split(line)) for line in sweep]


def _under(node: Mapping[Any, Any], names: tuple[str, ...], each: tuple[str, ...]) -> Iterator[Line]:
    heading = _split(node.get(EACH, ""))
    each = _replaced(each, heading)
    for name, inner in node.items():
        if isinstance(inner, Mapping):
            yield from _under(inner, (*names, str(name)), each)
        elif name != EACH:
            yield Line((*names, str(name)), _split(inner), each, heading)


def _split(line: Any) -> tuple[str, ...]:
    if not isinstance(line, str):
        raise ConfigError(f"sweep={line}: {KINDS}")
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise ConfigError(f"sweep: {line}: {error}") from None


def _replaced(words: tuple[str, ...], by: tuple[str, ...]) -> tuple[str, ...]:
    """Words, each in its place but with the value that it has in `by`, and what else is in `by`."""
    keyed = {word.partition("=")[0]: word for word in (*words, *by)}
    return tuple(keyed.values())
