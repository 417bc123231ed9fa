"""What cells of units with one nonlinearity have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from bench.nets.activations import ACTIVATIONS
from bench.nets.cells.cell import Cell, State, Weights
from tasks.ranges import OneOf


@dataclass(frozen=True)
class ActivatedCell(Cell):
    """h_t = phi(W_hh h_{t-1} + W_xh x_t + b), or what a class that derives from this one makes of it.

    activation: phi, one of `ACTIVATIONS`, where formulas, bounds and slopes stand.
    """

    activation: Annotated[str, OneOf(tuple(ACTIVATIONS))]

    @property
    def surrogate_gradient(self) -> bool:
        return ACTIVATIONS[self.activation].surrogate

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": ACTIVATIONS[self.activation].bounds}

    def phi(self, a: Tensor) -> Tensor:
        """The nonlinearity, element by element."""
        return ACTIVATIONS[self.activation].function(a)

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        return (self.phi(h @ weights["W_hh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]),)
