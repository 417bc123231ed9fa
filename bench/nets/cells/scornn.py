"""An Elman net whose recurrent weight stays orthogonal, as a scaled Cayley transform of a skew-symmetric matrix.

Source: Helfrich, Willmott & Ye 2018, "Orthogonal recurrent neural networks with scaled Cayley transform" (scoRNN,
arXiv:1707.09520), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.activations import mod_relu
from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I
from tasks.ranges import Share


@dataclass(frozen=True)
class ScoRNN(Cell):
    """h_t = modReLU(W_hh h_{t-1} + W_xh x_t),    W_hh = (I + S)^-1 (I - S) D,    S = A - A^T.

    D is diagonal with entries 1 and -1, and does not learn. Without it the transform reaches every orthogonal matrix
    that has no eigenvalue -1; with the right D it reaches all of them, reflections (determinant -1) among them, where
    the exponential of `exprnn` is always a rotation. The gradient of A is that of the transform, exact.

    `initializer/recurrent` fills A, not W_hh; `cayley` draws the paper's start. Of the H^2 numbers in A only the
    differences between A and A^T matter; counts of parameters count all of A.

    reflected: share of entries of D that are -1, the first ones; the paper chooses it for each task.

    Differs from the paper: A learns at the rate of all else, because a run has one.
    """

    name = "scornn"

    reflected: Share

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "A": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def prepared(self, weights: Weights) -> Weights:
        S = weights["A"] - weights["A"].mT
        unit = torch.eye(self.hidden, dtype=S.dtype, device=S.device)
        D = torch.ones(self.hidden, dtype=S.dtype, device=S.device)
        D[: round(self.reflected * self.hidden)] = -1
        return {**weights, "W_hh": torch.linalg.solve(unit + S, unit - S) * D}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT
        return (mod_relu(a, weights["b"][..., None, :]),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
