"""Long short-term memory with a forget gate.

Source: Hochreiter & Schmidhuber 1997, "Long short-term memory"; the forget gate is that of Gers, Schmidhuber &
Cummins 2000, "Learning to forget". No peepholes. One bias per gate: torch.nn.LSTM's two add up to it, and since their
gradients are equal the sum moves twice as fast there, and counts twice in the gradient's norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class LSTM(Cell):
    """The cell state c carries the memory, the hidden state h shows it.

    i, f, o = sigmoid(W_h* h_{t-1} + W_x* x_t + b_*)      input, forget and output gate
    g = tanh(W_hg h_{t-1} + W_xg x_t + b_g)               candidate
    c_t = f * c_{t-1} + i * g,    h_t = o * tanh(c_t)
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")
    squashed = ("c",)

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (4, H, H)),
            "W_xh": Parameter("input", (4, H, I)),
            "b": Parameter("bias", (4, H), torch_biases=2),
        }

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1.0, 1.0), "c": (-1.0, 1.0)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, c = state
        a = h[..., None, :, :] @ weights["W_hh"].mT + x[..., None, :, :] @ weights["W_xh"].mT
        i, f, g, o = (a + weights["b"][..., None, :]).unbind(-3)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_h{gate}": block for gate, block in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
