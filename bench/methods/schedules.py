"""How the learning rate changes over a run; one small dataclass per schedule.

A schedule multiplies the learning rate of every replica, and with it the decoupled weight decay, as torch.optim does.
Its shape is measured in the length of the run, which it ends at: a longer run decays more slowly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor

from bench.pack.fields import PerReplica
from tasks.ranges import Checked, Share


@dataclass(frozen=True)
class Schedule(Checked, ABC):
    """A factor for the learning rate of update n of a run of N updates, n = 0 .. N - 1.

    (n + 1) / warmup            while n < warmup
    shape(p)                    from then on, p = (n - warmup) / (N - warmup) in [0, 1), shape(0) = 1

    warmup: in updates; 0 is no warm-up. A run no longer than that never gets past it.
    """

    version: ClassVar[int] = 1  # raised whenever a factor changes

    warmup: PerReplica[Annotated[float, Ge(0), MultipleOf(1)]]

    def factor(self, update: int | Tensor, updates: int) -> Tensor:
        """What to multiply the learning rate of this update by: float64, [R] in the component of a pack.

        Of several updates [U, 1] at once: [U, R].
        """
        warmup = torch.as_tensor(self.warmup, dtype=torch.float64)
        rise = (update + 1) / warmup.clamp(min=1)
        progress = (update - warmup).clamp(min=0) / (updates - warmup).clamp(min=1)
        return torch.where(update < warmup, rise, self.shape(progress))

    @abstractmethod
    def shape(self, progress: Tensor) -> Tensor:
        """The factor after warm-up, from the share of the run after it that lies behind: float64, any shape."""


@dataclass(frozen=True)
class Constant(Schedule):
    """shape(p) = 1."""

    def shape(self, progress: Tensor) -> Tensor:
        return torch.ones_like(progress)


@dataclass(frozen=True)
class Decaying(Schedule):
    """A schedule that falls from 1 to a `final` share, which the update after the last would have."""

    final: PerReplica[Share]


@dataclass(frozen=True)
class Linear(Decaying):
    """shape(p) = 1 - (1 - final) p.

    Source: torch.optim.lr_scheduler.LinearLR.
    """

    def shape(self, progress: Tensor) -> Tensor:
        return 1 - (1 - self.final) * progress


@dataclass(frozen=True)
class Cosine(Decaying):
    """shape(p) = final + (1 - final) (1 + cos(pi p)) / 2, half a cosine.

    Source: Loshchilov & Hutter 2017, equation 5, without restarts (arXiv:1608.03983); CosineAnnealingLR of torch.
    """

    def shape(self, progress: Tensor) -> Tensor:
        return self.final + (1 - self.final) * (1 + (math.pi * progress).cos()) / 2
