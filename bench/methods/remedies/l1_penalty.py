"""A price for the size of weights. It belongs to the loss: its gradient is measured and clipped with the task's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import NonNegative


@dataclass(frozen=True)
class L1Penalty(Remedy):
    """L <- L + strength sum |w|: gradient strength sign(w), 0 at w = 0. Over all parameters, biases included.

    strength: in units of the loss; 0 is none.
    """

    strength: PerReplica[NonNegative]

    def price(self, view: PackView) -> Tensor:
        return (column(self.strength, view.flat) * view.flat.abs()).sum(-1)

    def penalty(self, view: PackView) -> Tensor:
        return column(self.strength, view.flat) * view.flat.sign()
