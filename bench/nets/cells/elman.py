"""The simple recurrent net of Elman 1990, "Finding structure in time"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


def hard_sigmoid(a: Tensor) -> Tensor:
    """clip(a/6 + 1/2, 0, 1); torch.nn.Hardsigmoid multiplies by a float32 sixth even in float64."""
    return (a / 6 + 0.5).clamp(0, 1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "hard_sigmoid": hard_sigmoid,
    "identity": torch.clone,
}


@dataclass(frozen=True)
class Elman(Cell):
    """h_t = phi(W_hh h_{t-1} + W_xh x_t + b).

    activation: phi, one of
        `tanh`          slope at most 1.
        `relu`          max(a, 0). With W_hh = I and b = 0 at the start this is the IRNN of Le, Jaitly & Hinton 2015
                        (arXiv:1504.00941), which is therefore a configuration and not a class.
        `sigmoid`       1 / (1 + e^-a), slope at most 1/4.
        `silu`          a sigmoid(a), also called Swish; slope between -.1 and 1.1. Elfwing, Uchibe & Doya 2018
                        (arXiv:1702.03118), Ramachandran, Zoph & Le 2017 (arXiv:1710.05941).
        `hard_sigmoid`  clip(a/6 + 1/2, 0, 1) as torch.nn.Hardsigmoid has it, slope 1/6 or 0; BinaryConnect's has 1/5.
        `identity`      a: a linear net.
    """

    activation: Literal["tanh", "relu", "sigmoid", "silu", "hard_sigmoid", "identity"]

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]
        return (_ACTIVATIONS[self.activation](a),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
