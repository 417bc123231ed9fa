"""One run as a checked job: what is asked, and how it is carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bench.engines.auto import Auto
from bench.engines.engine import Engine
from bench.exports.logger import Logger
from bench.jobs.build import ConfigError, build
from bench.jobs.limits import Budget, Checkpoints
from bench.pack.identity import OWN_PACKAGES
from bench.training.replica import Replica


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


def checked_job(config: Mapping[str, Any]) -> Job:
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
