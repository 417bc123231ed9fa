"""The base of cells that are another cell but for what goes into its step or comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, Weights


@dataclass(frozen=True)
class WrappedCell(Cell):
    """A cell with the parameters of another; a subclass writes `step`.

    inner: the other cell, of as many units.
    """

    inner: Cell

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.states

    @property
    def gates(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.gates

    @property
    def parameters(self) -> dict[str, Parameter]:
        return self.inner.parameters

    @property
    def squashed(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.squashed

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        return self.inner.bounds

    @property
    def surrogate_gradient(self) -> bool:
        return self.inner.surrogate_gradient

    def prepared(self, weights: Weights) -> Weights:
        return self.inner.prepared(weights)

    @property
    def varies(self) -> bool:
        return self.inner.varies

    def at(self, weights: Weights, t: int) -> Weights:
        return self.inner.at(weights, t)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return self.inner.recurrent_blocks(weights)
