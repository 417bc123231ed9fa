"""What a worker does: train one pack and leave each run's files in its directory. Results travel as files."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench
from bench.config import Job
from bench.results import RunDirectory
from bench.training import Progress, Record, Training


@dataclass(frozen=True)
class Order:
    """A pack to be trained: its jobs, and per job the resolved configuration and the command line that asked for it."""

    jobs: Sequence[Job]
    configs: Sequence[Mapping[str, Any]]
    overrides: Sequence[Mapping[str, Any]]


def work(order: Order, pipe: Connection) -> None:
    """Main function of a worker process; tells through the pipe where it stands. Exits with 1 on failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not train(order, pipe.send):
        raise SystemExit(1)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def train(order: Order, report: Callable[[Progress], None]) -> bool:
    """Train the pack and write its runs; False, and a failure in every directory, if it raised."""
    torch.set_num_threads(1)  # a replica's bits depend on it, and packs side by side are faster than threads
    directories = [RunDirectory(job.results, job.replica.run_id) for job in order.jobs]
    environment = describe_environment(order.jobs[0])
    for directory, config, overrides in zip(directories, order.configs, order.overrides, strict=True):
        directory.begin(config, overrides, environment)
    began = time.perf_counter()
    try:
        first = order.jobs[0]
        training = Training([job.replica for job in order.jobs], first.engine, torch.device(first.device))
        records = training.run(report)
        for directory, record in zip(directories, records, strict=True):
            facts = {"engine": type(first.engine).__name__.lower(), "version": bench.__version__}
            tables = {name: record.table(name) for name in record.tables}
            directory.finish({**record.outcome, **facts}, tables, history(record))
    except Exception as error:
        lines = traceback.format_exc().splitlines()
        for directory in directories:
            if not directory.is_finished:
                fail(directory, f"{type(error).__name__}: {error}", time.perf_counter() - began, lines)
        return False
    return True


def fail(directory: RunDirectory, message: str, seconds: float, lines: Sequence[str]) -> None:
    """Note a run that could not be carried out; an outcome like any other."""
    directory.fail({"outcome": "failed", "message": message, "seconds": seconds}, lines)


def history(record: Record) -> list[str]:
    """The log of a run: its evaluations and how it ended."""
    table = record.table("evaluations")
    lines = [
        f"update {update:6d}  loss {loss:.4g}  skill {skill:.4f}  accuracy {accuracy:.4f}  {seconds:.1f} s"
        for update, loss, skill, accuracy, seconds in zip(
            *(table[name] for name in ("update", "loss", "skill", "accuracy", "seconds")), strict=True
        )
    ]
    ended = {
        name: record.outcome[name] for name in ("outcome", "solved_at", "diverged_at", "final_loss", "final_skill")
    }
    return [*lines, "  ".join(f"{name} {value}" for name, value in ended.items())]


def describe_environment(job: Job) -> dict[str, Any]:
    """Where and with what a run is made."""
    return {
        "bench": bench.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if job.device == "cuda" else job.device,
        "threads": torch.get_num_threads(),
        "precision": job.replica.precision,
        "engine": type(job.engine).__name__.lower(),
    }


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(bench.__file__).parent
    try:
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
