"""Packs as tasks of submitit (processes of this machine, or Slurm) and of Ray: optional, imported when asked for.

A pack is a task; its results travel as files, so the results folder must be one that all machines see. A task that is
preempted is queued again by submitit, and goes on from the checkpoints of its runs. Versions that work together:
submitit 1.5, Ray 2.9 and on.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config import ConfigError
from bench.sweep.places import Task, Tasks
from bench.sweep.progress import SweepProgress
from bench.sweep.worker import Interrupted, Lost, Order, asked_by_signals, train

SILENT = 30.0  # seconds that a Slurm task may be neither queued nor answered before it counts as dead


def carry(order: Order) -> Lost:
    """Train an order in a task; a signal has it keep its runs in checkpoints and end."""
    with asked_by_signals() as asked, contextlib.suppress(Interrupted):
        return train(order, lambda standing: None, asked)
    return Lost()


def _needed(package: str, where: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f"hydra.launcher.where={where}: needs {package}; pip install 'recurrent-memory-bench[{extra}]'"
        ) from None


class Submitit(Tasks):
    """submitit's own processes on this machine (`local`), or Slurm.

    settings: of submitit's AutoExecutor, such as timeout_min or slurm_partition. folder: for its files.
    Raises ConfigError if submitit is not there, or does not know a setting.
    """

    def __init__(self, at_once: int | None, cluster: str, settings: Mapping[str, Any], folder: Path) -> None:
        super().__init__(at_once)
        self._submitit = _needed("submitit", "slurm" if cluster == "slurm" else "submitit", "slurm")
        self._cluster, self._settings, self._folder = cluster, dict(settings), folder

    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        try:
            self._executor = self._submitit.AutoExecutor(self._folder, cluster=self._cluster)
            self._executor.update_parameters(**{"timeout_min": 24 * 60, "cpus_per_task": 1, **self._settings})
        except (NameError, RuntimeError, TypeError) as error:
            given = f"hydra.launcher.where={self._cluster} settings={self._settings}"
            raise ConfigError(f"{given}: {' '.join(str(error).split())}") from None
        return super().run(orders, progress)

    def start(self, order: Order) -> Task:
        return SubmititTask(order, self._executor.submit(Requeued(), order), self._cluster)


class Requeued:
    """What submitit carries out; preempted, the same is queued again and goes on from its checkpoints."""

    def __call__(self, order: Order) -> Lost:
        return carry(order)

    def checkpoint(self, order: Order) -> Any:
        return importlib.import_module("submitit").helpers.DelayedSubmission(self, order)


class SubmititTask(Task):
    """A job of submitit."""

    def __init__(self, order: Order, job: Any, cluster: str) -> None:
        super().__init__(order)
        self._job, self._cluster = job, cluster
        self._crash: str | None = None
        self._seen = time.monotonic()

    def has_ended(self, progress: SweepProgress) -> bool:
        if self._is_gone():
            self._crash = "the task left Slurm's queue without an answer (out of memory?)"
            return True
        if not self._job.done():
            return False
        try:
            self.lost = self._job.result()
        except Exception as error:  # whatever the task raised, or the way in which it died
            self._crash = f"the task died: {str(error).strip().splitlines()[-1]}"
        return True

    def _is_gone(self) -> bool:
        """Whether it is not in Slurm's queue any more and gave no answer: without accounting Slurm tells no more."""
        if self._cluster != "slurm" or self._job.paths.result_pickle.exists():
            return False
        command = ["squeue", "--noheader", "--jobs", str(self._job.job_id)]
        if subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip():
            self._seen = time.monotonic()
        return time.monotonic() - self._seen > SILENT

    @property
    def crash(self) -> str | None:
        return self._crash

    def ask_to_end(self) -> None:
        self._job.cancel(check=False)

    def end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(one.is_locked for one in self.order.directories):
            time.sleep(0.05)


class Ray(Tasks):
    """A task of Ray for each pack, on this machine or the cluster that `ray.init` finds.

    settings: of `ray.remote`, such as num_gpus. Raises ConfigError if Ray is not there.
    """

    def __init__(self, at_once: int | None, settings: Mapping[str, Any]) -> None:
        super().__init__(at_once)
        self._ray = _needed("ray", "ray", "ray")
        self._settings = {"num_cpus": 1, **settings, "max_retries": 0}

    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        ours = not self._ray.is_initialized()
        if ours:
            self._ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            return super().run(orders, progress)
        finally:
            if ours:
                self._ray.shutdown()

    def start(self, order: Order) -> Task:
        return RayTask(order, self._ray, self._ray.remote(**self._settings)(carry).remote(order))


class RayTask(Task):
    """A task of Ray, as a reference to its answer."""

    def __init__(self, order: Order, ray: Any, reference: Any) -> None:
        super().__init__(order)
        self._ray, self._reference = ray, reference
        self._crash: str | None = None

    def has_ended(self, progress: SweepProgress) -> bool:
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return False
        try:
            self.lost = self._ray.get(self._reference)
        except Exception as error:  # whatever the task raised, or the way in which its worker died
            self._crash = f"the task died: {type(error).__name__}"
        return True

    @property
    def crash(self) -> str | None:
        return self._crash

    def ask_to_end(self) -> None:
        self._ray.cancel(self._reference, force=False)

    def end(self, seconds: float) -> None:
        self._ray.wait([self._reference], timeout=seconds)
