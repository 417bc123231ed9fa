"""An Elman net whose recurrent weight stays orthogonal, as the exponential of a skew-symmetric matrix.

Source: Lezcano-Casado & Martinez-Rubio 2019, "Cheap orthogonal constraints in neural networks" (expRNN,
arXiv:1901.08428).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.activations import mod_relu
from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class ExpRNN(Cell):
    """h_t = modReLU(W_hh h_{t-1} + W_xh x_t), W_hh = exp(A - A^T), modReLU(a) = sign(a) max(|a| + b, 0).

    W_hh is a rotation whatever A is: its eigenvalues lie on the unit circle, so only the nonlinearity can shrink a
    gradient on its way, and with b = 0 there is none. The gradient of A is that of the exponential, exact.

    Of the H^2 numbers in A only the H (H - 1) / 2 differences between A and A^T matter; a count of parameters, and so
    `cell.parameters`, counts all of A. `initializer/recurrent` fills A, not W_hh: zero or symmetric is W_hh = I.

    Differs from the paper: A learns at the same rate as all else, because a run has one (theirs a tenth of it).
    """

    name = "exprnn"

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "A": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def prepared(self, weights: Weights) -> Weights:
        skew = weights["A"] - weights["A"].mT
        return {**weights, "W_hh": torch.linalg.matrix_exp(skew)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT
        return (mod_relu(a, weights["b"][..., None, :]),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
