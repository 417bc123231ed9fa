"""What becomes of a replica whose gradient is not finite; one small dataclass per policy."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Nonfinite(ABC):
    """A policy for gradients with an infinite or undefined entry."""

    version: ClassVar[int] = 1  # raised whenever the policy changes
    stops: ClassVar[bool]  # whether the replica ends as diverged; else the update is skipped


@dataclass(frozen=True)
class Stop(Nonfinite):
    """The replica ends as diverged at this update; its weights stay as they were before it."""

    stops = True


@dataclass(frozen=True)
class Skip(Nonfinite):
    """The replica's weights and its rows of the optimizer's state stay as they were before this update."""

    stops = False
