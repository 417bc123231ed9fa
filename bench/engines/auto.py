"""The engine that serves a network best."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.engines.batched import Batched
from bench.engines.compiled import Compiled
from bench.engines.eager import Eager
from bench.engines.engine import UNTREATED, Engine, Program, Treatment
from bench.nets.network import Network
from tasks.task import Task

BY_SPEED = (Compiled(), Batched(), Eager())  # as `make speed` finds them at every size; the last one can do all


@dataclass(frozen=True)
class Auto(Engine):
    """The first of `BY_SPEED` that can do what is asked; it is recorded with the run.

    The order is fixed and no race at the start of a run, so that the same command on the same machine comes to the same
    engine, and with it to the same bits, whatever else the machine was doing.
    """

    def supports(self, network: Network, device: torch.device) -> bool:
        return True

    def program(self, network: Network, task: Task, treatment: Treatment = UNTREATED) -> Program:
        raise TypeError("resolve the automatic engine before it is set up")

    def resolved(self, network: Network, device: torch.device, repairs: bool = False) -> Engine:
        """The engine that does the work; `repairs`: the gradient is clipped on its way back through time."""
        return next(e for e in BY_SPEED if (e.repairs or not repairs) and e.supports(network, device))
