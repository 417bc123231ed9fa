"""One run as a checked job: what is asked, and how it is carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.engines.auto import Auto
from bench.engines.engine import Engine
from bench.exports.logger import Logger
from bench.jobs.build import build, converted
from bench.jobs.errors import ConfigError
from bench.jobs.keys import packages
from bench.jobs.limits import Budget, Checkpoints
from bench.runs.directory import WEIGHTS, RunDirectory
from bench.training.replica import Replica
from bench.training.start import Start


@dataclass(frozen=True)
class Job:
    """One run: what is asked (`replica`) and how it is carried out.

    engine: resolved, never `auto`. fallbacks: the engines that serve in its stead, in this order, where it does not
    prove itself on the machine that trains; none where it was named. unchecked: whether it trains even so.
    device: `cpu` or `cuda`. results: folder of the run directories.
    checkpoint: how often it keeps where it stands. budget: when it is to end from outside. logger: what a finished run
    is exported to, beside its files.
    """

    replica: Replica
    engine: Engine
    fallbacks: tuple[Engine, ...]
    unchecked: bool
    device: str
    results: str
    checkpoint: Checkpoints
    budget: Budget
    logger: Logger | None


def checked_job(config: Mapping[str, Any]) -> Job:
    """The checked job of a run's configuration as `plain` gives it.

    Raises ConfigError on a wrong name, type or value, and where the machine or the engine cannot do what is asked.
    """
    allowed = packages(config["extensions"])
    names = [field.name for field in dataclasses.fields(Replica)]
    replica = build(Replica, {name: config[name] for name in names} | {"start": None}, "", allowed)
    replica = _started(replica, config["start"])
    device = _device(config["device"])
    asked = replica.network, torch.device(device), replica.interventions
    unchecked, node = engine_node(config["engine"])
    engine: Engine | Auto = converted(Engine | Auto, node, "engine", allowed)
    fallbacks: tuple[Engine, ...] = ()
    if isinstance(engine, Auto):
        engine, *others = engine.candidates(*asked)
        fallbacks = tuple(others)
    if reason := engine.refusal(*asked):
        raise ConfigError(f"engine={engine.name}: {reason}; engine=auto chooses one that can")
    checkpoint = build(Checkpoints, config["checkpoint"], "checkpoint")
    budget = build(Budget, config["budget"], "budget")
    logger = build(Logger, config["logger"], "logger", allowed) if config["logger"] else None  # type: ignore[type-abstract]
    if not isinstance(config["selection"], str | None):
        raise ConfigError(f"selection={config['selection']}: must be words that say how settings were chosen, or null")
    return Job(replica, engine, fallbacks, unchecked, device, _folder(config["results"]), checkpoint, budget, logger)


def engine_node(node: Any) -> tuple[bool, Any]:
    """Whether an engine trains without having proved itself, and its node without that: it is no setting of its own."""
    if not isinstance(node, Mapping):
        return False, node
    unchecked = converted(bool, node.get("unchecked", False), "engine.unchecked", ())
    return unchecked, {name: value for name, value in node.items() if name != "unchecked"}


def _started(replica: Replica, origin: object) -> Replica:
    """The replica with the weights of the run in the folder `origin` to begin with; None leaves it as it is."""
    if origin is None:
        return replica
    if not isinstance(origin, str):
        raise ConfigError(f"start={origin}: must be the folder of a finished run, such as results/quick/RUN, or null")
    path = Path(origin)
    try:
        return dataclasses.replace(replica, start=Start(origin, RunDirectory(path.parent, path.name).weights))
    except OSError:
        raise ConfigError(f"start={origin}: no {WEIGHTS} there; give the folder of a finished run") from None
    except ValueError as error:  # Damaged is one
        said = str(error)
        raise ConfigError(said if said.startswith("start=") else f"start={origin}: {said}") from None


def _folder(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        given = "null" if name is None else name
        raise ConfigError(f"results={given}: must be the name of a folder, such as results/mine")
    return name


def _device(name: object) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device={name}: use auto, cpu or cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("device=cuda: there is no CUDA device on this machine; use device=cpu or device=auto")
    return "cuda" if name != "cpu" and there else "cpu"
