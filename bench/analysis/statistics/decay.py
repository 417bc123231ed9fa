"""How a gradient decays on its way back, in a few numbers: rate, half-life, horizon, vanished share.

They follow from the recorded profiles alone, so they are made when results are read: results of any age have them,
and another definition needs no new training.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.stats import theilslopes

PROFILE = ["run", "update", "state"]
HORIZONS = (0.1, 0.001)  # epsilon: of gamma
VANISHED = 0.001  # gamma below which a gradient counts as vanished
MOST_LAGS = 500  # that a slope is fitted to, evenly spaced: it looks at all pairs of them


def decay(gradients: pd.DataFrame) -> pd.DataFrame:
    """What probes say of each run, update and part of the state, a row each.

    gamma(lag) = ||dL/ds_(t*-lag)|| / ||dL/ds_t*||, geometric mean over sequences; 0 where the gradient of more than
    half of the sequences is exactly 0.

    decay_rate: robust slope (Theil-Sen) of ln gamma over lag, nats per step, > 0 is growth; over `lags` lags with a
        finite ln gamma, of at most 500 evenly spaced ones; NaN for fewer than 2.
    half_life: ln 2 / -decay_rate in steps, infinite where nothing decays.
    horizon_0.1, horizon_0.001: least lag with gamma below; where there is none, the number of lags, and censored_...
        is true: the horizon is at least that.
    vanishing_share: of the lags, with gamma below 0.001.
    underflow_share: of the steps and sequences of the training gradient at that update, with a gradient of exactly 0,
        which in the precision of training is what underflow leaves; NaN where it was not recorded.
    """
    if gradients.empty:
        return pd.DataFrame({"run": pd.Series(dtype=str)})
    probes = gradients[gradients["kind"] == "probe"]
    rows = [
        {**dict(zip(PROFILE, key, strict=True)), **_numbers(*relative(profile))}
        for key, profile in probes.groupby(PROFILE, observed=True)
    ]
    training = gradients[gradients["kind"] == "training"].groupby(PROFILE, observed=True)["zero_share"].mean()
    table = pd.DataFrame(rows, columns=None if rows else [*PROFILE, "decay_rate"])
    return table.merge(training.rename("underflow_share").reset_index(), on=PROFILE, how="left")


def relative(profile: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Lags from 0 on, and ln gamma at them: -inf where most sequences have no gradient left."""
    ordered = profile.sort_values("lag")
    log_norm = ordered["log_norm"].astype(float).mask(ordered["zero_share"] > 0.5, -np.inf).to_numpy()
    with np.errstate(invalid="ignore"):  # a probe whose own loss has no gradient: -inf less -inf
        return ordered["lag"].to_numpy(), log_norm - log_norm[0]


def _numbers(lags: np.ndarray, log_gamma: np.ndarray) -> dict[str, object]:
    rate, count = _slope(lags, log_gamma)
    numbers: dict[str, object] = {
        "decay_rate": rate,
        "lags": count,
        "half_life": np.nan if np.isnan(rate) else np.log(2) / -rate if rate < 0 else np.inf,
    }
    for epsilon in HORIZONS:
        below = np.flatnonzero(log_gamma < np.log(epsilon))
        numbers[f"horizon_{epsilon:g}"] = int(lags[below[0]]) if len(below) else len(lags)
        numbers[f"censored_{epsilon:g}"] = not len(below)
    return {**numbers, "vanishing_share": float((log_gamma < np.log(VANISHED)).mean())}


def _slope(lags: np.ndarray, log_gamma: np.ndarray) -> tuple[float, int]:
    """Theil-Sen slope, and to how many points."""
    finite = np.flatnonzero(np.isfinite(log_gamma))
    if len(finite) > MOST_LAGS:
        finite = finite[np.linspace(0, len(finite) - 1, MOST_LAGS).round().astype(int)]
    if len(finite) < 2:
        return np.nan, len(finite)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of its interval, where all slopes are equal
        return float(theilslopes(log_gamma[finite], lags[finite]).slope), len(finite)
