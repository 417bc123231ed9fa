"""The engine that serves a network best, from what was measured in `bench/speed/`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.engine import UNTREATED, Engine, Program, Treatment
from bench.network import Network
from tasks.task import Task


@dataclass(frozen=True)
class Auto(Engine):
    """`Batched` where it has the cell's backward pass, else `Eager`; the choice is recorded with the run."""

    def supports(self, network: Network, device: torch.device) -> bool:
        return True

    def program(self, network: Network, task: Task, treatment: Treatment = UNTREATED) -> Program:
        raise TypeError("resolve the automatic engine before it is set up")

    def resolved(self, network: Network, device: torch.device) -> Engine:
        """The engine that does the work."""
        return Batched() if Batched().supports(network, device) else Eager()
