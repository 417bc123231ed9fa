"""How a run ended: one word, and the numbers that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTIAL_SKILL = 0.1
EXPLODED = 100.0  # times the baseline loss
LAST = 3
LEAST = float(np.finfo(float).min)
RISE = 0.01  # of the best skill, or accuracy: what is less is no progress


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the columns of the table `runs` that are neither its configuration nor where it lies.

    outcome: one word, as `ended` gives it, or `failed`. solved_rule: when its task counts as solved.
    solved_at, mastered_at: update of the first of the evaluations in a row that met the rule; None if none did.
    diverged_at, ended_at: update after which its gradient was not finite, or at which a stop rule ended it: it had
        solved its task often enough, or was hopeless.
    stopped: whether a limit from outside ended it.
    final_loss, final_skill, final_accuracy: on fresh sequences, at the end; NaN if its gradient was not finite.
    baseline_loss, chance_accuracy, min_lag, mean_lag, steps: of its task; lags and steps in time steps.
    scored_first, scored_last: the first and last scored step, counted from 1.
    parameters, recurrent_parameters: trained numbers, all and those from state to state.
    sequences: trained on. seconds: its share of the time that its packs took. pack_width: replicas in its last pack.
    """

    outcome: str
    solved_rule: str
    solved_at: int | None
    mastered_at: int | None
    diverged_at: int | None
    ended_at: int | None
    stopped: bool
    final_loss: float
    final_skill: float
    final_accuracy: float
    baseline_loss: float
    chance_accuracy: float
    min_lag: int
    mean_lag: float
    steps: int
    scored_first: int
    scored_last: int
    parameters: int
    recurrent_parameters: int
    sequences: int
    seconds: float
    pack_width: int


@dataclass(frozen=True)
class Rule:
    """A task is solved at a `quantity` of at least `least` at `in_a_row` evaluations in a row.

    quantity: `skill`, which is 1 - loss/baseline, or `accuracy`. kept: what it must still be at the end of a run.
    """

    quantity: str
    least: float
    in_a_row: int
    kept: float

    def __str__(self) -> str:
        times = f"{self.in_a_row} evaluations in a row" if self.in_a_row > 1 else "one evaluation"
        return f"{self.quantity} of at least {self.least:g} at {times}"

    def first_met(self, updates: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray) -> int | None:
        """The update of the first of the evaluations in a row, or None."""
        met = np.asarray(values) >= self.least  # NaN is not
        for k in range(len(met) - self.in_a_row + 1):
            if met[k : k + self.in_a_row].all():
                return int(updates[k])
        return None

    def is_hopeless(
        self, updates: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray, patience: float
    ) -> bool:
        """Whether the last `patience` updates have raised the best value by less than .01, and none of theirs met it.

        updates, values: of all evaluations so far. The best before them is that of all evaluations up to `patience`
        updates ago, so that no run is hopeless sooner than that; a value that is not finite counts as the least.
        """
        at, found = np.asarray(updates), np.nan_to_num(np.asarray(values, dtype=float), nan=LEAST)
        before = at <= at[-1] - patience
        if not before.any():
            return False
        best = found[~before].max()
        return bool(best < self.least and best - found[before].max() < RISE)

    def held_lately(self, values: Sequence[float] | np.ndarray) -> int:
        """At how many of the last evaluations in a row it held."""
        fails = np.flatnonzero(~(np.asarray(values)[::-1] >= self.least))
        return int(fails[0]) if len(fails) else len(values)


def ended(
    skills: Sequence[float] | np.ndarray,
    final_skill: float,
    *,
    diverged: bool,
    alive: bool,
    solved_at: int | None,
    kept: bool,
    given_up: bool,
) -> str:
    """How a run ended, the first word that fits; skills: 1 - loss/baseline at all its evaluations.

    diverged: its gradient was not finite under `stop`; or its loss is not finite at the last evaluation or on the fresh
        sequences of the end; or it is above 100 x baseline, or not finite, at each of the last 3 evaluations.
    dead: every unit 0 on the held-out set at the end.
    solved: the rule was met, and the final number has `kept` it. relapsed: met once, and not kept.
    hopeless: a stop rule ended it before, because it no longer became better.
    partial: median skill of the last 3 evaluations at least .1, one that is not finite counting as the least.
    stuck: the rest.
    With every word but `diverged` the final loss is a finite number. (A run that raised an exception is `failed`; that
    is said where it is caught.)
    """
    last = np.asarray(skills[-LAST:], dtype=float)
    last = np.where(np.isnan(last), -np.inf, last)
    broken = not (np.isfinite(final_skill) and np.isfinite(last[-1]))
    if diverged or broken or (last < 1 - EXPLODED).all():
        return "diverged"
    if not alive:
        return "dead"
    if solved_at is not None:
        return "solved" if kept else "relapsed"
    if given_up:
        return "hopeless"
    return "partial" if np.median(last) >= PARTIAL_SKILL else "stuck"
