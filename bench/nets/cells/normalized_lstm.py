"""An LSTM whose sums are normalised, whatever normalises them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I
from bench.pack.streams import Stream

Normalize = Callable[[str, Tensor], Tensor]  # which sum (`h`, `x` or `c`) and its values [..., B, N] -> [..., B, N]


@dataclass(frozen=True)
class NormalizedLSTM(Cell):
    """An LSTM whose gates see normalised sums, and whose cell state is normalised where it is shown.

    (i, f, g, o) = g_h * N(W_hh h_{t-1}) + g_x * N(W_xh x_t) + b      N of the 4H sums of all gates
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(g_c * N(c_t) + b_c)                       N of the H units

    The cell state is handed on as it is. A class that derives from this one says what N is.
    """

    states = ("h", "c")
    gates = ("i", "f", "g", "o")

    @property
    @abstractmethod
    def first_gain(self) -> float:
        """Where the gains g_h, g_x and g_c start."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (4, H, H)),
            "W_xh": Parameter("input", (4, H, I)),
            "b": Parameter("bias", (4, H)),
            "g_h": Parameter("bias", (4, H), self.gains_of_gates),
            "g_x": Parameter("bias", (4, H), self.gains_of_gates),
            "g_c": Parameter("bias", (H,), self.gains),
            "b_c": Parameter("bias", (H,)),
        }

    def gains(self, random: Stream) -> Tensor:
        """The start of a gain, [H]."""
        return torch.full((self.hidden,), self.first_gain, dtype=torch.float64)

    def gains_of_gates(self, random: Stream) -> Tensor:
        """The start of a gain of all gates, [4, H]."""
        return torch.full((len(self.gates), self.hidden), self.first_gain, dtype=torch.float64)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1.0, 1.0)}

    def stepped(self, weights: Weights, x: Tensor, state: State, normalized: Normalize) -> State:
        """The state after input x [..., B, I], with N as `normalized`."""
        h, c = state
        from_h = normalized("h", h @ weights["W_hh"].flatten(-3, -2).mT)
        from_x = normalized("x", x @ weights["W_xh"].flatten(-3, -2).mT)
        gain_h, gain_x, bias = (weights[name].flatten(-2)[..., None, :] for name in ("g_h", "g_x", "b"))
        i, f, g, o = (gain_h * from_h + gain_x * from_x + bias).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        shown = weights["g_c"][..., None, :] * normalized("c", c) + weights["b_c"][..., None, :]
        return torch.sigmoid(o) * torch.tanh(shown), c

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_h{gate}": block for gate, block in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
