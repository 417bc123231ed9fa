"""Gated cells whose gates see the input alone, so that their state enters each step linearly: minGRU and minLSTM.

Source: Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, "Were RNNs all we needed?", section 3 (arXiv:2410.01201).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


def _of_input(weights: Weights, x: Tensor) -> tuple[Tensor, ...]:
    """W_xh x + b for each gate, [..., B, H]."""
    return (x[..., None, :, :] @ weights["W_xh"].mT + weights["b"][..., None, :]).unbind(-3)


def _diagonal(kept: Tensor) -> Tensor:
    """A share for each unit [..., H] as the matrix that multiplies the state, [..., H, H]."""
    return kept[..., None] * torch.eye(kept.shape[-1], dtype=kept.dtype, device=kept.device)


@dataclass(frozen=True)
class MinGRU(Cell):
    """h_t = z * h_{t-1} + (1 - z) * n,    z = sigmoid(W_xz x_t + b_z),    n = W_xn x_t + b_n.

    No weight leads from state to state. The recurrent block is what h is multiplied by where x = 0: diag(sigmoid(b_z)).

    Differs from the paper: z keeps the old state, as in torch.nn.GRU and this suite's GRU, where the paper's z lets the
    new one in, which is the same net with -W_xz and -b_z; one layer, without the blocks of a language model around it.
    """

    name = "min_gru"
    gates = ("z", "n")

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {"W_xh": Parameter("input", (2, H, I)), "b": Parameter("bias", (2, H))}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        z, n = _of_input(weights, x)
        return (n + torch.sigmoid(z) * (h - n),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"z": _diagonal(torch.sigmoid(weights["b"][..., 0, :]))}


@dataclass(frozen=True)
class MinLSTM(Cell):
    """h_t = f' * h_{t-1} + i' * g,    f' = f / (f + i),    i' = i / (f + i).

    f, i = sigmoid(W_x* x_t + b_*),    g = W_xg x_t + b_g

    f' is computed as sigmoid(ln f - ln i), which is finite where both gates are shut, and i' as 1 - f'. No weight leads
    from state to state. The recurrent block is what h is multiplied by where x = 0: diag(f') of the biases.

    Differs from the paper: one layer, without the blocks of a language model around it.
    """

    name = "min_lstm"
    gates = ("i", "f", "g")

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {"W_xh": Parameter("input", (3, H, I)), "b": Parameter("bias", (3, H))}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        i, f, g = _of_input(weights, x)
        return (g + _kept(i, f) * (h - g),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        i, f, _ = weights["b"].unbind(-2)
        return {"f": _diagonal(_kept(i, f))}


def _kept(i: Tensor, f: Tensor) -> Tensor:
    """f' of what the two gates are sigmoids of."""
    return torch.sigmoid(functional.logsigmoid(f) - functional.logsigmoid(i))
