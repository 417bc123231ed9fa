"""A bound for every weight on its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import PositiveOrInf


@dataclass(frozen=True)
class WeightClipping(Remedy):
    """w <- max(-limit, min(w, limit)) after every step, for every trained number, biases included.

    limit: in units of the weights; inf is none.
    Source: Arjovsky, Chintala & Bottou 2017, Algorithm 1 (arXiv:1701.07875).
    """

    limit: PerReplica[PositiveOrInf]

    def after(self, view: PackView, weights: Tensor) -> Tensor:
        limit = column(self.limit, weights)
        return torch.minimum(torch.maximum(weights, -limit), limit)
