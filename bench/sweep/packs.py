"""Which jobs train together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.config import Job

BYTES = {"float32": 4, "float64": 8}
COPIES = 8  # buffers of the size of a replica's states in time that an engine keeps at most


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
        fitting = max(1, min(width, int(memory / _bytes(job))))
        share = math.ceil(cost * len(members) * places / total)
        count = max(math.ceil(len(members) / fitting), min(share, len(members)))
        for k in range(count):
            part = members[k * len(members) // count : (k + 1) * len(members) // count]
            result.append(Pack(tuple(part), cost * len(part)))
    return sorted(result, key=lambda pack: -pack.cost)


def _bytes(job: Job) -> float:
    """An upper estimate of what one replica of a pack takes."""
    replica = job.replica
    states = replica.task.steps * replica.batch_size * replica.network.padded_hidden
    heldout = replica.evaluation.sequences * replica.task.steps * replica.task.inputs
    blocks = max(1, len(replica.cell.gates))
    return BYTES[replica.precision] * (COPIES * blocks * states + heldout + 8 * replica.network.flat_size)


def _cost(job: Job, reached: int) -> float:
    replica = job.replica
    return (replica.updates - reached + 1) * replica.batch_size * replica.task.steps * replica.network.parameter_count
