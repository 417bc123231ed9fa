"""Where and with what a run is made, from which update on."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench
from bench.jobs.job import Job
from bench.runs.directory import Damaged, RunDirectory

STRETCH = ("bench", "commit", "processor")  # what is noted of every stretch of a run
VECTORS = ("avx512f", "avx2", "avx", "fma", "sve", "asimd")  # instructions by which sums are cut and products rounded


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
        "instructions": instructions(job.device),
        "device": torch.cuda.get_device_name() if job.device == "cuda" else job.device,
        "threads": torch.get_num_threads(),
        "precision": job.replica.precision,
        "engine": job.engine.name,
    }


def with_stretches(environment: Mapping[str, Any], directory: RunDirectory, update: int) -> dict[str, Any]:
    """An environment, and who trained the run from which update on, where it goes on from a checkpoint at `update`.

    `stretches` lists, oldest first, the updates done when a process took the run up, and the suite's version, commit
    and processor then. A run of one stretch has one entry, at update 0.
    """
    before: list[dict[str, Any]] = []
    if update > 0:
        with contextlib.suppress(FileNotFoundError, Damaged):
            noted = directory.environment
            before = noted.get("stretches", [{"update": 0, **{name: noted.get(name) for name in STRETCH}}])
    kept = [one for one in before if one["update"] < update]  # what a later one did that was not kept is done again
    own = {"update": update, **{name: environment[name] for name in STRETCH}}
    return {**environment, "stretches": [*kept, own]}


@functools.cache
def instructions(device: str) -> str:
    """The vector instructions of this CPU, for which kernels are built and by which torch chooses its own; or the GPU.

    Sums are cut into as many parts as a vector is wide, and with `fma` a product is not rounded before it is added: the
    same program has other last bits elsewhere.
    """
    if device == "cuda":
        return torch.cuda.get_device_name()
    known = (_cpuinfo("flags", "Features") or "").split()
    found = [name for name in VECTORS if name in known]
    return " ".join([*(found or [platform.machine()]), f"(torch: {torch.backends.cpu.get_cpu_capability()})"])


def _commit() -> str | None:
    """The commit of the suite's own files, `-dirty` where they differ from it; None where git does not track them.

    Git looks for a repository in all folders above, and an installed suite may lie within somebody else's.
    """
    tracked = _git("ls-files", "--error-unmatch", Path(bench.__file__).name) is not None
    return _git("describe", "--always", "--dirty", "--abbrev=12") if tracked else None


def _git(*arguments: str) -> str | None:
    """What git says in the suite's folder; None where it refuses, or is not there."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # which a hook of another repository sets
    surroundings = {name: value for name, value in os.environ.items() if name not in elsewhere}
    command, here = ["git", *arguments], Path(bench.__file__).parent
    try:
        answer = subprocess.run(
            command, cwd=here, env=surroundings, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(*names: str) -> str | None:
    """What Linux says of the CPU under the first line of one of these names; None elsewhere, or without one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(names))
    except (OSError, StopIteration):
        return None
