"""The choice of the engine that serves a network best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bench.engines.batched import Batched
from bench.engines.compiled import Compiled
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS, Engine, Interventions
from bench.engines.fused import Fused, FusedExact
from bench.engines.graphed import Graphed
from bench.nets.network import Network

# three for a GPU, one for a CPU; the last can do all
BY_SPEED = (Fused(), FusedExact(), Graphed(), Compiled(), Batched(), Eager())


@dataclass(frozen=True)
class Auto:
    """The first of `BY_SPEED` that can do what is asked and proves itself where it trains; it is recorded with the run.

    The order is fixed and no race at the start of a run, so that the same command on the same machine comes to the same
    engine, and with it to the same bits, whatever else the machine was doing.
    """

    def candidates(
        self, network: Network, device: torch.device, interventions: Interventions = NO_INTERVENTIONS
    ) -> Iterator[Engine]:
        """The engines that can do the work, the fastest first."""
        yield from (engine for engine in BY_SPEED if engine.refusal(network, device, interventions) is None)

    def chosen(self, network: Network, device: torch.device, interventions: Interventions = NO_INTERVENTIONS) -> Engine:
        """The fastest of them."""
        return next(self.candidates(network, device, interventions))


def passed_over(engine: Engine, network: Network, device: torch.device, interventions: Interventions) -> list[str]:
    """Why no faster engine of such a device serves: `compiled cannot train leaky on cpu`. Empty if none is faster."""
    faster = BY_SPEED[: BY_SPEED.index(engine)] if engine in BY_SPEED else ()
    reasons = {one.name: one.refusal(network, device, interventions) for one in faster if device.type in one.devices}
    return [f"{name} {reason}" for name, reason in reasons.items() if reason]
