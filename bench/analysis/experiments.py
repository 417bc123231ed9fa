"""The experiments of this suite as their yaml describes them: what they ask, and what sources say of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

FOLDER = resources.files("conf") / "experiment"


def experiments() -> list[str]:
    """All experiments of this suite, in alphabetical order."""
    return sorted(path.name.removesuffix(".yaml") for path in FOLDER.iterdir() if path.name.endswith(".yaml"))


@functools.cache
def described(experiment: str) -> Mapping[str, Any]:
    """What the yaml of an experiment says itself; nothing of an experiment that is no longer there."""
    path = FOLDER / f"{experiment}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def larger(experiment: str) -> list[str]:
    """The experiments that one is made from, a small recipe from the one at full size."""
    return [name for name in described(experiment).get("defaults", []) if isinstance(name, str) and name != "_self_"]
