"""What a place is asked to train: jobs, with the configuration and the command line that each came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.jobs.job import Job
from bench.runs.directory import RunDirectory


@dataclass(frozen=True)
class Order:
    """A pack to be trained: its jobs, and per job the resolved configuration and the command line that asked for it.

    deadline: in seconds of `time.time`, when the command is to end; inf for never.
    """

    jobs: Sequence[Job]
    configs: Sequence[Mapping[str, Any]]
    overrides: Sequence[Mapping[str, Any]]
    deadline: float = math.inf

    def of(self, chosen: Sequence[int]) -> Order:
        """Some of its jobs."""
        jobs, configs = [self.jobs[k] for k in chosen], [self.configs[k] for k in chosen]
        return Order(jobs, configs, [self.overrides[k] for k in chosen], self.deadline)

    @property
    def directories(self) -> list[RunDirectory]:
        return [RunDirectory(job.results, job.replica.run_id) for job in self.jobs]


class Lost(dict[str, str]):
    """By run id, why nothing could be written of a run."""
