"""An Elman net whose recurrent weight stays orthogonal, as a scaled Cayley transform of a skew-symmetric matrix.

Source: Helfrich, Willmott & Ye 2018, "Orthogonal recurrent neural networks with scaled Cayley transform" (scoRNN,
arXiv:1707.09520), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.orthogonal import OrthogonalCell
from tasks.ranges import Share


@dataclass(frozen=True)
class ScoRNN(OrthogonalCell):
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

    def orthogonal(self, skew: Tensor) -> Tensor:
        unit = torch.eye(self.hidden, dtype=skew.dtype, device=skew.device)
        D = torch.ones(self.hidden, dtype=skew.dtype, device=skew.device)
        D[: round(self.reflected * self.hidden)] = -1
        found: Tensor = torch.linalg.solve(unit + skew, unit - skew) * D
        return found
