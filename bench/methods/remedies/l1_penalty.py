"""A price for large weights. It belongs to the loss: its gradient is measured and clipped with that of the task."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import NonNegative


@dataclass(frozen=True)
class _Penalty(Remedy):
    """strength: in units of the loss; 0 is none. Over all parameters, biases included, as weight decay is."""

    strength: PerReplica[NonNegative]


@dataclass(frozen=True)
class L1Penalty(_Penalty):
    """L <- L + strength sum |w|: gradient strength sign(w), 0 at w = 0.

    strength: in units of the loss.
    """

    def price(self, view: PackView) -> Tensor:
        return (column(self.strength, view.flat) * view.flat.abs()).sum(-1)

    def penalty(self, view: PackView) -> Tensor:
        return column(self.strength, view.flat) * view.flat.sign()


@dataclass(frozen=True)
class L2Penalty(_Penalty):
    """L <- L + strength/2 sum w^2: gradient strength w.

    With `clipping=none` this is `optimizer.weight_decay`, which is not clipped.

    strength: in units of the loss.
    """

    def price(self, view: PackView) -> Tensor:
        return (column(self.strength, view.flat) / 2 * view.flat.square()).sum(-1)

    def penalty(self, view: PackView) -> Tensor:
        return column(self.strength, view.flat) * view.flat
