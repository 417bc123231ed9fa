"""How a run ended, in one word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTIAL_SKILL = 0.1
KEPT_SKILL = 0.9
EXPLODED = 100.0  # times the baseline loss
LAST = 3


@dataclass(frozen=True)
class Rule:
    """A task is solved at a skill (1 - loss/baseline) of at least `skill` at `in_a_row` evaluations in a row."""

    skill: float
    in_a_row: int

    def first_met(self, updates: Sequence[int] | np.ndarray, skills: Sequence[float] | np.ndarray) -> int | None:
        """The update of the first of the evaluations in a row, or None."""
        met = np.asarray(skills) >= self.skill  # NaN is not
        for k in range(len(met) - self.in_a_row + 1):
            if met[k : k + self.in_a_row].all():
                return int(updates[k])
        return None


def outcome(
    skills: Sequence[float] | np.ndarray, final_skill: float, *, diverged: bool, alive: bool, solved_at: int | None
) -> str:
    """The first that fits.

    diverged: the gradient was not finite under `stop`, or the held-out loss above 100 x baseline (or not finite) at the
        last 3 evaluations. dead: every unit 0 on the held-out set at the end. solved: the rule was met, final skill at
        least .9. relapsed: the rule was met once, final skill below. partial: median skill of the last 3 evaluations at
        least .1. stuck: the rest. (A run that raised an exception is `failed`; that is said where it is caught.)
    """
    last = np.asarray(skills[-LAST:], dtype=float)
    if diverged or not (last >= 1 - EXPLODED).any():
        return "diverged"
    if not alive:
        return "dead"
    if solved_at is not None:
        return "solved" if final_skill >= KEPT_SKILL else "relapsed"
    return "partial" if np.median(last) >= PARTIAL_SKILL else "stuck"
