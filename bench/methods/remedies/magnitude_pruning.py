"""Pruning of the smallest weights, a share of all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.pruning import Pruning
from bench.pack.fields import PerReplica
from tasks.ranges import Share


@dataclass(frozen=True)
class MagnitudePruning(Pruning):
    """The smallest |w| of every recurrent parameter become zero, and stay so, until a `share` of it is.

    At a pruning that has come to c (`Pruning` has the schedule), round(c share N) of the parameter's N numbers are
    zero, those of all gates together; of equal ones the first.

    begin, end: shares of the run. every: in updates. share: pruned at the end; 0 is none.
    Source: Zhu & Gupta 2017, section 3 (arXiv:1710.01878).
    Differs from the paper: the recurrent weight alone is pruned.
    """

    share: PerReplica[Share]

    def chosen(self, magnitudes: Tensor, come: float) -> Tensor:
        share = torch.as_tensor(self.share, dtype=torch.float64, device=magnitudes.device).reshape(-1, 1)
        count = (come * share * magnitudes.shape[-1]).round()
        ranks = magnitudes.argsort(dim=-1, stable=True).argsort(dim=-1)
        return ranks < count
