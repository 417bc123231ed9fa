"""Nets that take small steps along a differential equation whose Jacobian has eigenvalues next to the imaginary axis.

Source: Chang, Chen, Haber & Chi 2019, "AntisymmetricRNN: a dynamical system view on recurrent neural networks",
sections 3 and 4 (arXiv:1902.09689).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I
from tasks.ranges import NonNegative, Positive


def _damped(weights: Weights, gamma: float) -> Weights:
    """The weights with M = W_hh - W_hh^T - gamma I."""
    W = weights["W_hh"]
    return {**weights, "M": W - W.mT - gamma * torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)}


@dataclass(frozen=True)
class AntisymmetricRNN(Cell):
    """h_t = h_{t-1} + epsilon tanh(M h_{t-1} + W_xh x_t + b),    M = W_hh - W_hh^T - gamma I.

    The eigenvalues of W_hh - W_hh^T are imaginary, so what is near the linear range neither grows nor decays; gamma
    makes up for what a step of finite length adds. The recurrent block is M. Of the H^2 numbers in W_hh only the
    differences between W_hh and W_hh^T matter; counts of parameters, and so `cell.parameters`, count all of it.

    epsilon: length of a step, > 0. gamma: diffusion, >= 0.
    """

    name = "antisymmetric"

    epsilon: Positive
    gamma: NonNegative

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def prepared(self, weights: Weights) -> Weights:
        return _damped(weights, self.gamma)

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["M"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]
        return (h + self.epsilon * torch.tanh(a),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"M": weights["M"]}


@dataclass(frozen=True)
class GatedAntisymmetricRNN(Cell):
    """h_t = h_{t-1} + epsilon i * tanh(M h_{t-1} + W_xn x_t + b_n),    i = sigmoid(M h_{t-1} + W_xi x_t + b_i).

    M = W_hh - W_hh^T - gamma I is shared by gate and candidate. The gate is z in the paper; its name here is that of a
    gate that lets new things in, so that `initializer/bias=chrono` shuts it, where the GRU's z, which keeps, is opened.

    epsilon: length of a step, > 0. gamma: diffusion, >= 0.
    """

    name = "antisymmetric_gated"
    gates = ("i", "n")

    epsilon: Positive
    gamma: NonNegative

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (2, H, I)),
            "b": Parameter("bias", (2, H)),
        }

    def prepared(self, weights: Weights) -> Weights:
        return _damped(weights, self.gamma)

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        recurrent = h @ weights["M"].mT
        x_i, x_n = (x[..., None, :, :] @ weights["W_xh"].mT + weights["b"][..., None, :]).unbind(-3)
        return (h + self.epsilon * torch.sigmoid(recurrent + x_i) * torch.tanh(recurrent + x_n),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"M": weights["M"]}
