"""What was measured beside the learning: a number a run at the start and at the end, and its interval over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis import queries
from bench.analysis.statistics.decay import relative
from bench.analysis.statistics.resampling import FEWEST, generator, typical_interval
from bench.analysis.statistics.summaries import typical
from bench.runs.tables import Tables

START, END, WHOLE = "start", "end", "whole run"
GRADIENT, CLIPPED = "ln gradient left", "share clipped"
RADII = {"state_jacobian": "spectral radius of the Jacobian", "spectrum": "spectral radius of the recurrent weight"}
FLOOR = float(np.log(np.finfo(float).tiny))  # of ln gamma: what is less counts as 0


@dataclass(frozen=True)
class Estimate:
    """The typical value of n seeds with its 95 % interval; low and high are infinite below 5 seeds."""

    value: float
    low: float
    high: float
    n: int


def measured(results: Tables) -> pd.DataFrame:
    """The numbers of every run, a row each: run, quantity, moment, value.

    `ln gradient left` (start, end): ln gamma at the mean lag of the cue (`mean_lag`), linear between the two nearest
        lags, from probes of the part of the state that is the memory (c of an LSTM, else h); at least ln 2.2e-308,
        which stands for 0.
    `spectral radius of the Jacobian` (start, end): of the whole state, which compares across cells; where that was not
        measured, `spectral radius of the recurrent weight` of runs that have one such weight.
    `share clipped` (whole run): share of the updates whose gradient was clipped.
    The start is update 0, the end a run's last measured update. A quantity that was not measured has no row.
    """
    runs = results.runs
    return pd.concat(
        [
            _gradient(_probes(results), runs),
            _radius(results),
            _clipped(results),
        ],
        ignore_index=True,
    )


def over_seeds(values: pd.DataFrame, *names: object) -> Estimate:
    """The typical value over seeds, where each seed counts once, by the median of its runs.

    values: columns `seed` and `value`, of runs that are taken together. names: of the bootstrap's random numbers.
    """
    by_seed = values.groupby("seed")["value"].median().dropna()
    if by_seed.empty:
        return Estimate(np.nan, -np.inf, np.inf, 0)
    low, high = (
        typical_interval([by_seed.to_numpy()], generator(0, "mechanism", *names))
        if len(by_seed) >= FEWEST
        else (-np.inf, np.inf)
    )
    return Estimate(typical(by_seed), low, high, len(by_seed))


def _probes(results: Tables) -> pd.DataFrame:
    """Probes of the memory at update 0 and at each run's last one."""

    def at_ends(table: Mapping[str, np.ndarray]) -> np.ndarray:
        update = table["update"]
        kept: np.ndarray = queries.of_memory(table)
        kept &= (update == 0) | (update == update[kept].max(initial=0))
        return kept

    return results.read("gradient_through_time", queries.PROFILE, at_ends)


def _gradient(probes: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    if "log_norm" not in probes:
        return _rows([])
    lags = runs.set_index("run")["mean_lag"]
    ends = _ends(probes)
    rows = []
    for (run, moment), profile in ends.groupby(["run", "moment"], observed=True):
        lag, log_gamma = relative(profile)
        left = float(np.interp(lags[run], lag, np.maximum(log_gamma, FLOOR))) if lags[run] <= lag[-1] else np.nan
        rows.append((run, GRADIENT, moment, left))
    return _rows(rows)


def _radius(results: Tables) -> pd.DataFrame:
    name = next((name for name in RADII if name in results.names), None)
    if name is None:
        return _rows([])
    table = results.read(name, ("update", "block", "spectral_radius"))
    if "block" in table:
        table = table[table.groupby("run", observed=True)["block"].transform("nunique") == 1]
    return _rows(
        [(run, RADII[name], moment, radius) for run, moment, radius in _triples(_ends(table), "spectral_radius")]
    )


def _clipped(results: Tables) -> pd.DataFrame:
    blocks = results.read("clipping", ("count", "clipped"))
    if "clipped" not in blocks:
        return _rows([])
    sums = blocks.groupby("run", observed=True)[["clipped", "count"]].sum()
    whole = (sums["clipped"] / sums["count"]).rename("share").reset_index().assign(moment=WHOLE)
    return _rows([(run, CLIPPED, moment, share) for run, moment, share in _triples(whole, "share")])


def _ends(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of update 0 as the start, and of each run's last measured one as the end; of one update, only the start."""
    last = table.groupby("run", observed=True)["update"].transform("max")
    chosen = table[(table["update"] == 0) | (table["update"] == last)]
    return chosen.assign(moment=np.where(chosen["update"] == 0, START, END))


def _triples(table: pd.DataFrame, column: str) -> list[tuple[str, str, float]]:
    return list(zip(table["run"].astype(str), table["moment"], table[column].astype(float), strict=True))


def _rows(rows: list[tuple[str, str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["run", "quantity", "moment", "value"])
