"""A bound for the norm of all that leads to a unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from bench.pack.sums import gradient_norm, scaled
from tasks.ranges import PositiveOrInf


@dataclass(frozen=True)
class MaxNorm(Remedy):
    """Scale a unit's incoming weights, after every step, so that their norm is at most `limit`.

    w_i <- w_i min(1, limit / ||w_i||), w_i a row of a matrix (W_hh, W_xh, W_hy ...): all that leads through it to one
    unit, or to one gate of a unit. Biases are free. At update 0 the weights are those of the initialiser, whatever
    their norm.

    limit: in units of the weights; inf is none.
    Source: Srivastava et al. 2014, section 5.1 ("Dropout", JMLR 15).
    """

    limit: PerReplica[PositiveOrInf]

    def after(self, view: PackView, weights: Tensor) -> Tensor:
        limited = weights.clone()
        for name, part in view.network.views(limited).items():
            if name not in view.network.vectors:
                norm = gradient_norm(part)  # [R, ...], a number per row
                part.copy_(scaled(part, norm, column(self.limit, norm)))
        return limited
