"""A skip through time: the recurrence also sees the state of several steps ago, and the gradient has a shorter way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.nets.cells.cell import Cell, State, Weights
from bench.nets.cells.wrapped import WrappedCell

Lag = Annotated[int, Ge(2)]
PositiveShare = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class SkipCell(WrappedCell):
    """A cell that steps from (1 - share) s_{t-1} + share s_{t-lag} for every part s of its state.

    Its state is s_{t-1}, ..., s_{t-lag}; the part `c-2` is the c of two steps before the newest.

    lag: time steps, >= 2. share: in (0, 1].
    """

    lag: Lag
    share: PositiveShare

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]
        earlier = [f"{part}-{back}" for back in range(1, self.lag) for part in self.inner.states]
        return (*self.inner.states, *earlier)

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        parts = len(self.inner.states)
        seen = state[-parts:]
        if self.share < 1:
            seen = tuple(
                (1 - self.share) * new + self.share * old for new, old in zip(state[:parts], seen, strict=True)
            )
        return (*self.inner.step(weights, x, seen), *state[:-parts])


@dataclass(frozen=True)
class Skip(Remedy):
    """The cell steps from (1 - share) s_{t-1} + share s_{t-lag} for every part s of its state, with s = 0 before t = 1.

    A gradient passes lag steps back through one Jacobian instead of lag of them. With share = 1 this is one layer of a
    dilated RNN, lag nets side by side that share their weights; with less, h_t depends on both h_{t-1} and h_{t-lag}.
    Part of the net, in judging and measuring as in training; the state is lag times as large, and what is measured of
    it is that of all its parts.

    lag: time steps, >= 2. share: in (0, 1].
    Source: dilation: Chang et al. 2017, section 2.1 (arXiv:1710.02224); a connection beside that from t - 1: Lin,
    Horne, Tino & Giles 1996, "Learning long-term dependencies in NARX recurrent neural networks".
    Differs from the papers: with share < 1 both states meet the same weights, so that any cell can be given a skip, and
    no parameter is added.
    """

    lag: Lag
    share: PositiveShare

    def cell(self, cell: Cell) -> Cell:
        return SkipCell(cell.hidden, cell, self.lag, self.share)
