"""How often a sweep keeps where it stands, and when it is to end before its work is done; no part of the question."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.ranges import Checked, NonNegative


@dataclass(frozen=True)
class Checkpoints(Checked):
    """seconds: between two checkpoints of a run in training; None keeps one only where a run is stopped."""

    seconds: NonNegative | None


@dataclass(frozen=True)
class Budget(Checked):
    """Limits from outside: a run that they stop is judged as it stands, marked `stopped`, and can go on later.

    run_seconds: that a run may be in training, by the clock of its packs, pauses left out.
    sweep_seconds: that a command may take; runs that it has not begun by then are left for the next.
    fail_fast: whether the first run that fails ends the sweep.
    """

    run_seconds: NonNegative | None
    sweep_seconds: NonNegative | None
    fail_fast: bool

    @property
    def run_limit(self) -> float:
        """`run_seconds`, inf for none."""
        return math.inf if self.run_seconds is None else self.run_seconds
