"""Carrying out the runs of a sweep that are not finished: here, beside other commands, and within its budget."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.engines.auto import passed_over
from bench.jobs.job import Job
from bench.runs.directory import RunDirectory
from bench.sweep.executors import Executor
from bench.sweep.order import Order
from bench.sweep.packs import Pack, packs
from bench.sweep.planning import log_plan
from bench.sweep.progress import SweepProgress
from bench.sweep.worker import give_up

POLL = 0.2  # seconds between two looks at what another process trains
TRIES = 3  # in a row that may bring a run no further before it fails
log = logging.getLogger(__name__)


class Execution:
    """The jobs of one command, by their places in a list.

    width: most replicas in a pack. memory: bytes that one may take. place: where they run.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        configs: Sequence[Mapping[str, Any]],
        overrides: Sequence[Mapping[str, Any]],
        width: int,
        memory: float,
        executor: Executor,
    ) -> None:
        self.jobs = jobs
        self.width, self.memory, self.executor = width, memory, executor
        seconds = jobs[0].budget.sweep_seconds
        self.deadline = math.inf if seconds is None else time.time() + seconds
        self.order = Order(jobs, configs, overrides, self.deadline)
        self.lost: dict[str, str] = {}  # runs of which nothing could be written, and why

    def carry_out(self, todo: Mapping[int, RunDirectory]) -> None:
        """Train runs that are not finished.

        Runs that another process holds are waited for, and what it leaves undone when it ends is done here.
        """
        left, waits, idle = dict(todo), False, Counter[int]()
        while left and time.time() < self.deadline:
            free = [k for k, directory in left.items() if not directory.is_locked]
            if free:
                reached = {k: left[k].checkpointed_update for k in free}
                self._train(free, list(reached.values()))
                idle.update(free)
                for k in free:
                    if left[k].checkpointed_update > reached[k]:
                        del idle[k]
                self._give_up([k for k in free if idle[k] == TRIES and not self._is_settled(left[k])])
                if self.jobs[0].budget.fail_fast and any(directory.has_failed for directory in left.values()):
                    break
            elif not waits:
                log.info("waiting for %d runs that another process trains", len(left))
                waits = True
            else:
                time.sleep(POLL)
            left = {k: directory for k, directory in left.items() if not self._is_settled(directory)}
        self._say_what_is_left(list(todo.values()))

    def _give_up(self, chosen: Sequence[int]) -> None:
        reason = f"its worker ended {TRIES} times without an outcome and brought it no further"
        self.lost |= give_up(self.order.of(chosen), reason, 0.0)

    def _is_settled(self, directory: RunDirectory) -> bool:
        if directory.run_id in self.lost or directory.is_whole:
            return True
        return not directory.is_locked and directory.is_there

    def _train(self, chosen: Sequence[int], reached: Sequence[int]) -> None:
        jobs = [self.jobs[k] for k in chosen]
        planned = self._planned(jobs, reached)
        orders = [self.order.of([chosen[k] for k in pack.jobs]) for pack in planned]
        ids = [job.replica.run_id for job in jobs]
        updates = {run_id: job.replica.updates for run_id, job in zip(ids, jobs, strict=True)}
        with SweepProgress(updates, dict(zip(ids, reached, strict=True)), len(orders)) as progress:
            self.lost |= self.executor.run(orders, progress)

    def _planned(self, jobs: Sequence[Job], reached: Sequence[int]) -> list[Pack]:
        planned = packs(jobs, self.width, self.memory, self.executor.shares, reached)
        widths = Counter(pack.width for pack in planned)
        described = [f"{count} of width {width}" for width, count in sorted(widths.items(), reverse=True)]
        begun = sum(update > 0 for update in reached)
        going_on = f" ({begun} go on from a checkpoint)" if begun else ""
        log.info("runs to train: %d%s, packs: %s", len(jobs), going_on, ", ".join(described))
        log.info("engine: %s", "; ".join(engines([jobs[pack.jobs[0]] for pack in planned])))
        return planned

    def log_plan(self, todo: Mapping[int, RunDirectory]) -> None:
        """Say what `carry_out` would train now, and for how long; nothing is written."""
        reached = [directory.checkpointed_update for directory in todo.values()]
        jobs, choices = [self.jobs[k] for k in todo], [self.order.overrides[k]["choices"] for k in todo]
        names = [
            f"{chosen['task']} {chosen['cell']} H={job.replica.cell.hidden}"
            for chosen, job in zip(choices, jobs, strict=True)
        ]
        log_plan(jobs, names, self._planned(jobs, reached), reached, self.executor.at_once)

    def _say_what_is_left(self, directories: Sequence[RunDirectory]) -> None:
        absent = sum(not directory.is_there for directory in directories) - len(self.lost)
        stopped = sum(directory.is_there and directory.outcome.get("stopped", False) for directory in directories)
        if stopped or absent:
            log.info("%d runs stopped, %d not begun: the same command goes on with them", stopped, absent)


def engines(jobs: Sequence[Job]) -> list[str]:
    """The engines that serve these jobs, each with why no faster one does."""
    found: dict[str, None] = {}
    for job in jobs:
        replica, device = job.replica, torch.device(job.device)
        reasons = passed_over(job.engine, replica.network, device, replica.interventions)
        found[f"{job.engine.name} on {job.device}" + (f" ({', '.join(reasons)})" if reasons else "")] = None
    return list(found)
