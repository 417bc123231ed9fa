"""The LSTM with exponential input gates and a normaliser, one of the two cells of the xLSTM.

Source: Beck et al. 2024, "xLSTM: extended long short-term memory", section 2.2 (arXiv:2405.04517).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class SLSTM(Cell):
    """The cell state C is a weighted sum of candidates, N the sum of their weights; h shows the mean C / N.

    a_* = W_h* h_{t-1} + W_x* x_t + b_*    for input gate i, forget gate f, candidate g and output gate o
    C_t = f * C_{t-1} + i * tanh(a_g),    N_t = f * N_{t-1} + i,    i = exp(a_i),    f = sigmoid(a_f)
    h_t = sigmoid(a_o) * C_t / N_t

    The state holds c = C / N and l = ln N, so that no gate overflows and nothing is divided:
    k = sigmoid(ln f + l_{t-1} - a_i),    c_t = k * c_{t-1} + (1 - k) * tanh(a_g),    l_t = ln(f e^{l_{t-1}} + e^{a_i})

    g is z in the paper. h and c stay within -1 and 1.

    Differs from the paper: c and l take the place of its C, N and stabiliser m, a fourth part of the state on which h
    does not depend; N_0 = 1, for a state starts at 0, where the paper has N_0 = 0; one head, so W_hh is full; of the
    two choices of forget gate the sigmoid, as in the authors' code; one layer, without convolution, group normalisation
    and projections around it.
    """

    name = "slstm"
    states = ("h", "c", "l")
    gates = ("i", "f", "g", "o")

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (4, H, H)),
            "W_xh": Parameter("input", (4, H, I)),
            "b": Parameter("bias", (4, H)),
        }

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1.0, 1.0), "c": (-1.0, 1.0)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, c, l = state
        a = h[..., None, :, :] @ weights["W_hh"].mT + x[..., None, :, :] @ weights["W_xh"].mT
        i, f, g, o = (a + weights["b"][..., None, :]).unbind(-3)
        more = functional.logsigmoid(f) + l - i  # ln of the old weight by that of the new
        candidate = torch.tanh(g)
        c = candidate + torch.sigmoid(more) * (c - candidate)
        return torch.sigmoid(o) * c, c, i - functional.logsigmoid(-more)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_h{gate}": block for gate, block in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
