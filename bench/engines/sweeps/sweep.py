"""The contract of a sweep: the buffers of a pack, and one cell's step on them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bench.nets.network import Network, padded

COLUMN_MULTIPLE = 8  # K is padded to it
SATURATED = 40.0  # e^40 is finite in both precisions, and tanh(20) is 1


class Sweep(ABC):
    """The buffers of a pack and one cell's step on them, forward and backward.

    G blocks of padded H rows: 1 for Elman, 4 for GRU and LSTM. `slots` steps are kept, the sequence length for training
    and 1 for answers alone.
    """

    blocks: int

    def __init__(self, network: Network, flat: Tensor, sequences: int, slots: int) -> None:
        replicas, hidden = len(flat), network.padded_hidden
        width = row_width(network)
        self.slots = slots
        self.hidden = slice(0, hidden)
        self.input = slice(hidden, hidden + network.inputs)
        self.one = hidden + network.inputs
        self.columns = flat.new_zeros(slots + 1, replicas, sequences, width)
        self.columns[..., self.one] = 1
        self.rows = self.columns.unbind()  # views of one step each, made once: making them costs as much as using them
        self.states = self.columns[..., self.hidden].unbind()
        self.parts = [self.states]  # of the state, each a view per step
        self.weights = flat.new_zeros(replicas, self.blocks * hidden, width)
        self.d_weights = torch.zeros_like(self.weights)
        self.recurrent = self.weights[..., self.hidden]
        self.readout = flat.new_zeros(replicas, network.padded_outputs, width)
        self.d_readout = torch.zeros_like(self.readout)
        self.delta = flat.new_zeros(replicas, sequences, self.blocks * hidden)
        self.scratch = flat.new_zeros(2, replicas, sequences, hidden).unbind()
        self.d_states = {name: flat.new_zeros(replicas, sequences, hidden) for name in network.cell.states}
        self.alive = torch.zeros(replicas, dtype=torch.bool, device=flat.device)
        self.units = network.cell.hidden  # without the padding

    def load(self, parts: dict[str, Tensor]) -> None:
        """Take over the parameters and start from h_0 = 0."""
        self.load_recurrence(parts)
        self.readout[..., self.hidden] = parts["W_hy"]
        self.readout[..., self.one] = parts["b_y"]
        self.columns[0, ..., self.hidden] = 0
        self.alive.zero_()
        for buffer in (self.d_weights, self.d_readout, *self.d_states.values()):
            buffer.zero_()

    def load_recurrence(self, parts: dict[str, Tensor]) -> None:
        """Take over the cell's own parameters."""
        self.weights[..., self.hidden] = parts["W_hh"].flatten(1, -2)
        self.weights[..., self.input] = parts["W_xh"].flatten(1, -2)
        self.weights[..., self.one] = parts["b"].flatten(1)

    def store(self, gradients: dict[str, Tensor]) -> None:
        """Hand out the gradients of the parameters."""
        self.store_recurrence(gradients)
        gradients["W_hy"].copy_(self.d_readout[..., self.hidden])
        gradients["b_y"].copy_(self.d_readout[..., self.one])

    def store_recurrence(self, gradients: dict[str, Tensor]) -> None:
        """Hand out those of the cell's own."""
        for name, columns in (("W_hh", self.hidden), ("W_xh", self.input)):
            gradients[name].copy_(self.d_weights[..., columns].reshape(gradients[name].shape))
        gradients["b"].copy_(self.d_weights[..., self.one].reshape(gradients["b"].shape))

    def forward(self, t: int, x: Tensor, ended: Tensor | None) -> None:
        """Write the state after input x [R, B, I]; a sequence that has `ended` [R, B] holds the state before."""
        row, h = self.rows[t % (self.slots + 1)], self.states[(t + 1) % (self.slots + 1)]
        row[..., self.input] = x
        self.step(t, row, h)
        if ended is not None:
            for part in self.parts:
                before, after = part[t % (self.slots + 1)], part[(t + 1) % (self.slots + 1)]
                torch.where(ended[..., None], before, after, out=after)
        if self.slots == 1:
            self.alive |= (h != 0).flatten(1).any(-1)

    def read(self, t: int, out: Tensor) -> None:
        """Outputs of step t: y = W_hy h + b_y."""
        torch.bmm(self.rows[(t + 1) % (self.slots + 1)], self.readout.mT, out=out)

    def backward_readout(self, t: int, d_outputs: Tensor) -> None:
        """Add what step t's own outputs [R, B, O] want: to dL/dh_t and to the readout's gradient."""
        self.d_states["h"].baddbmm_(d_outputs, self.readout[..., self.hidden])
        self.d_readout.baddbmm_(d_outputs.mT, self.rows[t + 1])

    def backward_recurrence(self, t: int) -> None:
        """From the gradient of step t's pre-activations to the parameters and to dL/dh_{t-1}."""
        self.d_weights.baddbmm_(self.delta.mT, self.rows[t])
        torch.bmm(self.delta, self.recurrent, out=self.d_states["h"])

    @abstractmethod
    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        """Write h_t from row [h_{t-1} | x_t | 1], [R, B, K]."""

    def complete(self, t: int) -> None:  # noqa: B027 (cells without another part of the state have nothing to do)
        """Make `d_states` total derivatives, which dL/dh_t is already."""

    @abstractmethod
    def backward(self, t: int) -> None:
        """From the total derivatives `d_states` fill `delta`."""


def tanh_of_half(a: Tensor, denominator: Tensor, out: Tensor) -> None:
    """out = tanh(a / 2) = (e^a - 1) / (e^a - 1 + 2); a and denominator are overwritten. NaN stays NaN."""
    a.clamp_max_(SATURATED).expm1_()
    torch.add(a, 2, out=denominator)
    torch.div(a, denominator, out=out)


def row_width(network: Network) -> int:
    """K, the columns of [h | x | 1 | 0]."""
    return padded(network.padded_hidden + network.inputs + 1, COLUMN_MULTIPLE)
