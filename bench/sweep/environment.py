"""Where and with what a run is made."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench
from bench.jobs.job import Job


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
        "engine": job.engine.name,
    }


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
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
