"""Time to solve as a survival problem: Kaplan-Meier curves of the share solved, their median, and log-rank scores.

A run that diverges, dies or fails by its own doing can never solve, so it stays at risk to its full budget and the
curve ends at the share of all runs that solved. So does one that the stop rule ended as hopeless, on the assumption
that it would not have solved in what was left. Only a run that was stopped from outside is censored.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm
from statsmodels.duration.survfunc import SurvfuncRight

from bench.analysis.statistics.summaries import wilson

Z = float(norm.ppf(0.975))
HALF = 0.5
ROUNDING = 1e-9  # a product of shares that is .5 on paper is not in floating point


def times(runs: pd.DataFrame) -> pd.DataFrame:
    """How long each run was watched, in updates (`time`), whether it `solved` then, or else was `stopped` then.

    runs: with `solved_at` (NaN: never), `updates` (the budget) and, optionally, the boolean `stopped`: a run stopped
    from outside is censored at the last update that it did, `sequences / batch_size`. `solved_at` is known to within
    one evaluation.
    """
    solved = runs["solved_at"].notna()
    stopped = runs["stopped"].eq(True) & ~solved if "stopped" in runs else ~solved & False
    end = runs["updates"].astype(float)
    if stopped.any():
        end = end.mask(stopped, runs["sequences"] / runs["batch_size"])
    return pd.DataFrame({"time": end.mask(solved, runs["solved_at"]), "solved": solved, "stopped": stopped})


def curve(time: pd.Series | np.ndarray, solved: pd.Series | np.ndarray, end: float) -> pd.DataFrame:
    """Kaplan-Meier estimate of the share of runs that have solved by each update, from 0 to `end`, the budget.

    share(t) = 1 - prod over the times t_j <= t at which d_j of n_j runs at risk solved of (1 - d_j / n_j).
    Columns: update, at_risk (n_j), solved (d_j), share, and the pointwise 95 % band low, high: Wilson's interval
    where nobody was censored before, since the share is then a plain one of all runs, else log-log,
    1 - (1 - share)^exp(-+ 1.96 s) with Greenwood's standard error s of ln(-ln(1 - share)). A row for each step.
    Sources: Kaplan & Meier 1958 (J. Am. Stat. Assoc. 53:457); Kalbfleisch & Prentice 1980, section 1.3.
    """
    time, solved = np.asarray(time, dtype=float), np.asarray(solved, dtype=bool)
    n, found = len(time), SurvfuncRight(time, solved)
    at, share = found.surv_times, 1 - found.surv_prob
    low, high = wilson(np.searchsorted(np.sort(time[solved]), at, side="right"), n)
    for j in np.flatnonzero(at > np.min(time[~solved], initial=np.inf)):
        low[j], high[j] = _log_log(found.surv_prob[j], found.surv_prob_se[j], at_end=low[j - 1] if j else 0.0)
    start_low, start_high = wilson(0, n)
    steps = pd.DataFrame(
        {
            "update": [0.0, *at],
            "at_risk": [n, *found.n_risk.astype(int)],
            "solved": [0, *found.n_events.astype(int)],
            "share": [0.0, *share],
            "low": [float(start_low), *low],
            "high": [float(start_high), *high],
        }
    )
    last = steps.iloc[[-1]].assign(update=float(end), at_risk=int((time >= end).sum()), solved=0)
    return pd.concat([steps, last], ignore_index=True) if end > steps["update"].iloc[-1] else steps


def _log_log(survival: float, error: float, at_end: float) -> tuple[float, float]:
    """The band of the share solved; where all have solved it is undefined, and reaches from `at_end` to 1."""
    if survival <= ROUNDING:
        return at_end, 1.0
    width = Z * error / (survival * -np.log(survival))
    return 1 - survival ** np.exp(-width), 1 - survival ** np.exp(width)


def median(steps: pd.DataFrame) -> tuple[float, float, float]:
    """Time by which half of the runs have solved, and its 95 % interval; inf where a curve never gets there.

    steps: as `curve` returns them. The interval holds the times at which the band contains one half. Where a curve
    runs at one half exactly, the time is the middle of that stretch: without censoring that is the plain median of
    all runs, those that never solve taking longer than any.
    Source: Brookmeyer & Crowley 1982 (Biometrics 38:29).
    """
    update = steps["update"].to_numpy()
    return tuple(_reaches_half(update, steps[name].to_numpy()) for name in ("share", "high", "low"))  # type: ignore[return-value]


def _reaches_half(update: np.ndarray, share: np.ndarray) -> float:
    first, beyond = (update[share > HALF + margin] for margin in (-ROUNDING, ROUNDING))
    if not len(beyond):
        return np.inf
    return float((first[0] + beyond[0]) / 2)


def logrank_scores(time: pd.Series | np.ndarray, solved: pd.Series | np.ndarray) -> np.ndarray:
    """What each run adds to the log-rank statistic: observed minus expected, > 0 for one that solved early.

    solved_i - sum over the steps t_j <= time_i of d_j / n_j, both counted over all runs together; the sum over
    a group is its numerator O - E. The scores do not depend on who is in which group, so permuting labels needs
    no new risk sets.
    Source: Peto & Peto 1972 (J. R. Stat. Soc. A 135:185).
    """
    time, solved = np.asarray(time, dtype=float), np.asarray(solved, dtype=bool)
    found = SurvfuncRight(time, solved)
    hazard = np.concatenate([[0.0], np.cumsum(found.n_events / found.n_risk)])
    scores: np.ndarray = solved - hazard[np.searchsorted(found.surv_times, time, side="right")]
    return scores
