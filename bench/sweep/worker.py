"""What a worker does: train one pack and leave each run's files in its directory. Results travel as files."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

import bench
from bench.jobs.job import Job
from bench.runs.checkpoint import Refused, packed, unpacked
from bench.runs.directory import Damaged, RunDirectory
from bench.sweep.environment import describe_environment, instructions, with_stretches
from bench.sweep.order import Lost, Order
from bench.sweep.proving import Unproven, proven
from bench.sweep.signals import GRACE, StopRequest
from bench.training.loop import Progress, Training
from bench.training.record import Record
from bench.training.run_state import RunState

log = logging.getLogger(__name__)

Standing = Mapping[str, tuple[int, bool, float]]  # by run id: updates done, whether the task is solved, best skill
Say = Callable[[Standing], None]


@dataclass
class Run:
    """A run of an order, and where it stands; None at its start."""

    job: Job
    directory: RunDirectory
    state: RunState | None

    @property
    def id(self) -> str:
        return self.directory.run_id


class Interrupted(Exception):
    """Asked to end before the work was done; what was in training stands in its checkpoint."""


def work(order: Order, pipe: Connection, gpu: int | None) -> None:
    """Main function of a worker process; tells through the pipe where it stands, and at last what it has lost.

    gpu: the one that `cuda` means here, None without.
    """
    stop = StopRequest()
    if gpu is not None:
        torch.cuda.set_device(gpu)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what ends
    signal.signal(signal.SIGTERM, lambda number, frame: stop.now())
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()

    def say(message: object) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            pipe.send(message)

    with contextlib.suppress(Interrupted):
        say(train(order, say, stop))


def _end_with_parent(stop: StopRequest) -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        stop.now()
        time.sleep(GRACE)
        os._exit(1)


def train(order: Order, say: Say, stop: StopRequest) -> Lost:
    """Train those runs of an order that are not finished and that no other process holds.

    What fails as a pack is halved until only the guilty run fails, with a failure in its own directory. Returns the
    runs of which nothing could be written, and why. Raises Interrupted when it is `stop` to end, or where a run failed
    that is to end the sweep.
    """
    torch.set_num_threads(1)  # a replica's bits depend on it, and packs side by side are faster than threads
    try:
        order = proven(order)
    except Unproven as reason:
        return give_up(order, str(reason), 0.0)
    with contextlib.ExitStack() as locks:
        packs = PackWork(say, stop, order.deadline)
        for pack in by_update(packs.begun(order, locks)):
            packs.carry_out(pack)
    return packs.lost


def by_update(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that stand at the same update, which can train together."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.state.update if run.state else 0].append(run)
    return list(groups.values())


class PackWork:
    """Trains packs whose runs this process holds.

    stop: looked at after every update. deadline: in seconds of `time.time`.
    """

    def __init__(self, say: Say, stop: StopRequest, deadline: float) -> None:
        self.say, self.stop, self.deadline = say, stop, deadline
        self.lost = Lost()
        self._kept_at = time.monotonic()

    def begun(self, order: Order, locks: contextlib.ExitStack) -> list[Run]:
        """The runs that are to be trained, locked and begun."""
        environment = describe_environment(order.jobs[0])
        runs = []
        for job, directory, config, given in zip(
            order.jobs, order.directories, order.configs, order.overrides, strict=True
        ):
            with self._written(directory):
                if not locks.enter_context(directory.locked()) or directory.is_whole:
                    continue
                run = Run(job, directory, kept_state(job, directory))
                if run.state and run.state.clock >= job.budget.run_limit and directory.is_there:
                    continue  # its time was over before
                directory.begin(
                    config, given, with_stretches(environment, directory, run.state.update if run.state else 0)
                )
                runs.append(run)
        return runs

    def carry_out(self, runs: list[Run]) -> None:
        """Train runs that stand at one update; in halves, where they fail together."""
        began = time.perf_counter()
        try:
            self._train(runs)
            return
        except Interrupted:
            raise
        except Exception as error:
            message, lines = f"{type(error).__name__}: {error}", traceback.format_exc().splitlines()
        # out of the `except`, so that what the failed pack took is free again
        if len(runs) == 1:
            with self._written(runs[0].directory):
                fail(runs[0].directory, message, time.perf_counter() - began, lines)
            if runs[0].job.budget.fail_fast:
                raise Interrupted
            return
        log.warning("a pack of %d failed with %s: tried again in halves", len(runs), message)
        for half in (runs[: len(runs) // 2], runs[len(runs) // 2 :]):
            left = [run for run in half if run.id not in self.lost and not run.directory.is_there]
            for run in left:
                run.state = kept_state(run.job, run.directory)
            for pack in by_update(left):
                self.carry_out(pack)

    def _train(self, runs: list[Run]) -> None:
        """Train until all have left; those that have ended leave at an evaluation, so that the rest goes faster."""
        job = runs[0].job
        while runs:
            states = [run.state for run in runs if run.state]
            training = Training([run.job.replica for run in runs], job.engine, torch.device(job.device), states)
            leaving = self._advance(runs, training)
            if leaving.all():
                self._deliver(runs, training.finish())
                return
            states = training.states()
            gone, left = (np.flatnonzero(where).tolist() for where in (leaving, ~leaving))
            part = Training([runs[r].job.replica for r in gone], job.engine, training.device, [states[r] for r in gone])
            self._deliver([runs[r] for r in gone], part.finish())
            for r in left:
                runs[r].state = states[r]
            runs = [runs[r] for r in left]

    def _advance(self, runs: list[Run], training: Training) -> np.ndarray:
        """Train until some leave the pack, or all do at the end; which, bool [R].

        They leave when they have ended, at the next evaluation, and when a limit from outside stops them.
        """
        between = runs[0].job.checkpoint.seconds
        limits = np.array([run.job.budget.run_limit for run in runs])

        def report(at: Progress) -> None:
            each = zip(runs, at.solved, at.skill, strict=True)
            self.say({run.id: (at.update, solved, skill) for run, solved, skill in each})

        for update in training.each_update(report):
            if self.stop:
                self._keep(runs, training.states())
                raise Interrupted
            if update == training.updates:
                continue  # all that is left is the last look
            stopped = (training.clock >= limits) | (time.time() >= self.deadline)
            if stopped.any():
                self._keep(runs, training.states())
                return stopped
            if update in training.evaluator.updates and training.ended.any():
                return training.ended
            if between is not None and time.monotonic() - self._kept_at >= between:
                self._keep(runs, training.states())
        return np.ones(len(runs), dtype=bool)

    def _deliver(self, runs: Sequence[Run], records: Sequence[Record]) -> None:
        for run, record in zip(runs, records, strict=True):
            facts = {"engine": run.job.engine.name, "version": bench.__version__}
            tables = {name: record.table(name) for name, blocks in record.tables.items() if blocks}
            assert record.outcome is not None
            keep = run.directory.stop if record.outcome.stopped else run.directory.finish
            with self._written(run.directory):
                keep({**asdict(record.outcome), **facts}, tables, history(record), record.weights)
                if run.job.logger and run.directory.is_finished:
                    run.job.logger.hand_over(run.directory)

    def _keep(self, runs: Sequence[Run], states: Sequence[RunState]) -> None:
        """A checkpoint for each run; where none can be written, training goes on without."""
        for run, state in zip(runs, states, strict=True):
            try:
                run.directory.save_checkpoint(packed(state, run.id, maker(run.job)))
            except OSError as error:
                log.warning("%s: no checkpoint, %s", run.directory.path, error.strerror)
        self._kept_at = time.monotonic()

    @contextlib.contextmanager
    def _written(self, directory: RunDirectory) -> Iterator[None]:
        """What cannot be written is the loss of one run, and of no other."""
        try:
            yield
        except OSError as error:
            self.lost[directory.run_id] = f"{directory.path}: cannot be written, {error.strerror}"
            log.error(self.lost[directory.run_id])


def kept_state(job: Job, directory: RunDirectory) -> RunState | None:
    """Where a run stands by its checkpoint; None, and a warning, where that is not to be trusted."""
    data = directory.checkpoint()
    if data is None:
        return None
    try:
        return unpacked(data, directory.run_id, maker(job))
    except Refused as reason:
        log.warning("%s: its checkpoint %s; the run starts anew", directory.path, reason)
        return None


def maker(job: Job) -> dict[str, str]:
    """What must be the same for a run to go on in the same bits, beside its run id.

    The run id, which stands in a checkpoint too, is a digest of the question, of the version of every component in it
    and of that of the mathematics: another commit of the suite goes on only where these agree.
    """
    return {
        "engine": repr(job.engine),
        "device": job.device,
        "torch": torch.__version__,
        "instructions": instructions(job.device),
    }


def fail(directory: RunDirectory, message: str, seconds: float, lines: Sequence[str]) -> None:
    """Note a run that could not be carried out; an outcome like any other."""
    directory.fail({"outcome": "failed", "message": message, "seconds": seconds}, lines)


def give_up(order: Order, reason: str, seconds: float) -> Lost:
    """Note that runs have failed whose training left no outcome, but for those that another process has taken by now.

    Returns those for which that could not be written, and why.
    """
    lost = Lost()
    for job, directory, config, given in zip(
        order.jobs, order.directories, order.configs, order.overrides, strict=True
    ):
        try:
            with directory.locked() as ours:
                if ours:
                    directory.begin(config, given, _known(directory) or describe_environment(job))
                    fail(directory, reason, seconds, [reason])
        except OSError as error:
            lost[directory.run_id] = f"{reason}; {directory.path}: {error.strerror}"
    return lost


def _known(directory: RunDirectory) -> dict[str, Any]:
    """What whoever trained the run has noted of where that was; nothing where it has not come so far."""
    try:
        return directory.environment
    except (FileNotFoundError, Damaged):
        return {}


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
        name: getattr(record.outcome, name)
        for name in ("outcome", "solved_at", "diverged_at", "final_loss", "final_skill")
    }
    return [*lines, "  ".join(f"{name} {value}" for name, value in ended.items())]
