"""`bench.sweep(...)`: the command line with Python's values."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from bench.analysis.results import Results, load
from bench.jobs.compose import chosen, options
from bench.jobs.errors import ConfigError
from bench.jobs.foreign import in_the_way
from bench.runs.tables import Tables
from bench.sweep.command import carry_out
from bench.sweep.own import Own
from bench.sweep.sweeper import RunsFailed

PLAIN_WORD = re.compile(r"[A-Za-z_./][\w./:@+-]*")  # a value that Hydra reads as it stands


def sweep(*overrides: str, **settings: object) -> Results:
    """Train what is asked for and is not finished, and return all results of its folder.

    overrides: words as on the command line. settings: the same with Python's values; `__` stands for the dot of a key
    (`clipping__threshold=10`) or the slash of a group of yaml files (`initializer__recurrent="orthogonal"`). A list, a
    tuple, a range or an array is swept, `None` is null, `math.inf` no limit. Where the value itself is a list
    (`remedies`, `measurement`, `extensions`), a list of lists is swept.
    A component of your own may stand for the name of a yaml: `cell=[Leaky(hidden=64, rate=0.1), "tanh"]`. One that is
    defined in a notebook, or in the script itself, is trained in this process; its source is kept in the folder of the
    results, and is part of what its runs are known by.
    Raises ConfigError, in one line, on a mistake; nothing has been written then. Runs that fail give a warning and have
    a row in the results.
    """
    if foreign := in_the_way():
        raise ConfigError(foreign)
    with TemporaryDirectory() as folder:
        own = Own(settings, Path(folder))
        words = [*overrides, *words_of(own.settings)]
        try:
            carry_out(words)
        except RunsFailed as error:
            warnings.warn(str(error), stacklevel=3)
        results = Path(_folder(words))
    if results.exists():
        for module, source in own.sources.items():
            (results / f"{module}.py").write_text(source, encoding="utf-8")
    try:
        return load(results)
    except FileNotFoundError:  # a plan, or a budget that was spent before the first run ended
        return Results(Tables([]))


def words_of(settings: Mapping[str, object]) -> list[str]:
    """The words of a command line for Python's values."""
    config = chosen([])
    words = []
    for name, value in settings.items():
        key = name.replace("__", ".")
        if options(name.replace("__", "/")):
            key = name.replace("__", "/")
        words.append(f"{key}={_swept(key, _plain(value), _is_list(key, config))}")
    return words


def _swept(key: str, value: Any, is_list: bool) -> str:
    if not isinstance(value, list) or (is_list and not any(isinstance(one, list) for one in value)):
        return _word(value)
    if not value:
        raise ConfigError(f"{key}=[]: comes to no value")
    return ",".join(map(_word, value))


def _is_list(key: str, config: DictConfig) -> bool:
    """Whether one run has a list there: `remedies`, `measurement`, `extensions`, `hydra.searchpath`."""
    if options(key):
        return key not in config.hydra.runtime.choices  # a group of which several are chosen has no one choice
    return isinstance(OmegaConf.select(config, key), ListConfig)


def _plain(value: object) -> Any:
    """Numbers, words and lists of them in place of arrays, ranges, tuples, paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return [_plain(one) for one in value]
    return value


def _word(value: Any) -> str:
    """A value as Hydra's grammar writes it."""
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, str) and not PLAIN_WORD.fullmatch(value):
        escaped = value.replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)


def _folder(words: list[str]) -> str:
    """The folder of the results."""
    given = [word.partition("=")[2].strip("'") for word in words if word.startswith("results=")]
    return given[-1] if given else str(chosen(words).results)
