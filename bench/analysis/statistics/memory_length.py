"""T50, the length of a task at which half of the runs solve it: one number for how long a memory is.

Separated data, where all solve up to some length and none beyond, are the rule with few seeds. The usual fit has no
maximum there; a profile likelihood over a bounded slope has one, and its interval is finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import f

from bench.analysis.statistics.summaries import success_rates

SLOPES = np.geomspace(0.1, 100, 301)
LENGTH = "task.length"
LENGTH_IN_NAME = r", (?:task\.)?length=[^,]*"
REACH = 50.0  # in ln T50 beyond the tried lengths: an end of the interval further out is 0 or inf


@dataclass(frozen=True)
class MemoryLength:
    """T50 with its 95 % interval, in the unit of the lengths.

    t50: 0 or inf where none or all solve. low, high: 0 or inf where nothing bounds them. slope: b of the fit, NaN
    where all or none solve. censored: T50 lies below or above all lengths that were tried, and only that is known of
    it, not the number that the fit continues to. separated: no length at which a run solves
    is longer than one at which a run does not, so that the slope is only known to be large.
    """

    t50: float
    low: float
    high: float
    slope: float
    separated: bool
    censored: Literal["", "below", "above"]


def chance_to_solve(length: np.ndarray | float, t50: float, slope: float) -> np.ndarray:
    """P = 1 / (1 + (T / T50)^b)."""
    return 1 / (1 + (np.asarray(length, dtype=float) / t50) ** slope)


def memory_length(lengths: Sequence[float], successes: Sequence[int], n: Sequence[int]) -> MemoryLength:
    """Fit P = 1 / (1 + (T / T50)^b) to `successes` of `n` runs at each of some lengths.

    The interval holds every T50 for which some b in [0.1, 100] has a log likelihood within F / 2 of the greatest,
    F the 95 % quantile of F(1, N - 2) for N runs. The point estimate is where it is greatest; where all solve up to
    one length and none from the next on it is flat between them, and the estimate is their geometric middle.
    One-sided where all or none solve. Raises ValueError for fewer than two lengths.
    Coverage, simulated with five lengths that double: .94 to .99 on average over where T50 lies between them, for b
    from 2 to 10 and n = 5, 10, 20 runs at each. At one place it swings from .91 to 1, as that of any interval of a few
    counts does: with b = 5 only the two lengths next to T50 have runs of both kinds (worst: half way between them).
    Source: Venzon & Moolgavkar 1988 (Appl. Stat. 37:87). Differs: F where they have chi-square, its limit for large
    N, because of few runs: at n = 10 a T50 that was one of the lengths would be covered in .89 of all sets.
    """
    log_t, k, of = np.log(np.asarray(lengths, dtype=float)), np.asarray(successes), np.asarray(n)
    if len(set(log_t)) < 2:
        raise ValueError(f"lengths {list(lengths)}: T50 takes at least two different ones")
    fall = float(f.ppf(0.95, 1, max(of.sum() - 2, 1))) / 2
    bounds = (log_t.min() - REACH, log_t.max() + REACH)

    def profile(log_t50: float) -> float:
        return float(_log_likelihoods(log_t50, log_t, k, of).max())

    all_solve, none_solves = bool((k == of).all()), bool((k == 0).all())
    if all_solve or none_solves:  # the further out, the better
        best, greatest = bounds[all_solve], 0.0
    else:
        found = minimize_scalar(lambda x: -profile(x), bounds=bounds, method="bounded", options={"xatol": 1e-7})
        best, greatest = float(found.x), -float(found.fun)
    low, high = (
        infinite if profile(bound) > greatest - fall else brentq(lambda x: profile(x) - greatest + fall, bound, best)
        for bound, infinite in zip(bounds, (-np.inf, np.inf), strict=True)
    )

    longest_solved, shortest_failed = np.max(log_t[k > 0], initial=-np.inf), np.min(log_t[k < of], initial=np.inf)
    estimate = best
    if -np.inf < longest_solved < shortest_failed < np.inf:
        estimate = float(np.clip((longest_solved + shortest_failed) / 2, low, high))
    censored: Literal["", "below", "above"] = (
        "above" if estimate > log_t.max() else "below" if estimate < log_t.min() else ""
    )
    slope = SLOPES[_log_likelihoods(best, log_t, k, of).argmax()]
    if all_solve or none_solves:
        estimate, slope = (np.inf if all_solve else -np.inf), np.nan
    t50, low, high = (float(value) for value in np.exp([estimate, low, high]))
    return MemoryLength(t50, low, high, float(slope), bool(longest_solved <= shortest_failed), censored)


def _log_likelihoods(log_t50: float, log_t: np.ndarray, k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """sum of k ln P + (n - k) ln(1 - P), for every slope."""
    odds = SLOPES[:, None] * (log_t - log_t50)
    fits: np.ndarray = ((n - k) * odds - n * np.logaddexp(0, odds)).sum(axis=1)
    return fits


def without_length(task: pd.Series) -> pd.Series:
    """The names of tasks as `settings.distinguished` gives them, less their length."""
    return task.astype(str).str.replace(LENGTH_IN_NAME, "", regex=True)


def by_length(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Success rates at each length, where a group was tried at two or more: `length`, and as `success_rates` says.

    runs: with a column `task.length`, NaN or not there for tasks that have none.
    """
    if LENGTH not in runs:
        return pd.DataFrame()
    rates = success_rates(runs.rename(columns={LENGTH: "length"}).dropna(subset=["length"]), [*by, "length"])
    return rates[rates.groupby(list(by), observed=True)["length"].transform("size") > 1].reset_index(drop=True)


def memory_lengths(rates: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """T50 of every group of the success rates that `by_length` returns, a row each, with the fields of MemoryLength."""
    rows = [
        dict(zip(by, key, strict=True))
        | {
            "shortest": part["length"].min(),
            "longest": part["length"].max(),
            "lengths": len(part),
            "n": part["n"].sum(),
        }
        | asdict(memory_length(part["length"].tolist(), part["successes"].tolist(), part["n"].tolist()))
        for key, part in rates.groupby(list(by), observed=True)
    ]
    return pd.DataFrame(rows)


def as_far_as_known(fits: pd.DataFrame, name: Literal["t50", "low", "high"] = "t50") -> pd.Series:
    """The T50 of each fit, or an end of its interval: 0 or inf where it lies below or above all lengths tried."""
    return fits[name].mask(fits[name] < fits["shortest"], 0.0).mask(fits[name] > fits["longest"], np.inf)


def ranked(fits: pd.DataFrame, within: Sequence[str]) -> pd.DataFrame:
    """The fits with the `rank` of each T50 among the `ranked` of its group, 1 the longest, and its least and greatest.

    rank: one more than the number of others with a longer T50; those beyond the lengths tried share one. rank_low
    counts only those whose whole interval lies above that of the fit, rank_high all whose interval is not wholly below
    it; of two that lie beyond the lengths tried neither does.
    """

    def of_group(group: pd.DataFrame) -> pd.DataFrame:
        t50, low, high = (as_far_as_known(group, name).to_numpy(dtype=float) for name in ("t50", "low", "high"))
        return pd.DataFrame(
            {
                "rank": 1 + (t50 > t50[:, None]).sum(axis=1),
                "rank_low": 1 + (low > high[:, None]).sum(axis=1),
                "rank_high": (high >= low[:, None]).sum(axis=1),  # itself is one of them
                "ranked": len(group),
            },
            index=group.index,
        )

    return fits.join(pd.concat([of_group(group) for _, group in fits.groupby(list(within), observed=True)]))
