"""A command line as plain data, composed by Hydra and resolved; and single components, for tests and notebooks."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from bench.engines.auto import Auto
from bench.engines.engine import Engine
from bench.exports.logger import Logger
from bench.jobs.build import build, chosen_class, converted
from bench.jobs.composer import Composer
from bench.jobs.errors import ConfigError
from bench.jobs.job import engine_node
from bench.jobs.keys import OF_SWEEPS, check_keys, packages
from bench.nets.cells.cell import Cell
from bench.nets.network import Network
from bench.training.replica import Replica
from tasks.task import Task

YAML_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration resolved to plain data, without Hydra's own part and what is said of a whole sweep.

    Raises ConfigError if a top-level key is missing, or is none of a run's.
    """
    with_hydra = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(with_hydra, dict)
    of_a_run = {str(name): _numbers(value) for name, value in with_hydra.items() if name not in OF_SWEEPS}
    check_keys(of_a_run)
    return _sized(of_a_run)


def _sized(config: dict[str, Any]) -> dict[str, Any]:
    """With the cell's budget of parameters turned into its number of units, and `steps: null` into those of the task.

    A budget is no setting of a cell: a run asked for by budget and one asked for by the units that it comes to are the
    same. Where both are given the budget wins, for `hidden` has a value in every yaml. One layer is the cell itself.
    """
    cell = config["cell"]
    if not isinstance(cell, Mapping):
        return config
    sized = {name: value for name, value in cell.items() if name != "parameters" and (name, value) != ("layers", 1)}
    if sized.get("steps", 0) is None:
        sized["steps"] = build(Task, config["task"], "task", packages(config["extensions"])).steps  # type: ignore[type-abstract]
    if cell.get("parameters") is not None:
        budget = converted(int, cell["parameters"], "cell.parameters", ())
        sized["hidden"] = _units(sized, config["task"], budget, packages(config["extensions"]))
    return {**config, "cell": sized}


def _units(node: Mapping[str, Any], task_node: Any, budget: int, allowed: Sequence[str]) -> int:
    """The most units with which a cell and its readout have at most `budget` parameters."""
    task: Task = build(Task, task_node, "task", allowed)  # type: ignore[type-abstract]
    kind: type[Cell] = chosen_class(Cell, node.get("_target_"), "cell", allowed)
    multiple = kind.hidden_multiple

    def count(multiples: int) -> int:
        cell: Cell = build(Cell, {**node, "hidden": multiples * multiple}, "cell", allowed)  # type: ignore[type-abstract]
        return Network(cell, task.inputs, task.outputs).parameter_count

    if count(1) > budget:
        raise ConfigError(
            f"cell.parameters={budget}: must be a whole number >= {count(1)}, which hidden={multiple} takes"
        )
    fits, too_many = 1, 2
    while count(too_many) <= budget:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if count(middle) <= budget else (fits, middle)
    return fits * multiple


def _numbers(node: Any) -> Any:
    """Hydra reads yaml's `.inf`, `-.Inf` or `.nan` on a command line as a word; here it is the number."""
    if isinstance(node, dict):
        return {name: _numbers(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_numbers(value) for value in node]
    return float(node.replace(".", "")) if isinstance(node, str) and YAML_FLOAT.fullmatch(node) else node


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration that the command line `overrides` ask for, as plain data."""
    search = tuple(one for one in overrides if one.startswith("hydra."))
    return plain(_composer(search).compose([one for one in overrides if one not in search]))


def options(group: str, overrides: Sequence[str] = ()) -> list[str]:
    """The names of a group's yaml files, with those of a package that `overrides` put on Hydra's search path."""
    return _composer(tuple(one for one in overrides if one.startswith("hydra."))).options(group)


@functools.cache
def _composer(of_hydra: tuple[str, ...]) -> Composer:
    """What composes command lines with these overrides of Hydra's own part, say of its search path."""
    with initialize_config_module("conf", version_base="1.3"):
        master = compose("config", overrides=list(of_hydra), return_hydra_config=True)
        return Composer(GlobalHydra.instance().config_loader(), master)


def chosen(overrides: Sequence[str]) -> DictConfig:
    """The configuration of the yaml files that `overrides` choose and without what they delete; values are the yaml's.

    Sweeps are left out, and so are all overrides where no configuration comes of them.
    """
    with initialize_config_module("conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        try:
            parsed = OverridesParser.create().parse_overrides(list(overrides))
            search = [one.input_line or "" for one in parsed if one.key_or_group == "hydra.searchpath"]
            kept = [
                one.input_line or ""
                for one in parsed
                if not one.is_sweep_override()
                and (one.is_delete() or loader.get_group_options(one.key_or_group, overrides=search))
            ]
            return compose("config", overrides=[*search, *kept], return_hydra_config=True)
        except HydraException:
            return compose("config", return_hydra_config=True)


def example(choice: str, **fields: Any) -> Any:
    """A component as its yaml describes it, for tests and notebooks: `example("cell/lstm", hidden=8)`.

    choice: a group and a name in `conf/`. fields: settings that are to differ from the yaml.
    """
    group, _, name = choice.rpartition("/")
    section, _, role = group.partition("/")
    kind: Any = {**typing.get_type_hints(Replica), "engine": Engine | Auto, "logger": Logger}[section]
    several = typing.get_origin(kind) is dict  # measurements and remedies: one may choose many
    if several:
        _, kind = typing.get_args(kind)
    if role:
        kind = typing.get_type_hints(kind)[role]
    node = _of_one_file(group, name)
    if node is None:
        node = composed(f"{group}=[{name}]" if several else f"{group}={name}")[section]
        if several:
            (node,) = node.values()
        if role:
            node = node[role]
    if section == "engine":
        _, node = engine_node(node)
    return build(kind, {**node, **fields}, group)


def _of_one_file(group: str, name: str) -> dict[str, Any] | None:
    """What a composition has of a component, read from its yaml alone, in a fiftieth of the time.

    None where other files have a part in it, and where there is no such file.
    """
    file = resources.files("conf").joinpath(group, f"{name}.yaml")
    if not file.is_file():
        return None
    config = OmegaConf.create(file.read_text(encoding="utf-8"))
    assert isinstance(config, DictConfig)
    others = config.pop("defaults", [])
    if any(not str(key).startswith("override /") for choice in others for key in choice):
        return None
    try:
        own = OmegaConf.to_container(config.get(group, config), resolve=True, throw_on_missing=True)
    except InterpolationKeyError:  # a key of other files
        return None
    node = _numbers(own)
    return None if node.get("steps", 0) is None else node  # those of the task
