"""An Elman net whose recurrent weight stays orthogonal, as the exponential of a skew-symmetric matrix.

Source: Lezcano-Casado & Martinez-Rubio 2019, "Cheap orthogonal constraints in neural networks" (expRNN,
arXiv:1901.08428).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.orthogonal import OrthogonalCell


@dataclass(frozen=True)
class ExpRNN(OrthogonalCell):
    """h_t = modReLU(W_hh h_{t-1} + W_xh x_t), W_hh = exp(A - A^T), modReLU(a) = sign(a) max(|a| + b, 0).

    W_hh is a rotation whatever A is: its eigenvalues lie on the unit circle, so only the nonlinearity can shrink a
    gradient on its way, and with b = 0 there is none. The gradient of A is that of the exponential, exact.

    Of the H^2 numbers in A only the H (H - 1) / 2 differences between A and A^T matter; a count of parameters, and so
    `cell.parameters`, counts all of A. `initializer/recurrent` fills A, not W_hh: zero or symmetric is W_hh = I.

    Differs from the paper: A learns at the same rate as all else, because a run has one (theirs a tenth of it).
    """

    name = "exprnn"

    def orthogonal(self, skew: Tensor) -> Tensor:
        found: Tensor = torch.linalg.matrix_exp(skew)
        return found
