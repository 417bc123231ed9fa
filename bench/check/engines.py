"""Every engine that serves a net on this machine: whether it agrees with float64 there, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from bench.analysis.table import Table
from bench.engines.auto import BY_SPEED
from bench.engines.engine import Interventions
from bench.engines.proof import Question, fault
from bench.jobs.compose import composed, options
from bench.jobs.job import Job, checked_job
from bench.nets.network import Network
from bench.pack.streams import Stream

REPLICAS = 16  # of which a pass is timed
ROUNDS = 3
NONE = "-"  # the engine does not serve this cell here


@dataclass(frozen=True)
class Engines:
    """What the check of all engines found. table: a row per cell. faults: empty if all agree."""

    device: str
    table: str
    faults: Sequence[str]


def engines(overrides: Sequence[str]) -> Engines:
    """Check and time every engine with the net of a command line, or, where it names no cell, with each of `conf/cell`.

    A time is that of loss and gradient of a pack of 16, as a multiple of the speed of `eager`, the oracle.

    Raises ConfigError, or an error of Hydra, on a mistake in the command line.
    """
    named = [one.partition("=")[2] for one in overrides if one.startswith("cell=")]
    rest = [one for one in overrides if not one.startswith("cell=")]
    rows: list[dict[str, str]] = []
    faults: list[str] = []
    for cell in named or options("cell", overrides):
        job = checked_job(composed(f"cell={cell}", *rest))
        rows.append({"cell": cell, **_row(job, faults)})
    order = [engine.name for engine in BY_SPEED if any(engine.name in row for row in rows)]
    frame = pd.DataFrame(rows, columns=["cell", *order]).fillna(NONE)
    where = torch.cuda.get_device_name() if job.device == "cuda" else job.device
    return Engines(where, Table("engines", frame, frame, "").markdown(), faults)


def _row(job: Job, faults: list[str]) -> dict[str, str]:
    """By engine, whether it agrees and how fast it is; what does not is added to `faults`."""
    replica, device, network = job.replica, torch.device(job.device), job.replica.network
    row: dict[str, str] = {}
    taken: dict[str, float] = {}
    for engine in reversed(BY_SPEED):
        if engine.refusal(network, device, replica.interventions) is not None:
            continue
        found = fault(engine, Question(network, replica.dtype, device, replica.clipping))
        if found is not None:
            faults.append(f"{engine.name} on {network.cell.name}: {found}")
            row[engine.name] = "disagrees"
            continue
        program = engine.program(network, replica.task, Interventions(replica.clipping))
        taken[engine.name] = _seconds(job, network, program.gradients)
        row[engine.name] = f"{taken['eager'] / taken[engine.name]:.1f}x"
    return row


def _seconds(job: Job, network: Network, gradients: Callable[..., object]) -> float:
    """The least that a pass of a pack takes in a few tries, of the processor or of the GPU."""
    replica, device = job.replica, torch.device(job.device)
    random = Stream(range(REPLICAS), "check", dtype=replica.dtype, device=device)
    flat = network.initial([replica.initializer] * REPLICAS, range(REPLICAS)).to(device, replica.dtype)
    batch = replica.task.sample(random, replica.batch_size)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(ROUNDS + 1):  # the first one builds what it needs
        began = clock()
        gradients(flat, batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - began)
    return min(times[1:])
