"""Packs as tasks of submitit (processes of this machine, or Slurm) and of Ray: optional, imported when asked for.

A pack is a task; its results travel as files, so the results folder must be one that all machines see. A task that is
preempted is queued again by submitit, and goes on from the checkpoints of its runs. Versions that work together:
submitit 1.5, Ray 2.9 and on.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.jobs.errors import ConfigError
from bench.sweep.executors import PackJob, TaskExecutor
from bench.sweep.order import Lost, Order
from bench.sweep.progress import SweepProgress
from bench.sweep.signals import stop_on_signals
from bench.sweep.worker import Interrupted, train

SILENT = 30.0  # seconds that a Slurm task may have left the queue without an answer before it counts as dead
ASK = 5.0  # seconds between two questions to Slurm
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}  # what Slurm calls a task that does not go on
log = logging.getLogger(__name__)


def carry(order: Order) -> Lost:
    """Train an order in a task; a signal has it keep its runs in checkpoints and end."""
    with stop_on_signals() as stop, contextlib.suppress(Interrupted):
        return train(order, lambda standing: None, stop)
    return Lost()


def _needed(package: str, where: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigError(
            f"hydra.launcher.where={where}: needs {package}; pip install 'recurrent-memory-bench[{extra}]'"
        ) from None


class SubmititExecutor(TaskExecutor):
    """submitit's own processes on this machine (`local`), or Slurm.

    settings: of submitit's AutoExecutor, such as timeout_min or slurm_partition. folder: for its files.
    Raises ConfigError if submitit or Slurm is not there, or a setting is not known.
    """

    def __init__(self, at_once: int | None, cluster: str, settings: Mapping[str, Any], folder: Path) -> None:
        super().__init__(at_once)
        self._submitit = _needed("submitit", "slurm" if cluster == "slurm" else "submitit", "slurm")
        self._cluster, self._settings, self._folder = cluster, dict(settings), folder
        with TemporaryDirectory() as scratch:  # a mistake is told before anything is written where results go
            self._set_up(Path(scratch))
        self._queue = Queue() if cluster == "slurm" else None

    def _set_up(self, folder: Path) -> Any:
        try:
            executor = self._submitit.AutoExecutor(folder, cluster=self._cluster)
            executor.update_parameters(**{"timeout_min": 24 * 60, "cpus_per_task": 1, **self._settings})
        except (NameError, RuntimeError, TypeError) as error:
            given = f"hydra.launcher.where={self._cluster} settings={self._settings}"
            raise ConfigError(f"{given}: {' '.join(str(error).split())}") from None
        return executor

    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        self._executor = self._set_up(self._folder)
        return super().run(orders, progress)

    def start(self, order: Order, slot: int) -> PackJob:
        job = self._executor.submit(Requeued(), order)
        return SubmititJob(order, job) if self._queue is None else SlurmJob(order, job, self._queue)


class Requeued:
    """What submitit carries out; preempted, the same is queued again and goes on from its checkpoints."""

    def __call__(self, order: Order) -> Lost:
        return carry(order)

    def checkpoint(self, order: Order) -> Any:
        return importlib.import_module("submitit").helpers.DelayedSubmission(self, order)


class SubmititJob(PackJob):
    """A job of submitit."""

    def __init__(self, order: Order, job: Any) -> None:
        super().__init__(order)
        self._job = job
        self._crash: str | None = None

    def has_ended(self, progress: SweepProgress) -> bool:
        if not self._job.done():
            return False
        try:
            self.lost = self._job.result()
        except Exception as error:  # whatever the task raised, or the way in which it died
            self._crash = f"the task died: {str(error).strip().splitlines()[-1]}"
        return True

    @property
    def crash(self) -> str | None:
        return self._crash

    def ask_to_end(self) -> None:
        self._job.cancel(check=False)

    def end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(one.is_locked for one in self.order.directories):
            time.sleep(0.05)


class SlurmJob(SubmititJob):
    """A job of submitit in Slurm's queue.

    submitit itself asks Slurm's accounting whether a job has died. Where there is none it would wait for ever, so the
    queue is asked here.
    """

    def __init__(self, order: Order, job: Any, queue: Queue) -> None:
        super().__init__(order, job)
        self._queue = queue
        self._seen = time.monotonic()

    def has_ended(self, progress: SweepProgress) -> bool:
        if self._job.paths.result_pickle.exists():
            return super().has_ended(progress)
        state = self._queue.state(self._job.job_id)
        if state not in ENDED:
            self._seen = time.monotonic()
        if time.monotonic() - self._seen <= SILENT:  # a network disk may show the answer later than Slurm the end
            return False
        self._crash = f"the task ended without an answer, in Slurm's words {state}"
        return True


class Queue:
    """Slurm's queue, asked once for all tasks. It keeps a task for some minutes after its end (`MinJobAge`)."""

    def __init__(self) -> None:
        self._asked = -math.inf
        self._states: dict[str, str] | None = None

    def state(self, job: str) -> str | None:
        """In Slurm's words, COMPLETED for a job that is no longer known; None where Slurm does not answer."""
        if time.monotonic() - self._asked > ASK:
            self._states, self._asked = self._answer(), time.monotonic()
        return None if self._states is None else self._states.get(job, "COMPLETED")

    def _answer(self) -> dict[str, str] | None:
        command = ["squeue", "--me", "--noheader", "--states=all", "--format=%A %T"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return dict(line.split() for line in answer.stdout.splitlines())
        if self._states is not None or self._asked == -math.inf:
            log.warning("Slurm does not say how its tasks are: %s", answer.stderr.strip())
        return None


class RayExecutor(TaskExecutor):
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

    def start(self, order: Order, slot: int) -> PackJob:
        return RayJob(order, self._ray, self._ray.remote(**self._settings)(carry).remote(order))


class RayJob(PackJob):
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
