"""What came out, as a picture for each task and sentences for each cell: every number is read off a statistic.

Sentences say what was measured beside the learning. That two things go together is all that they claim: the runs do
not change one of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.report.asked import clipped, listed
from bench.analysis.settings import NO_CLIPPING, levels
from bench.analysis.statistics.mechanism import (
    CLIPPED,
    END,
    FLOOR,
    GRADIENT,
    RADII,
    START,
    WHOLE,
    Estimate,
    measured,
    over_seeds,
)
from bench.analysis.statistics.resampling import FEWEST
from bench.analysis.statistics.summaries import success, wilson
from bench.analysis.table import two_digits
from bench.runs.tables import Tables

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TOLERANT = ("adding", "multiplication")  # tasks whose answers are numbers, and right within a tolerance
TOLERANCES = {"pascanu": 0.2}  # by variant
TOLERANCE = 0.04
MOST_CELLS = 8  # that are told in short
ENOUGH_SEEDS = 20  # where settings are compared
LEAST_PERCENT, MOST_PERCENT = 0.001, 10.0  # shares within are written in percent, others as powers of ten
BROKEN = {"diverged": "diverged", "dead": "died", "failed": "failed"}  # outcomes that count as not solved whatever else


@dataclass(frozen=True)
class Field:
    """A setting of a picture: `solved` of `n` runs at some time, with Wilson's interval; `time`: the median to solve.

    broken: how many diverged, died or failed, in words.
    """

    clip: str
    solved: int
    n: int
    low: float
    high: float
    time: str
    broken: str

    @property
    def rate(self) -> float:
        return self.solved / self.n


@dataclass(frozen=True)
class Finding:
    """A cell on a task: its fields by threshold (None: no runs), how it ended, and what was measured beside it."""

    cell: str
    fields: list[Field | None]
    outcome: str
    why: str


@dataclass(frozen=True)
class OfTask:
    """What came out on a task: its thresholds, its cells, and which setting solved it soonest."""

    task: str
    clips: list[str]
    cells: list[Finding]
    soonest: str


def findings(runs: pd.DataFrame, results: Tables, estimates: pd.DataFrame) -> list[OfTask]:
    """What came out on each task.

    runs: as `settings.distinguished` returns them. estimates: the numbers of the table of that name.
    """
    numbers = measured(results)
    wanted = ["run", "task", "cell", "clip", "seed", "outcome", "mean_lag"]
    numbers = numbers.merge(runs[wanted].assign(run=runs["run"].astype(str)), on="run")
    found = []
    for task, of_task in runs.groupby("task", observed=True):
        clips, own = levels(of_task["clip"]), numbers[numbers["task"] == task]
        fields = {
            (row["cell"], row["clip"]): _field(row, of_task)
            for _, row in estimates[estimates["task"].astype(str) == str(task)].iterrows()
        }
        cells = [
            Finding(
                str(cell),
                [fields.get((cell, clip)) for clip in clips],
                _outcome([fields[cell, clip] for clip in clips if (cell, clip) in fields]),
                _why(own[own["cell"] == cell]),
            )
            for cell in levels(of_task["cell"])
        ]
        found.append(OfTask(str(task), list(map(str, clips)), cells, _soonest(estimates, str(task))))
    return found


def in_short(runs: pd.DataFrame) -> str:
    """How many of its runs each cell solved, most first."""
    solved = success(runs["outcome"]).groupby(runs["cell"], observed=True).agg(["sum", "size"])
    ordered = solved.sort_values("sum", ascending=False, kind="stable")
    told = [f"{cell} in {count} of {n}" for cell, count, n in ordered.itertuples()]
    more = f", and {len(told) - MOST_CELLS} more" if len(told) > MOST_CELLS else ""
    return f"Runs that solved their task: {', '.join(told[:MOST_CELLS])}{more}."


def words(runs: pd.DataFrame) -> str:
    """What accuracy and seconds mean in these runs, where the words alone would mislead.

    runs: as loaded, with the names of tasks.
    """
    told = []
    for task in TOLERANT:
        own = runs[runs["task"] == task]
        for variant in own.get("task.variant", pd.Series("", own.index)).unique():
            name = f"{task} ({variant})" if variant in TOLERANCES else task
            told.append(f"{name} the share of answers with |error| < {TOLERANCES.get(variant, TOLERANCE):g}")
    accuracy = [f"Accuracy is on {' and on '.join(dict.fromkeys(told))}."] if told else []
    return " ".join([*accuracy, "Seconds: a run's share of the time of its pack, runs that trained together."])


def smallness(runs: pd.DataFrame) -> str:
    """What so few seeds can tell, once for all that follows."""
    counts = runs.groupby(["task", "cell", "clip"], observed=True)["seed"].nunique()
    n, most = int(counts.min()), int(counts.max())
    low, high = wilson(np.array([n, 0]), n)
    seeds = f"{n} seeds" if n == most else f"{n} to {most} seeds"
    more = "" if n >= ENOUGH_SEEDS else f"; comparing settings takes about {ENOUGH_SEEDS} seeds of each"
    brackets = (
        "Brackets: 95 % intervals over seeds." if n >= FEWEST else f"Below {FEWEST} seeds nothing has an interval."
    )
    return (
        f"{seeds} of each setting: {n}/{n} solved is a rate of {low[0]:.2f} to 1, 0/{n} one of 0 to {high[1]:.2f} "
        f"(95 %, Wilson){more}. {brackets}"
    )


def _field(row: pd.Series, runs: pd.DataFrame) -> Field:
    own = runs[(runs["cell"] == row["cell"]) & (runs["clip"] == row["clip"])]
    counts = {word: int((own["outcome"] == outcome).sum()) for outcome, word in BROKEN.items()}
    time = _updates(row) if np.isfinite(row["updates_to_solve"]) else ""
    broken = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return Field(str(row["clip"]), int(row["successes"]), int(row["n"]), row["low"], row["high"], time, broken)


def _updates(row: pd.Series) -> str:
    """`1375 [1250, 1500]`, the median time to solve in updates; without ends below 5 seeds."""
    low, high = row["updates_low"], row["updates_high"]
    end = f"{high:.0f}" if np.isfinite(high) else f"> {row['updates']:.0f}"
    return f"{row['updates_to_solve']:.0f} [{low:.0f}, {end}]"


def _outcome(fields: Sequence[Field]) -> str:
    """`5/5 solved clipped at 1 or 10; 0/5 without clipping, where 2 diverged`."""
    told: dict[str, list[Field]] = {}
    for field in fields:
        told.setdefault(f"{field.solved}/{field.n}", []).append(field)
    if len(told) == 1 and len(fields) > 1:
        text = f"{next(iter(told))} solved at every threshold"
    else:
        text = "; ".join(f"{count} solved {_where(those)}" for count, those in told.items())
    broken = [f"{field.broken} {clipped(field.clip)}" for field in fields if field.broken]
    return "; ".join([text, *broken])


def _where(fields: Sequence[Field]) -> str:
    at = [field.clip for field in fields if clipped(field.clip) == f"clipped at {field.clip}"]
    words = [f"clipped at {listed(at, 'and')}"] if at else []
    return listed([*words, *(clipped(field.clip) for field in fields if field.clip not in at)], "and")


def _why(numbers: pd.DataFrame) -> str:
    """The share of the gradient left at the mean lag, the radius and the clipped share, from the start to the end.

    numbers: as `mechanism.measured` returns them, with the columns of their runs; of one cell on one task.
    """
    parts = [part for part in (_gradient_left(numbers), _radius(numbers), _clipped_share(numbers)) if part]
    return f"{'; '.join(parts)}." if parts else "Nothing was measured that could say."


def _gradient_left(numbers: pd.DataFrame) -> str:
    own = numbers[numbers["quantity"] == GRADIENT]
    if own.empty:
        return ""
    lag = f"{own['mean_lag'].median():g} steps back the gradient is"
    return f"{lag} {share(_estimate(own, START))} of what it is at the loss at the start, {_ends(own, share)}"


def _radius(numbers: pd.DataFrame) -> str:
    own = numbers[numbers["quantity"].isin(RADII.values())]
    if own.empty:
        return ""
    return f"{own['quantity'].iloc[0]} {_plain(_estimate(own, START))} at the start, {_ends(own, _plain)}"


def _clipped_share(numbers: pd.DataFrame) -> str:
    own = numbers[(numbers["quantity"] == CLIPPED) & (numbers["clip"] != NO_CLIPPING)]
    if own.empty:
        return ""
    groups = own.groupby("clip", observed=True)
    told = [f"{_percent(_estimate(one, WHOLE))} at {clip}" for clip, one in groups if one["value"].max() > 0]
    never = [] if len(told) == len(groups) else ["none elsewhere" if told else "none"]
    return f"updates clipped: {', '.join([*told, *never])}"


def _ends(numbers: pd.DataFrame, written: Callable[[Estimate], str]) -> str:
    """The estimate at the end; of runs that solved and of the others, where there are both."""
    solved = success(numbers["outcome"])
    if solved.all() or not solved.any():
        return f"{written(_estimate(numbers, END))} at the end"
    yes, no = (written(_estimate(numbers[of], END, name)) for of, name in ((solved, "solved"), (~solved, "not")))
    return f"at the end {yes} in runs that solved and {no} in the others"


def _estimate(numbers: pd.DataFrame, moment: str, *names: object) -> Estimate:
    own = numbers[numbers["moment"] == moment]
    return over_seeds(own, *numbers[["task", "cell", "clip", "quantity"]].astype(str).iloc[0], moment, *names)


def share(estimate: Estimate) -> str:
    """`67 % [60 %, 81 %]` of an estimate of the logarithm of a share; powers of ten where it is tiny or large."""
    return _with_interval(estimate, _of_logarithm)


def _percent(estimate: Estimate) -> str:
    return _with_interval(estimate, lambda value: f"{two_digits(100 * value)}\u00a0%" if value else "0")


def _plain(estimate: Estimate) -> str:
    return _with_interval(estimate, "{:.2f}".format)


def _of_logarithm(logarithm: float) -> str:
    if logarithm <= FLOOR:
        return "0"
    if np.log(LEAST_PERCENT) <= logarithm < np.log(MOST_PERCENT):
        return f"{two_digits(100 * float(np.exp(logarithm)))}\u00a0%"
    return "10" + f"{logarithm / np.log(10):.0f}".translate(SUPERSCRIPT)


def _with_interval(estimate: Estimate, written: Callable[[float], str]) -> str:
    """`value [low, high]`; the value alone where the interval has no ends, or rounds to it."""
    if not estimate.n:
        return "unknown"
    value, low, high = (written(end) for end in (estimate.value, estimate.low, estimate.high))
    bounded = np.isfinite([estimate.low, estimate.high]).all()
    return value if not bounded or value == low == high else f"{value} [{low}, {high}]"


def _soonest(estimates: pd.DataFrame, task: str) -> str:
    """A sentence on the setting with the least median time to solve, and on those that its interval overlaps."""
    own = estimates[(estimates["task"].astype(str) == task) & np.isfinite(estimates["updates_to_solve"])]
    if own.empty:
        return "At no setting did half of the runs solve it."
    first = own.sort_values("updates_to_solve", kind="stable").iloc[0]
    others = own.drop(index=first.name)
    alike = others[others["updates_low"] <= first["updates_high"]]
    name = f"{first['cell']} {clipped(first['clip'])}"
    told = f"Soonest: {name}, half of the runs by update {_updates(first)}"
    if others.empty:
        return f"{told}; at no other setting did half of them."
    if alike.empty:
        return f"{told}; the intervals of all others lie later."
    return f"{told}; {len(alike)} of {len(others)} other settings have intervals that overlap."
