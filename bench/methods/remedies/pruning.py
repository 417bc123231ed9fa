"""What pruning has in common, whatever it goes by: when it happens, and that a pruned weight stays zero.

A pruned weight is -0.0, one that happens to be zero is +0.0. Both multiply alike, and the sign is kept wherever the
weight goes, into a checkpoint too: which weights are pruned follows from the weights alone. Before the first pruning
no zero counts, whatever an initialiser (`identity`, `sparse`) gave it for a sign.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from tasks.ranges import Count, Share


@dataclass(frozen=True)
class Pruning(Remedy, ABC):
    """Weights of the recurrent parameters become zero and stay so: no gradient, momentum or noise moves them again.

    Pruning happens after a number of updates n, from b = round(begin N) of N updates on, every `every` of them, and
    once more at e = round(end N). How far it has come there is 1 - (1 - (n - b) / (e - b))^3, and 1 at e: fast at
    first, ever slower towards the end. With begin = end all is done at once. A replica that makes no step at a pruning,
    for its gradient is not finite, is not pruned then.

    begin, end: shares of the run, 0 the first update; begin <= end. every: in updates.
    Source of the schedule: Zhu & Gupta 2017, equation 1 with s_i = 0 (arXiv:1710.01878).
    """

    begin: Share
    end: Share
    every: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.begin > self.end:
            raise ValueError(f"begin={self.begin}: must be at most end={self.end}")

    @abstractmethod
    def chosen(self, magnitudes: Tensor, come: float) -> Tensor:
        """Which of a parameter's magnitudes [R, N] to prune, bool; those already pruned have magnitude -1.

        come: how far pruning has come, above 0 and up to 1.
        """

    def after(self, view: PackView, weights: Tensor) -> Tensor:
        done = view.update + 1
        first, last = (max(1, round(share * view.updates)) for share in (self.begin, self.end))
        weights = weights + 0.0  # no -0.0 but those set below
        if done < first:
            return weights
        due = done == last or (first <= done < last and (done - first) % self.every == 0)
        come = 1.0 if done >= last else 1 - (1 - (done - first) / (last - first)) ** 3
        before = view.network.views(view.flat)
        for name, part in view.network.views(weights).items():
            if view.network.parameters[name].role != "recurrent":
                continue
            pruned = torch.zeros_like(part, dtype=torch.bool)
            if done > first:
                pruned = (before[name] == 0) & before[name].signbit()
            if due and come > 0:
                magnitudes = part.abs().masked_fill(pruned, -1.0).flatten(1)
                pruned = pruned | self.chosen(magnitudes, come).view_as(part)
            part.masked_fill_(pruned, -0.0)
        return weights
