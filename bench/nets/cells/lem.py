"""Long expressive memory: two parts of the state, each with a learnt length of step for every unit.

Source: Rusch, Mishra, Erichson & Mahoney 2022, "Long expressive memory for sequence modeling", section 2
(arXiv:2110.04744).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class LEM(Cell):
    """A step of a system with many time scales; h is made with the z of the same step.

    d_1, d_2 = dt sigmoid(W_* h_{t-1} + V_* x_t + b_*)
    z_t = (1 - d_1) * z_{t-1} + d_1 * tanh(W_z h_{t-1} + V_z x_t + b_z)
    h_t = (1 - d_2) * h_{t-1} + d_2 * tanh(W_h z_t + V_h x_t + b_h)

    h is y in the paper. The gates' blocks are W_hh = (W_1, W_2, W_z, W_h), W_xh = (V_1, V_2, V_z, V_h) and b.

    dt: the longest step, in (0, 1]; both parts of the state then stay within -1 and 1.
    """

    name = "lem"
    states = ("h", "z")
    gates = ("1", "2", "z", "h")

    dt: Annotated[float, Gt(0), Le(1)]

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (4, H, H)),
            "W_xh": Parameter("input", (4, H, I)),
            "b": Parameter("bias", (4, H), torch_biases=2),  # the authors' code has one with V_* and one with W_*
        }

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": (-1.0, 1.0), "z": (-1.0, 1.0)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, z = state
        from_x = x[..., None, :, :] @ weights["W_xh"].mT + weights["b"][..., None, :]
        x_1, x_2, x_z, x_h = from_x.unbind(-3)
        W_1, W_2, W_z, W_h = weights["W_hh"].unbind(-3)
        d_1 = self.dt * torch.sigmoid(h @ W_1.mT + x_1)
        d_2 = self.dt * torch.sigmoid(h @ W_2.mT + x_2)
        z = (1 - d_1) * z + d_1 * torch.tanh(h @ W_z.mT + x_z)
        return (1 - d_2) * h + d_2 * torch.tanh(z @ W_h.mT + x_h), z

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_{gate}": block for gate, block in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
