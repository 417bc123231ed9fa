"""The top-level keys that a configuration has, and what is said of one that it does not have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bench.jobs.errors import ConfigError
from bench.jobs.suggestions import meant
from bench.pack.identity import HOW, OWN_PACKAGES
from bench.training.replica import Replica

NEEDED = (*(field.name for field in dataclasses.fields(Replica)), *HOW)  # what a run asks, and how it is carried out
OF_SWEEPS = ("hydra", "sweep", "claims", "asks")  # parts of a composed configuration that no run has
OF_CELLS = {"layers", "parameters"}  # settings of every cell, which stand in conf/config.yaml
ALL_KEYS = "`python -m bench --cfg job` shows all keys"


def check_keys(config: Mapping[str, Any]) -> None:
    """Raises ConfigError if a run's configuration lacks a top-level key, or has one that nothing reads."""
    for name in NEEDED:
        if not _there(name, config):
            raise ConfigError(_missing(name))
    for name in config:
        if name not in NEEDED:
            raise ConfigError(no_such_key(name, {key: config[key] for key in NEEDED}))


def packages(extensions: object) -> tuple[str, ...]:
    """The packages whose classes may be named with `_target_`. Raises ConfigError if `extensions` is no list."""
    if not isinstance(extensions, list) or not all(isinstance(name, str) and name for name in extensions):
        raise ConfigError(f"extensions={extensions}: must be a list of packages, such as [my_package]")
    return (*OWN_PACKAGES, *extensions)


def no_such_key(key: str, config: Mapping[str, Any] | DictConfig) -> str:
    """What is said of `key`, which `config`, the configuration that was chosen, does not have."""
    plain = OmegaConf.to_container(config, resolve=False) if isinstance(config, DictConfig) else config
    assert isinstance(plain, Mapping)
    section = key.replace("/", ".").split(".")[0]
    if section in NEEDED and not _there(section, plain):
        return _missing(section)
    known = _names(plain)
    found = meant(key, known)
    inside = [name for name in known if name.startswith(f"{section}.")]
    if found is None and inside:
        return f"{key}: no such key; {section} has {', '.join(name.partition('.')[2] for name in inside)}"
    return f"{key}: no such key; " + (f"did you mean {found}?" if found else ALL_KEYS)


def _there(name: str, config: Mapping[Any, Any]) -> bool:
    """Whether a top-level key has been chosen; a deleted cell leaves the settings that every cell has."""
    return name in config and not (name == "cell" and isinstance(config[name], Mapping) and {*config[name]} <= OF_CELLS)


def _missing(name: str) -> str:
    return f"{name}: missing, and every run needs it; leave ~{name} out"


def _names(node: Mapping[Any, Any], path: str = "") -> list[str]:
    """The dotted names of all keys of a configuration; of Hydra's own, those of the launcher and the sweeper."""
    names = []
    for name, value in node.items():
        full = f"{path}{name}"
        if name == "_target_" or (full in OF_SWEEPS and full != "hydra"):
            continue
        if full == "hydra":
            names += _names({part: value[part] for part in ("launcher", "sweeper") if part in value}, "hydra.")
            continue
        names.append(full)
        if isinstance(value, Mapping):
            names += _names(value, f"{full}.")
    return names
