"""How often a sweep keeps where it stands, and when it is to end before its work is done; no part of the question."""

from __future__ import annotations

import math
from dataclasses import dataclass


def _at_least_0(name: str, value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{name}={value}: at least 0 (null for none)")


@dataclass(frozen=True)
class Checkpoints:
    """seconds: between two checkpoints of a run in training; None keeps one only where a run is stopped.

    Raises ValueError if seconds < 0.
    """

    seconds: float | None

    def __post_init__(self) -> None:
        _at_least_0("seconds", self.seconds)


@dataclass(frozen=True)
class Budget:
    """Limits from outside: a run that they stop is judged as it stands, marked `stopped`, and can go on later.

    run_seconds: that a run may be in training, by the clock of its packs, pauses left out.
    sweep_seconds: that a command may take; runs that it has not begun by then are left for the next.
    fail_fast: whether the first run that fails ends the sweep.
    Raises ValueError if a limit is < 0.
    """

    run_seconds: float | None
    sweep_seconds: float | None
    fail_fast: bool

    @property
    def run_limit(self) -> float:
        """`run_seconds`, inf for none."""
        return math.inf if self.run_seconds is None else self.run_seconds

    def __post_init__(self) -> None:
        _at_least_0("run_seconds", self.run_seconds)
        _at_least_0("sweep_seconds", self.sweep_seconds)
