"""From yaml to checked dataclasses.

Every component in `conf/` names its class with `_target_` and gives every field a value. `build` checks names, types
and, through the class's own `__post_init__`, values, before anything is trained; a mistake becomes one line
(`ConfigError`). Only classes of this suite, or of a package that the user names (`extensions: [my_package]`), are
built.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from bench.cells.cell import Cell
from bench.engines.auto import Auto
from bench.engines.engine import Engine
from bench.exports.logger import Logger
from bench.network import Network
from bench.pack.identity import OWN_PACKAGES
from bench.replicas import Replica
from bench.sweep.limits import Budget, Checkpoints
from tasks.task import Task

OF_SWEEPS = ("hydra", "sweep", "claims")  # parts of a composed configuration that no run has
T = TypeVar("T")


class ConfigError(ValueError):
    """A mistake in the configuration, told in one line: what was given, what is accepted, what to do."""


@dataclass(frozen=True)
class Job:
    """One run: what is asked (`replica`) and how it is carried out.

    engine: resolved, never `auto`. device: `cpu` or `cuda`. results: folder of the run directories.
    checkpoint: how often it keeps where it stands. budget: when it is to end from outside. logger: what a finished run
    is exported to, beside its files.
    """

    replica: Replica
    engine: Engine
    device: str
    results: str
    checkpoint: Checkpoints
    budget: Budget
    logger: Logger | None


def job(config: Mapping[str, Any]) -> Job:
    """The checked job of a resolved configuration (plain dicts and lists)."""
    allowed = (*OWN_PACKAGES, *config["extensions"])
    names = [field.name for field in dataclasses.fields(Replica)]
    replica = build(Replica, {name: config[name] for name in names}, "", allowed)
    engine = build(Engine, config["engine"], "engine", allowed)  # type: ignore[type-abstract]
    device = _device(config["device"])
    if isinstance(engine, Auto):
        engine = engine.resolved(replica.network, torch.device(device), replica.clipping.repairs)
    if not engine.supports(replica.network, torch.device(device)):
        name, cell = type(engine).__name__.lower(), type(replica.cell).__name__
        raise ConfigError(f"engine={name}: cannot train a {cell} on {device}; engine=auto chooses one that can")
    if replica.treated and not engine.treats:
        name = type(engine).__name__.lower()
        raise ConfigError(f"engine={name}: takes no remedies and no clipping on the way back; engine=auto does")
    if replica.clipping.repairs and not engine.repairs:
        name = type(engine).__name__.lower()
        raise ConfigError(f"engine={name}: cannot clip the gradient on its way back; engine=auto can")
    checkpoint = build(Checkpoints, config["checkpoint"], "checkpoint")
    budget = build(Budget, config["budget"], "budget")
    logger = build(Logger, config["logger"], "logger", allowed) if config["logger"] else None  # type: ignore[type-abstract]
    return Job(replica, engine, device, str(config["results"]), checkpoint, budget, logger)


def _device(name: object) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device={name}: use auto, cpu or cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("device=cuda: there is no CUDA device on this machine; use device=cpu or device=auto")
    return "cuda" if name != "cpu" and there else "cpu"


def build(kind: type[T], node: Any, path: str, allowed: Sequence[str] = OWN_PACKAGES) -> T:
    """An instance of `kind` from a yaml node; `path` is where the node stands, for messages.

    Raises ConfigError on a wrong name, type or value.
    """
    value: T = _convert(kind, node, path, allowed)
    return value


def _convert(kind: Any, node: Any, path: str, allowed: Sequence[str]) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _convert(arguments[0], node, path, allowed)
    if origin is Literal:
        if node not in arguments:
            raise ConfigError(f"{path}={node}: use one of {', '.join(map(str, arguments))}")
        return node
    if origin in (typing.Union, types.UnionType):
        if node is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _convert(kind, node, path, allowed)
    if origin is dict:
        return {name: _convert(arguments[1], value, _join(path, name), allowed) for name, value in (node or {}).items()}
    if dataclasses.is_dataclass(kind):
        return _component(kind, node, path, allowed)
    return _plain(kind, node, path)


def _plain(kind: type, node: Any, path: str) -> Any:
    described = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    if kind is float and type(node) is int:
        return float(node)
    if type(node) is not kind:
        raise ConfigError(f"{path}={node}: must be {described[kind]}")
    return node


def _component(kind: Any, node: Any, path: str, allowed: Sequence[str]) -> Any:
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{path}={node}: must be a component with its settings; choose one with {path.replace('.', '/')}=NAME"
        )
    target = _target(kind, node.get("_target_"), path, allowed)
    given = {name: value for name, value in node.items() if name != "_target_"}
    hints = typing.get_type_hints(target, include_extras=True)
    fields = [field.name for field in dataclasses.fields(target)]
    for name in given:
        if name not in fields:
            raise ConfigError(f"{_join(path, name)}: no such setting of {target.__name__}; {_accepted(name, fields)}")
    for name in fields:
        if name not in given:
            raise ConfigError(f"{_join(path, name)}: {target.__name__} needs a value for it")
    values = {name: _convert(hints[name], given[name], _join(path, name), allowed) for name in fields}
    try:
        return target(**values)
    except ValueError as error:
        raise ConfigError(f"{path}.{error}" if path else str(error)) from None


def _target(kind: type, name: Any, path: str, allowed: Sequence[str]) -> type:
    if name is None:
        if inspect.isabstract(kind):
            raise ConfigError(f"{path}: needs _target_, the class of a {kind.__name__}")
        return kind
    module, _, attribute = str(name).rpartition(".")
    if module.split(".")[0] not in allowed:
        raise ConfigError(f"{path}._target_={name}: not of {', '.join(allowed)}; name its package in extensions=[...]")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ConfigError(f"{path}._target_={name}: there is no such class") from None
    if not (isinstance(target, type) and issubclass(target, kind)) or inspect.isabstract(target):
        raise ConfigError(f"{path}._target_={name}: is not a {kind.__name__}")
    return target


def _accepted(name: str, fields: list[str]) -> str:
    close = difflib.get_close_matches(name, fields, n=1)
    return f"did you mean {close[0]}?" if close else f"it has {', '.join(fields)}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration resolved to plain data, without Hydra's own part and what is said of a whole sweep."""
    with_hydra = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(with_hydra, dict)
    return _sized({str(name): _numbers(value) for name, value in with_hydra.items() if name not in OF_SWEEPS})


def _sized(config: dict[str, Any]) -> dict[str, Any]:
    """With the cell's budget of parameters turned into its number of units, and no longer there.

    A budget is no setting of a cell: a run asked for by budget and one asked for by the units that it comes to are the
    same. Where both are given the budget wins, for `hidden` has a value in every yaml.
    """
    cell = config["cell"]
    if not isinstance(cell, Mapping) or "parameters" not in cell:
        return config
    sized = {name: value for name, value in cell.items() if name != "parameters"}
    if cell["parameters"] is not None:
        budget = _plain(int, cell["parameters"], "cell.parameters")
        sized["hidden"] = _units(sized, config["task"], budget, (*OWN_PACKAGES, *config["extensions"]))
    return {**config, "cell": sized}


def _units(node: Mapping[str, Any], task_node: Any, budget: int, allowed: Sequence[str]) -> int:
    """The most units with which a cell and its readout have at most `budget` parameters."""
    task: Task = build(Task, task_node, "task", allowed)  # type: ignore[type-abstract]
    kind: type[Cell] = _target(Cell, node.get("_target_"), "cell", allowed)
    multiple = kind.hidden_multiple

    def count(multiples: int) -> int:
        cell: Cell = build(Cell, {**node, "hidden": multiples * multiple}, "cell", allowed)  # type: ignore[type-abstract]
        return Network(cell, task.inputs, task.outputs).parameter_count

    if count(1) > budget:
        raise ConfigError(f"cell.parameters={budget}: at least {count(1)}, which hidden={multiple} takes")
    fits, too_many = 1, 2
    while count(too_many) <= budget:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if count(middle) <= budget else (fits, middle)
    return fits * multiple


def _numbers(node: Any) -> Any:
    """Hydra reads yaml's `.inf` on a command line as a word; here it is the number."""
    if isinstance(node, dict):
        return {name: _numbers(value) for name, value in node.items()}
    return float("inf") if node == ".inf" else node


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration that the command line `overrides` ask for, as plain data."""
    with initialize_config_module("conf", version_base="1.3"):
        return plain(compose("config", overrides=list(overrides)))


def example(choice: str, **fields: Any) -> Any:
    """A component as its yaml describes it, for tests and notebooks: `example("cell/lstm", hidden=8)`.

    choice: a group and a name in `conf/`. fields: settings that are to differ from the yaml.
    """
    group, _, name = choice.rpartition("/")
    section, _, role = group.partition("/")
    kind: Any = {**typing.get_type_hints(Replica), "engine": Engine, "logger": Logger}[section]
    several = typing.get_origin(kind) is dict  # measurements and remedies: one may choose many
    node = composed(f"{group}=[{name}]" if several else f"{group}={name}")[section]
    if several:
        (node,), (_, kind) = node.values(), typing.get_args(kind)
    if role:
        node, kind = node[role], typing.get_type_hints(kind)[role]
    return build(kind, {**node, **fields}, group)
