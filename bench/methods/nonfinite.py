"""What becomes of a replica whose gradient is not finite; one small dataclass per policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench.pack.fields import PerReplica, column
from tasks.ranges import Checked, Positive


@dataclass(frozen=True)
class Nonfinite(Checked, ABC):
    """A policy for gradients with an infinite or undefined entry."""

    version: ClassVar[int] = 1  # raised whenever the policy changes
    stops: ClassVar[bool] = False  # whether the replica ends as diverged; else the update is skipped or replaced

    @abstractmethod
    def replacement(self, weights: Tensor, recurrent: Tensor) -> Tensor | None:
        """The gradient [R, P] to go on with instead, or None for no step.

        weights: [R, P]. recurrent: [P], whether an entry leads from state to state, bool.
        """


@dataclass(frozen=True)
class Stop(Nonfinite):
    """The replica ends as diverged at this update; its weights stay as they were before it."""

    stops = True

    def replacement(self, weights: Tensor, recurrent: Tensor) -> None:
        return None


@dataclass(frozen=True)
class Skip(Nonfinite):
    """The replica's weights and its rows of the optimizer's state stay as they were before this update."""

    def replacement(self, weights: Tensor, recurrent: Tensor) -> None:
        return None


@dataclass(frozen=True)
class Shrink(Nonfinite):
    """The recurrent weight gets the gradient `factor` W, all else none: with plain SGD the weight shrinks a little.

    factor: .02 in the source. The replacement is then clipped, and stepped with, like any gradient.
    Source: the code of Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063).
    """

    factor: PerReplica[Positive]

    def replacement(self, weights: Tensor, recurrent: Tensor) -> Tensor:
        return column(self.factor, weights) * weights * recurrent
