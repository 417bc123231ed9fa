"""Which jobs train together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.jobs.job import Job
from bench.training.data import CHUNK, numbers_ahead

BYTES = {"float32": 4, "float64": 8}
VECTORS = 10  # of the length of a replica's parameters: they, gradient, clipped, step, optimizer state, intermediates
OUTPUTS = 3  # copies of a batch's outputs: as the engine writes them, as they are judged, their derivative
DRAWING = 24  # bytes per sequence and step while random numbers are drawn, as whole words
SERIES = 4 * 8 + 1  # bytes that are kept of every update: its notes and its learning rate


@dataclass(frozen=True)
class Pack:
    """Jobs that train as one tensor program; `jobs` indexes the list they were made from."""

    jobs: tuple[int, ...]
    cost: float  # relative, for the order of work

    @property
    def width(self) -> int:
        return len(self.jobs)


def packs(
    jobs: Sequence[Job], width: int, memory: float, places: int, reached: Sequence[int] | None = None
) -> list[Pack]:
    """Group jobs by shape and code, cut the groups into packs of nearly equal width, the most costly pack first.

    reached: the update at which each job goes on, 0 for one that starts; those of one pack have it in common.
    width: most replicas in a pack. memory: bytes that one pack may take. places: packs that run at the same time; a
    group that is more than one place's share of the work is cut finer, so that no place stands idle.
    """
    reached = reached or [0] * len(jobs)
    groups = defaultdict(list)
    for index, (job, update) in enumerate(zip(jobs, reached, strict=True)):
        groups[(job.replica.pack_key, repr(job.engine), job.device, update)].append(index)
    costs = [_cost(job, update) for job, update in zip(jobs, reached, strict=True)]
    total = sum(costs)
    result = []
    for members in groups.values():
        job, cost = jobs[members[0]], costs[members[0]]
        each, once = sum(taken(job).values()), sum(taken_once(job).values())
        fitting = max(1, min(width, int((memory - once) / each)))
        share = math.ceil(cost * len(members) * places / total)
        count = max(math.ceil(len(members) / fitting), min(share, len(members)))
        for k in range(count):
            part = members[k * len(members) // count : (k + 1) * len(members) // count]
            result.append(Pack(tuple(part), cost * len(part)))
    return sorted(result, key=lambda pack: -pack.cost)


def taken(job: Job) -> dict[str, int]:
    """Bytes that one replica of a pack takes, by what for; measurements, which come and go, are left out."""
    replica = job.replica
    task, network, judged = replica.task_at(replica.updates), replica.network, replica.evaluation
    read = len(task.scored) + task.steps - task.least_steps
    numbers = {
        "engine": 0 if job.engine.one_at_a_time else _activations(job),
        "judging": job.engine.judging_count(network, read, CHUNK),
        "parameters": VECTORS * network.flat_size,
        "sequences": (judged.sequences + max(CHUNK, replica.batch_size)) * task.steps * task.inputs,
        "outputs": OUTPUTS * max(replica.batch_size, CHUNK) * read * network.padded_outputs,
    }
    return {part: BYTES[replica.precision] * count for part, count in numbers.items()} | {
        "drawing": DRAWING * max(replica.batch_size, CHUNK) * task.steps,
        "series": SERIES * replica.updates,
    }


def taken_once(job: Job) -> dict[str, int]:
    """Bytes that a pack takes whatever its width, by what for: activations of one replica at a time, data ahead."""
    size, ahead = BYTES[job.replica.precision], numbers_ahead(torch.device(job.device))
    return {
        "engine": size * _activations(job) if job.engine.one_at_a_time else 0,
        "ahead": ahead * size + ahead // (job.replica.task.inputs + 1) * DRAWING,
    }


def _activations(job: Job) -> int:
    replica = job.replica
    return job.engine.activation_count(replica.network, replica.task_at(replica.updates).steps, replica.batch_size)


def _cost(job: Job, reached: int) -> float:
    replica = job.replica
    return (replica.updates - reached + 1) * replica.batch_size * replica.task.steps * replica.network.parameter_count
