"""A price for large weights. It belongs to the loss: its gradient is measured and clipped with that of the task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica


@dataclass(frozen=True)
class _Penalty(Remedy):
    """strength: >= 0, in units of the loss; 0 is none. Over all parameters, biases included, as weight decay is."""

    strength: PerReplica

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"strength={self.strength}: a penalty is at least 0")

    def _strength(self, view: PackView) -> Tensor:
        return torch.as_tensor(self.strength, device=view.flat.device).to(view.flat.dtype)[..., None]


@dataclass(frozen=True)
class L1Penalty(_Penalty):
    """L <- L + strength sum |w|: gradient strength sign(w), 0 at w = 0.

    strength: >= 0. Raises ValueError if it is negative.
    """

    def price(self, view: PackView) -> Tensor:
        return (self._strength(view) * view.flat.abs()).sum(-1)

    def penalty(self, view: PackView) -> Tensor:
        return self._strength(view) * view.flat.sign()


@dataclass(frozen=True)
class L2Penalty(_Penalty):
    """L <- L + strength/2 sum w^2: gradient strength w.

    With `clipping=none` this is `optimizer.weight_decay`, which is not clipped.

    strength: >= 0. Raises ValueError if it is negative.
    """

    def price(self, view: PackView) -> Tensor:
        return (self._strength(view) / 2 * view.flat.square()).sum(-1)

    def penalty(self, view: PackView) -> Tensor:
        return self._strength(view) * view.flat
