"""Where packs run: in this process, or in tasks side by side, which are worker processes or what `cluster` knows."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import multiprocessing
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from types import ModuleType

from bench.sweep import signals
from bench.sweep.order import Lost, Order
from bench.sweep.progress import SweepProgress
from bench.sweep.worker import Interrupted, give_up, train, work

log = logging.getLogger(__name__)


class PackJob(ABC):
    """An order that is carried out elsewhere.

    slot: its place among the running ones. lost: runs of which nothing could be written, and why; known when it has
    ended.
    """

    slot: int

    def __init__(self, order: Order) -> None:
        self.order = order
        self.lost: dict[str, str] = {}
        self.began = time.perf_counter()

    @abstractmethod
    def has_ended(self, progress: SweepProgress) -> bool:
        """Hear what it says; whether there is no more to come."""

    @property
    @abstractmethod
    def crash(self) -> str | None:
        """How it died, where it did not come to its end."""

    @abstractmethod
    def ask_to_end(self) -> None:
        """Have it keep its runs in checkpoints and end."""

    @abstractmethod
    def end(self, seconds: float) -> None:
        """Wait so long for that, then end it anyway."""

    @staticmethod
    def pause(tasks: Sequence[PackJob]) -> None:
        """Wait until it is worth while to look at tasks of this kind again."""
        time.sleep(0.2)


class Executor(ABC):
    """Where packs run.

    shares: into how many parts of equal work a sweep is cut at least, so that none of its places stands idle.
    at_once: how many packs are trained at a time, inf for as many as there are.
    """

    shares: int = 1
    at_once: float = 1

    @abstractmethod
    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        """Carry out orders; returns the runs of which nothing could be written, and why.

        Raises KeyboardInterrupt when it is asked to end, by Ctrl-C or SIGTERM; what is in training is kept first.
        """


class InThisProcess(Executor):
    """This process, one pack after the other."""

    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        lost: dict[str, str] = {}
        with signals.stop_on_signals() as stop:
            for order in orders:
                if time.time() >= order.deadline:
                    break
                try:
                    lost |= train(order, progress.advance, stop)
                except Interrupted:
                    break
                progress.finish(one.run_id for one in order.directories if one.is_there)
            if stop:
                raise KeyboardInterrupt
        return lost


class TaskExecutor(Executor):
    """Tasks side by side, an order each.

    at_once: how many; None for as many as there are.

    A task that dies (killed for memory, say) is tried again in halves until only the guilty run fails. Whatever ends
    `run` ends the tasks.
    """

    def __init__(self, at_once: int | None) -> None:
        self.at_once = at_once or math.inf
        self.shares = at_once or 1

    @abstractmethod
    def start(self, order: Order, slot: int) -> PackJob:
        """Have an order carried out; `slot` is the least number that no running task has."""

    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        waiting, running = deque(orders), list[PackJob]()
        lost: dict[str, str] = {}
        with signals.interrupted_once(), _ended(running):
            while waiting or running:
                if waiting and time.time() >= waiting[0].deadline:
                    waiting.clear()
                while waiting and len(running) < self.at_once:
                    slot = next(k for k in itertools.count() if all(task.slot != k for task in running))
                    running.append(self.start(waiting.popleft(), slot))
                    running[-1].slot = slot
                if running:
                    running[0].pause(running)
                for task in [task for task in running if task.has_ended(progress)]:
                    running.remove(task)
                    halves = _left_behind(task)
                    waiting.extendleft(reversed(halves))
                    lost |= task.lost
                    progress.finish((one.run_id for one in task.order.directories if one.is_there), len(halves))
                    if task.order.jobs[0].budget.fail_fast and any(one.has_failed for one in task.order.directories):
                        return lost
        return lost


@contextlib.contextmanager
def _ended(running: list[PackJob]) -> Iterator[None]:
    try:
        yield
    finally:
        for task in running:
            task.ask_to_end()
        deadline = time.monotonic() + signals.GRACE
        for task in running:
            task.end(max(0.0, deadline - time.monotonic()))


def _left_behind(task: PackJob) -> list[Order]:
    """What a task that died leaves to be done: two halves, or nothing where only the guilty run is left."""
    if task.crash is None:
        return []
    left = [k for k, one in enumerate(task.order.directories) if not one.is_there and not one.is_locked]
    if len(left) > 1:
        log.warning("a pack of %d failed, %s: tried again in halves", len(left), task.crash)
        return [task.order.of(half) for half in (left[: len(left) // 2], left[len(left) // 2 :])]
    task.lost |= give_up(task.order.of(left), task.crash, time.perf_counter() - task.began)
    return []


@contextlib.contextmanager
def _no_script() -> Iterator[None]:
    """Worker processes need nothing of the script that asks for them, and would run it again: hide it meanwhile."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class WorkerJob(PackJob):
    """A process on this machine. gpu: the one it is to use, None without."""

    def __init__(self, order: Order, gpu: int | None) -> None:
        super().__init__(order)
        context = multiprocessing.get_context("forkserver")
        # torch, and what its optimizers import when one is made, are imported once, not once a pack
        context.set_forkserver_preload(["bench.sweep.worker", "torch._dynamo"])
        self.pipe: Connection
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process: ForkServerProcess = context.Process(target=work, args=(order, theirs, gpu), daemon=True)
        with _no_script():
            self.process.start()
        theirs.close()

    def has_ended(self, progress: SweepProgress) -> bool:
        ended = self.process.exitcode is not None
        with contextlib.suppress(EOFError):
            while self.pipe.poll():
                said = self.pipe.recv()
                if isinstance(said, Lost):
                    self.lost = said
                else:
                    progress.advance(said)
        return ended

    @property
    def crash(self) -> str | None:
        code = self.process.exitcode
        if not code:
            return None
        return (
            f"the worker was killed by signal {-code} (out of memory?)"
            if code < 0
            else f"the worker ended with exit code {code}"
        )

    def ask_to_end(self) -> None:
        self.process.terminate()

    def end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with contextlib.suppress(EOFError):  # the pipe ends with the worker, also where the fork server is gone
            while self.pipe.poll(max(0.0, deadline - time.monotonic())):
                self.pipe.recv()
        self.process.kill()
        self.process.join()

    @staticmethod
    def pause(tasks: Sequence[PackJob]) -> None:
        workers = [task for task in tasks if isinstance(task, WorkerJob)]
        wait([part for worker in workers for part in (worker.pipe, worker.process.sentinel)], timeout=1.0)


class WorkerExecutor(TaskExecutor):
    """Processes on this machine, one thread each; a single pack needs none of its own.

    gpus: how many there are to train on, 0 for none; processes side by side have different ones as long as they last.
    """

    def __init__(self, at_once: int, gpus: int = 0) -> None:
        super().__init__(at_once)
        self.gpus = gpus

    def run(self, orders: Sequence[Order], progress: SweepProgress) -> dict[str, str]:
        return InThisProcess().run(orders, progress) if len(orders) == 1 else super().run(orders, progress)

    def start(self, order: Order, slot: int) -> PackJob:
        return WorkerJob(order, slot % self.gpus if self.gpus else None)
