"""What can be chosen, with a line about each: the yaml files of `conf/`, read without loading torch."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

import yaml

import conf
from bench.jobs.errors import ConfigError

CONF = Path(conf.__path__[0])
NO_GROUP = "hydra"  # Hydra's own part of `conf/`
PACKAGE = "# @package"


class Choices(dict[str, str]):
    """Names, each with a line that says what it is; printed one below the other."""

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:{width}}  {line}" for name, line in self.items())


def choices(group: str | None = None) -> Choices:
    """The names that `group=NAME` accepts (`cell`, `initializer/recurrent`); without a group, the groups.

    Raises ConfigError for a group that does not exist.
    """
    groups = sorted({str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")} - {"."})
    groups = [name for name in groups if name.split("/")[0] != NO_GROUP]
    if group is None:
        return Choices({name: ", ".join(_files(name)) for name in groups})
    if group not in groups:
        near = difflib.get_close_matches(group, groups, n=1)
        raise ConfigError(f"{group}: no such group; " + (f"did you mean {near[0]}?" if near else ", ".join(groups)))
    nodes = {name: _component(path) for name, path in _files(group).items()}
    return Choices({name: _line(path, nodes[name], list(nodes.values())) for name, path in _files(group).items()})


def cells() -> Choices:
    """Recurrent cells: `cell=NAME`."""
    return choices("cell")


def tasks() -> Choices:
    """What is to be remembered: `task=NAME`."""
    return choices("task")


def initializers() -> Choices:
    """Starts of all weights: `initializer=NAME`; of one role: `choices("initializer/recurrent")`."""
    return choices("initializer")


def clipping_rules() -> Choices:
    """What is done to long gradients: `clipping=NAME`."""
    return choices("clipping")


def optimizers() -> Choices:
    """Steps made of gradients: `optimizer=NAME`."""
    return choices("optimizer")


def schedules() -> Choices:
    """Learning rates over a run: `schedule=NAME`."""
    return choices("schedule")


def remedies() -> Choices:
    """Help for the gradient or the weights, several at a time: `remedies=[NAME, ...]`."""
    return choices("remedies")


def measurements() -> Choices:
    """What is watched while a net learns, several at a time: `measurement=[NAME, ...]`."""
    return choices("measurement")


def engines() -> Choices:
    """What computes gradients: `engine=NAME`."""
    return choices("engine")


def experiments() -> Choices:
    """Whole sweeps: `experiment=NAME`."""
    return choices("experiment")


def _files(group: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((CONF / group).glob("*.yaml"))}


def _component(path: Path) -> dict[str, Any]:
    """The component that a yaml describes; of one that stands under its group's name (`cell:`), what is there."""
    node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    inner = node.get(path.parent.name)
    return inner if "_target_" not in node and isinstance(inner, dict) else node


def _line(path: Path, node: dict[str, Any], siblings: list[dict[str, Any]]) -> str:
    """The first sentence of the yaml's own comment, else of its class, with the fields that tell it from others."""
    comment = _comment(path)
    if comment or "_target_" not in node:
        return comment or _question(node) or ", ".join(f"{role}={name}" for role, name in _parts(node).items())
    alike = [one for one in siblings if one.get("_target_") == node["_target_"]]
    own = [f"{key}={value}" for key, value in node.items() if any(one.get(key) != value for one in alike)]
    return _sentence(docstring_of(node["_target_"])) + (f" ({', '.join(own)})" if own else "")


def _comment(path: Path) -> str:
    """The comment at the head of a yaml."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith(PACKAGE):
            lines.append(line.lstrip("# "))
    return _sentence(" ".join(lines))


def _question(node: dict[str, Any]) -> str:
    """What an experiment asks."""
    asks = node.get("asks")
    return " ".join(str(asks.get("question", "")).split()) if isinstance(asks, dict) else ""


def _parts(node: dict[str, Any]) -> dict[str, str]:
    """The files that a yaml without a component of its own is made of."""
    found = [one for one in node.get("defaults", []) if isinstance(one, dict)]
    return {str(key).removeprefix("override ").strip("/"): str(value) for one in found for key, value in one.items()}


@functools.cache
def docstring_of(target: str) -> str:
    """The docstring of a class, read from its file: importing it would load torch."""
    module, _, name = target.rpartition(".")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return ast.get_docstring(found) or ""


def _sentence(text: str) -> str:
    """The first sentence, as one line, without the full stop; `et al.` ends none."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<!\bal)\. (?=[A-Z])", paragraph)[0].removesuffix(".")
