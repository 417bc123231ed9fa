"""The gated recurrent unit, with its reset gate after the recurrent product.

Source: Cho et al. 2014, section 2.3 (arXiv:1406.1078), in the form of torch.nn.GRU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class GRU(Cell):
    """One state; the update gate z keeps the old one or lets the candidate n in.

    r, z = sigmoid(W_h* h_{t-1} + W_x* x_t + b_*)                  reset and update gate
    n = tanh(W_xn x_t + b_n + r * (W_hn h_{t-1} + b_hn))           candidate
    h_t = (1 - z) * n + z * h_{t-1}

    Differs from the paper: r stands after the product with W_hn, which then has a bias b_hn of its own, and not before
    it, because torch.nn.GRU and cuDNN compute it so; and there are biases. torch.nn.GRU's two biases of r and z add up
    to one here; since their gradients are equal the sum moves twice as fast there.
    """

    gates = ("r", "z", "n")

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (3, H, H)),
            "W_xh": Parameter("input", (3, H, I)),
            "b": Parameter("bias", (3, H), torch_biases=(2, 2, 1)),
            "b_hn": Parameter("bias", (H,)),
        }

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1.0, 1.0)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        r, z, recurrent = (h[..., None, :, :] @ weights["W_hh"].mT).unbind(-3)
        from_x = x[..., None, :, :] @ weights["W_xh"].mT + weights["b"][..., None, :]
        x_r, x_z, x_n = from_x.unbind(-3)
        r, z = torch.sigmoid(r + x_r), torch.sigmoid(z + x_z)
        n = torch.tanh(x_n + r * (recurrent + weights["b_hn"][..., None, :]))
        return (n + z * (h - n),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_h{gate}": block for gate, block in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
