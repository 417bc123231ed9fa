"""Long short-term memory with layer normalisation of the summed inputs and of the cell state that is shown.

Source: Ba, Kiros & Hinton 2016, "Layer normalization", supplementary material, equations 20 to 22 (arXiv:1607.06450).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.nets.normalization import layer_normalized
from bench.pack.axes import H, I
from bench.pack.streams import Stream
from tasks.ranges import Positive


@dataclass(frozen=True)
class LayerNormLSTM(Cell):
    """An LSTM whose gates see normalised sums, and whose cell state is normalised where it is shown.

    (i, f, g, o) = g_h * N(W_hh h_{t-1}) + g_x * N(W_xh x_t) + b      N over the 4H sums of all gates together
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(g_c * N(c_t) + b_c)                       N over the H units

    N(v) = (v - mean) / sqrt(var + eps). The cell state is handed on as it is. Gains start at 1, biases by the
    initialiser of their role.

    eps: in units of the squared sums.
    Differs from the paper: its two biases of normalised sums and b add up to one here, and it has no eps.
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")

    eps: Positive

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (4, H, H)),
            "W_xh": Parameter("input", (4, H, I)),
            "b": Parameter("bias", (4, H)),
            "g_h": Parameter("bias", (4, H), self.ones_of_gates),
            "g_x": Parameter("bias", (4, H), self.ones_of_gates),
            "g_c": Parameter("bias", (H,), self.ones),
            "b_c": Parameter("bias", (H,)),
        }

    def ones(self, random: Stream) -> Tensor:
        """The start of a gain, [H]."""
        return torch.ones(self.hidden, dtype=torch.float64)

    def ones_of_gates(self, random: Stream) -> Tensor:
        """The start of a gain of all gates, [4, H]."""
        return torch.ones(len(self.gates), self.hidden, dtype=torch.float64)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1.0, 1.0)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, c = state
        from_h = layer_normalized(h @ weights["W_hh"].flatten(-3, -2).mT, self.eps)
        from_x = layer_normalized(x @ weights["W_xh"].flatten(-3, -2).mT, self.eps)
        gain_h, gain_x, bias = (weights[name].flatten(-2)[..., None, :] for name in ("g_h", "g_x", "b"))
        i, f, g, o = (gain_h * from_h + gain_x * from_x + bias).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        shown = layer_normalized(c, self.eps) * weights["g_c"][..., None, :] + weights["b_c"][..., None, :]
        return (torch.sigmoid(o) * torch.tanh(shown), c)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_h{gate}": block for gate, block in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
