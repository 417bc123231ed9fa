"""What a sweep would train and for how long, found out without training it."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch

from bench.jobs.job import Job
from bench.sweep.packs import Pack
from bench.training.data import CHUNK
from bench.training.loop import Training

UPDATES = 4  # of a pack that are timed, after a first one that allocates
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds of a pack for an update, and for judging one sequence of each of its replicas."""

    update: float
    sequence: float

    def seconds(self, job: Job, reached: int) -> float:
        """For a run that goes on from update `reached`; measurements are left out."""
        replica, judged = job.replica, job.replica.evaluation
        looks = sum(update >= reached for update in judged.moments(replica.updates))
        sequences = looks * judged.sequences + judged.final
        return (replica.updates - reached) * self.update + sequences * self.sequence


def pace(jobs: Sequence[Job]) -> Pace:
    """By a few updates of the pack that these jobs are, begun anew and thrown away.

    On a CPU by processor time, so that it does not matter who else uses the machine.
    """
    first = jobs[0]
    clock = time.process_time if first.device == "cpu" else time.perf_counter
    judged = dataclasses.replace(first.replica.evaluation, every=UPDATES + 1, sequences=1, final=CHUNK)
    replicas = [
        dataclasses.replace(job.replica, updates=UPDATES + 1, measurement={}, evaluation=judged) for job in jobs
    ]
    torch.set_num_threads(1)
    training = Training(replicas, first.engine, torch.device(first.device))
    moments = [clock() for _ in training.each_update()]
    training.finish()
    judging = clock() - moments[-1]
    update = statistics.median(after - before for before, after in itertools.pairwise(moments))
    return Pace(update, judging / CHUNK)


def log_plan(
    jobs: Sequence[Job], names: Sequence[str], planned: Sequence[Pack], reached: Sequence[int], at_once: float
) -> None:
    """Log the packs, kind by kind, and how long they take.

    names: of each job, what a person calls it. reached: the update at which it goes on. at_once: packs side by side.
    """
    paces: dict[tuple[object, ...], Pace] = {}
    kinds: dict[str, list[float]] = defaultdict(list)
    for pack in planned:
        members = [jobs[k] for k in pack.jobs]
        job, name, start = members[0], names[pack.jobs[0]], reached[pack.jobs[0]]
        key = (job.replica.pack_key, job.engine, job.device, pack.width)
        if key not in paces:
            paces[key] = pace(members)
        engine, left = job.engine.name, job.replica.updates - start
        kind = f"{name}, width {pack.width}, {left} updates, {engine} on {job.device}"
        kinds[kind].append(paces[key].seconds(job, start))
    for kind, seconds in kinds.items():
        log.info("%4d x %s: %s each", len(seconds), kind, _hours(sum(seconds) / len(seconds)))
    durations = [one for seconds in kinds.values() for one in seconds]
    side_by_side = "all at a time" if at_once >= len(durations) else f"{at_once:.0f} at a time"
    log.info("about %s, %s; measurements not counted", _hours(makespan(durations, at_once)), side_by_side)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2g} h"


def makespan(durations: Iterable[float], at_once: float) -> float:
    """Seconds until all are done, `at_once` side by side, the longest first."""
    ends: list[float] = []
    for duration in sorted(durations, reverse=True):
        begins = heapq.heappop(ends) if len(ends) >= at_once else 0.0
        heapq.heappush(ends, begins + duration)
    return max(ends, default=0.0)
