"""Where packs run: in this process, or in worker processes side by side."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from bench.results import RunDirectory
from bench.sweep.progress import SweepProgress
from bench.sweep.worker import Order, describe_environment, fail, train, work


def run_here(orders: Sequence[Order], progress: SweepProgress) -> None:
    """One pack after the other in this process."""
    for index, order in enumerate(orders):
        train(order, lambda at, index=index: progress.advance(index, at.update, at.solved))  # type: ignore[misc]
        progress.finish(index)


def run_in_workers(orders: Sequence[Order], workers: int, progress: SweepProgress) -> None:
    """One process per pack, `workers` of them at a time.

    A worker that dies (killed for memory, say) fails its own pack only. Whatever ends this function ends the workers.
    """
    waiting = list(enumerate(orders))[::-1]
    running: list[Worker] = []
    with _ended(running):
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(Worker(*waiting.pop()))
            wait([part for worker in running for part in (worker.pipe, worker.process.sentinel)], timeout=1.0)
            for worker in list(running):
                if worker.follow(progress):
                    running.remove(worker)


@contextlib.contextmanager
def _ended(running: list[Worker]) -> Iterator[None]:
    try:
        yield
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join()


class Worker:
    """A process that trains one pack."""

    def __init__(self, index: int, order: Order) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["bench.sweep.worker"])  # torch is imported once, not once a pack
        self.index, self.order = index, order
        self.began = time.perf_counter()
        self.pipe: Connection
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process: ForkServerProcess = context.Process(target=work, args=(order, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def follow(self, progress: SweepProgress) -> bool:
        """Hear what it says; True once it has ended."""
        ended = self.process.exitcode is not None
        with contextlib.suppress(EOFError):
            while self.pipe.poll():
                at = self.pipe.recv()
                progress.advance(self.index, at.update, at.solved)
        if not ended:
            return False
        if self.process.exitcode:
            self._mourn(self.process.exitcode)
        progress.finish(self.index)
        return True

    def _mourn(self, exit_code: int) -> None:
        """Every run of the pack gets an outcome, unless the worker could still write one."""
        killed = f"the worker was killed by signal {-exit_code} (out of memory?)"
        message = killed if exit_code < 0 else f"the worker ended with exit code {exit_code}"
        for job, config, overrides in zip(self.order.jobs, self.order.configs, self.order.overrides, strict=True):
            directory = RunDirectory(job.results, job.replica.run_id)
            if not directory.is_there:
                directory.begin(config, overrides, describe_environment(job))
                fail(directory, message, time.perf_counter() - self.began, [message])
