"""A residual step: what the cell computes is added to the hidden state, and the gradient has a way that only adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.nets.cells.cell import Cell, State, Weights
from bench.nets.cells.wrapped import WrappedCell
from tasks.ranges import Positive


@dataclass(frozen=True)
class ResidualCell(WrappedCell):
    """A cell whose hidden state becomes h_{t-1} + gain h', h' that of the inner cell; the rest of the state as there.

    gain: > 0.
    """

    gain: Positive

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        return {name: bounds for name, bounds in self.inner.bounds.items() if name != "h"}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, *others = self.inner.step(weights, x, state)
        return (state[0] + self.gain * h, *others)


@dataclass(frozen=True)
class Residual(Remedy):
    """h_t = h_{t-1} + gain h', where h' is what the cell makes of x_t and h_{t-1}; the rest of the state as ever.

    The Jacobian is I + gain J and not J. A cell within -1 and 1 can now reach gain t after t steps. Part of the net, in
    judging and measuring as in training.

    gain: > 0, of about 1 / steps where h should stay of the size of the cell's own.
    Source: He, Zhang, Ren & Sun 2016, "Identity mappings in deep residual networks" (arXiv:1603.05027), with time steps
    for layers.
    Differs from the paper: the step has one weight at all times, no normalisation, and a gain.
    """

    gain: Positive

    def cell(self, cell: Cell) -> Cell:
        return ResidualCell(cell.hidden, cell, self.gain)
