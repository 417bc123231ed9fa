"""A price for the square of weights. It belongs to the loss: its gradient is measured and clipped with the task's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import NonNegative


@dataclass(frozen=True)
class L2Penalty(Remedy):
    """L <- L + strength/2 sum w^2: gradient strength w. Over all parameters, biases included, as weight decay is.

    With `clipping=none` this is `optimizer.weight_decay`, which is not clipped.

    strength: in units of the loss; 0 is none.
    """

    strength: PerReplica[NonNegative]

    def price(self, view: PackView) -> Tensor:
        return (column(self.strength, view.flat) / 2 * view.flat.square()).sum(-1)

    def penalty(self, view: PackView) -> Tensor:
        return column(self.strength, view.flat) * view.flat
