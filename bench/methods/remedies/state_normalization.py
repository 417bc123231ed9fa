"""Layer normalisation of the recurrent state: however long h gets, the recurrence sees it at one length."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.nets.cells.cell import Cell, State, Weights
from bench.nets.cells.wrapped import WrappedCell
from bench.nets.normalization import layer_normalized
from tasks.ranges import Positive


@dataclass(frozen=True)
class NormalizedCell(WrappedCell):
    """A cell that sees (h_{t-1} - mean) / sqrt(var + eps), over units, for h_{t-1}; the rest of the state as it is.

    eps: in units of h^2.
    """

    eps: Positive

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, *others = state
        return self.inner.step(weights, x, (layer_normalized(h, self.eps), *others))


@dataclass(frozen=True)
class StateNormalization(Remedy):
    """The recurrence sees the hidden state layer-normalised, without gain and bias.

    h_{t-1} <- (h_{t-1} - mean) / sqrt(var + eps), mean and variance over units; the readout sees h_t itself. Part of
    the net, in judging and measuring as in training.

    eps: in units of h^2.
    Source: after Ba, Kiros & Hinton 2016 (arXiv:1607.06450).
    Differs from the paper: the state is normalised, not the summed inputs to the units, as in `cell=layer_norm_tanh`.
    """

    eps: Positive

    def cell(self, cell: Cell) -> Cell:
        return NormalizedCell(cell.hidden, cell, self.eps)
