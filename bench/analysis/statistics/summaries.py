"""Statistics over seeds: success rates, scores, quartiles, and what clipping did in windows of training.

Everything takes and returns tidy tables; what a library computes well is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import trim_mean
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

SUCCESSES = ("solved", "relapsed")  # the rule was met, whatever came after
SCORELESS = ("diverged", "dead", "failed")
LEAST_FOR_INTERQUARTILE_MEAN = 8  # runs; below, a quarter of them is not even two
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
WINDOWS = 50
TOGETHER = 500  # runs whose updates are held in memory several times over
NORM_QUANTILES = {"norm_q05": 0.05, "norm_q50": 0.5, "norm_q95": 0.95}


def success(outcome: pd.Series) -> pd.Series:
    """Whether each run solved its task at some time."""
    return outcome.isin(SUCCESSES)


def score(skill: pd.Series, outcome: pd.Series) -> pd.Series:
    """Skill clipped to [0, 1]; 0 for a run that diverged, died or failed."""
    return skill.where(~outcome.isin(SCORELESS), 0.0).clip(0.0, 1.0)


def relative_loss(loss: pd.Series, baseline: pd.Series) -> pd.Series:
    """Held-out loss in units of the baseline; infinite where a run has stopped as diverged, which leaves a NaN."""
    return loss.fillna(np.inf) / baseline


def wilson(successes: np.ndarray | float, n: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the 95 % Wilson interval of a success rate, `successes` out of `n`.

    Coverage, exact: .95 on average over all rates; at one rate it swings, down to .89 for rates from .05 to .95 at
    n = 5 and 10 and .92 at n = 20, and to .83 beyond them. (Clopper and Pearson's: at least .95, on average .98.)
    Source: Wilson 1927 (J. Am. Stat. Assoc. 22:209).
    """
    low, high = proportion_confint(successes, n, alpha=0.05, method="wilson")
    return np.asarray(low), np.asarray(high)


def share_difference(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, float]:
    """Both ends of the 95 % interval of one success rate less another, each `successes` out of `n`.

    d - sqrt((p_a - l_a)^2 + (u_b - p_b)^2) and d + sqrt((u_a - p_a)^2 + (p_b - l_b)^2), l and u the ends of Wilson's
    intervals. The groups count as independent; where they share data it is on the wide side.
    Source: Newcombe 1998, method 10 (Stat. Med. 17:873).
    """
    low, high = confint_proportions_2indep(*a, *b, method="newcomb", compare="diff")
    return float(low), float(high)


def typical(values: pd.Series) -> float:
    """The interquartile mean from 8 values on (a quarter cut off at each end), the median of fewer."""
    if len(values) < LEAST_FOR_INTERQUARTILE_MEAN:
        return float(values.median())
    return float(trim_mean(values, 0.25))


def quartiles(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """`n`, `q25`, `median` and `q75` of `value`, one row for each group that occurs.

    Interpolated linearly, as numpy does by default. NaN is left out; infinities count as what they are, so a
    quartile is infinite as soon as it lies between a finite and an infinite value.
    """
    ordered = table.dropna(subset=[value]).sort_values([*by, value])
    groups = ordered.groupby(list(by), observed=True, dropna=False, sort=False)
    result: pd.DataFrame = groups.size().rename("n").reset_index()
    values, n = ordered[value].to_numpy(dtype=float), result["n"].to_numpy()
    first = n.cumsum() - n
    for name, share in QUARTILES.items():
        position = first + share * (n - 1)
        low, high = values[np.floor(position).astype(int)], values[np.ceil(position).astype(int)]
        with np.errstate(invalid="ignore"):  # inf * 0, where low == high is taken
            between = low * (1 - position % 1) + high * (position % 1)
        result[name] = np.where(low == high, low, between)
    return result


def success_rates(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`n`, `successes`, their share `rate` and its Wilson interval `low`, `high`, one row per group."""
    groups = success(runs["outcome"]).groupby([runs[key] for key in by], observed=True)
    result: pd.DataFrame = groups.agg(n="size", successes="sum").reset_index()
    result["rate"] = result["successes"] / result["n"]
    result["low"], result["high"] = wilson(result["successes"].to_numpy(), result["n"].to_numpy())
    return result


def clipping_windows(clipping: pd.DataFrame, updates: pd.Series, windows: int = WINDOWS) -> pd.DataFrame:
    """What clipping did in equal windows of training, one row per run and window.

    clipping: blocks of updates, a row each. updates: of the whole run, indexed by `run`.
    Columns: run, update (the last of the window), clip_fraction (share of the updates that were clipped),
    mean_shrink (factor on the gradient, 1 = untouched), mean_cosine (between the gradient and the clipped one), and
    norm_q05, norm_q50, norm_q95 (quantiles over updates of the norm before clipping, each block by its geometric mean).
    """
    packs = clipping.groupby(pd.factorize(clipping["run"])[0] // TOGETHER)  # thousands at once would not fit
    return pd.concat([_windows(part, updates, windows) for _, part in packs], ignore_index=True)


def _windows(clipping: pd.DataFrame, updates: pd.Series, windows: int) -> pd.DataFrame:
    total = clipping["run"].map(updates).astype(float)
    window = np.ceil(clipping["update"] / total * windows)
    blocks = clipping.assign(update=window * total / windows, norm=_norms(clipping["norm_log_mean"]))
    blocks = blocks[blocks["count"] > 0]  # a block of nothing but non-finite gradients has no norm
    groups = blocks.groupby(["run", "update"], observed=True)
    quantiles = groups["norm"].quantile(list(NORM_QUANTILES.values())).unstack()
    sums = groups.agg(
        count=("count", "sum"),
        clipped=("clipped", "sum"),
        shrink_sum=("shrink_sum", "sum"),
        cosine_sum=("cosine_sum", "sum"),
    )
    return pd.DataFrame(
        {
            "clip_fraction": sums["clipped"] / sums["count"],
            "mean_shrink": sums["shrink_sum"] / sums["count"],
            "mean_cosine": sums["cosine_sum"] / sums["count"],
            **dict(zip(NORM_QUANTILES, (column for _, column in quantiles.items()), strict=True)),
        }
    ).reset_index()


def median_norms(clipping: pd.DataFrame) -> pd.Series:
    """Median gradient norm over each run's updates, or over its blocks where it is kept in longer ones."""
    blocks = clipping.loc[clipping["count"] > 0, ["run", "norm_log_mean"]]
    return _norms(blocks.groupby("run", observed=True)["norm_log_mean"].median()).rename("median_norm")


def _norms(logarithms: pd.Series) -> pd.Series:
    """Norms in float64 from their float32 logarithms: those of an exploding net are beyond float32."""
    norms: pd.Series = np.exp(logarithms.astype(float))
    return norms


def most(band: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The points at which more than half of a group's runs have a value: the median of few survivors misleads."""
    largest = band.groupby(list(by), observed=True)["n"].transform("max")
    return band[band["n"] > largest / 2]
