"""What the page draws on demand: every run's curves, gradients and eigenvalues, thinned and packed into the page."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.figures.style import series_styles
from bench.analysis.settings import SETTING, levels, settings_of, text_of
from bench.analysis.statistics.comparisons import every_pair
from bench.analysis.statistics.summaries import WINDOWS, score
from bench.runs.directory import RunDirectory
from bench.runs.tables import Source, Tables

MOST_PAIRS = 400  # of settings of a task, that are tested against each other
DIGITS = 3


@dataclass(frozen=True)
class Amount:
    """How much of a run is packed: points of a curve, lags of a gradient, moments of both gradients and eigenvalues."""

    points: int
    lags: int
    moments: int
    clouds: int


WHOLE, SPARSE = Amount(64, 50, 14, 12), Amount(24, 16, 2, 0)
MANY = 500  # runs, from which on each has less


def packed(content: Mapping[str, Any]) -> str:
    """JSON, compressed (gzip), in base64: the same bytes for the same content."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def detail(runs: pd.DataFrame, results: Tables) -> dict[str, Any]:
    """All that the page draws on demand.

    runs: as `settings.distinguished` returns them. Keys: axes (the levels of task, cell and clip), colors (by cell),
    keys (settings that differ between runs), pairs (tests of any two settings of a task) and runs, each with its place
    on the axes (`at`), outcome, values of `keys`, and what was recorded: `loss` over the baseline, `accuracy`,
    `clipped`, `norm` and `radius` as [updates, values], `gradient` (ln gamma by update and lag), `cloud` (eigenvalues
    by update and block, those with an imaginary part >= 0). What is missing or not finite is null.
    """
    amount = WHOLE if len(runs) < MANY else SPARSE
    axes = {axis: levels(runs[axis]) for axis in SETTING}
    keys = [key for key in settings_of(runs) if key not in SETTING and runs[key].nunique(dropna=False) > 1]
    keys = [key for key in keys if not key.endswith("_target_") and key != "seed"]
    directories = {directory.run_id: directory for directory in results.directories}
    ordered = runs.sort_values([*SETTING, "seed"]).assign(score=score(runs["final_skill"], runs["outcome"]))
    return {
        "axes": {axis: list(map(str, of)) for axis, of in axes.items()},
        "colors": {str(cell): style.color for cell, style in series_styles(axes["cell"]).items()},
        "keys": keys,
        "pairs": _pairs(runs),
        "runs": [
            {
                "run": row["run"],
                "at": [axes[axis].index(row[axis]) for axis in SETTING],
                "seed": int(row["seed"]),
                "outcome": row["outcome"],
                "solved_at": _number(row["solved_at"]),
                "diverged_at": _number(row.get("diverged_at", np.nan)),
                "score": _number(row["score"]),
                "updates": int(row["updates"]),
                "own": ["" if pd.isna(row[key]) else text_of(row[key]) for key in keys],
                **_recorded(directories[row["run"]], row, amount),
            }
            for row in ordered.to_dict("records")
        ],
    }


def _pairs(runs: pd.DataFrame) -> list[list[Any]]:
    """[task, cell, clip, cell, clip, n, difference of scores, low, high, p of solved, score and time]."""
    groups = runs[SETTING].drop_duplicates().groupby("task", observed=True).size()
    if len(runs) >= MANY or (groups * (groups - 1) / 2).sum() > MOST_PAIRS:  # the tests of many seeds take seconds each
        return []
    names = [*SETTING, "cell_b", "clip_b", "n_a", "difference", "low", "high", "p_solved", "p_score", "p_time"]
    table = every_pair(runs, seed=0)
    if table.empty:
        return []
    return [[value if isinstance(value, str) else _number(value) for value in row] for row in table[names].to_numpy()]


def _recorded(directory: Source, row: Mapping[Any, Any], amount: Amount) -> dict[str, Any]:
    found = {
        **_evaluations(directory, row["baseline_loss"], amount),
        **_clipping(directory, row["updates"], amount),
        **_radius(directory, amount),
        **_gradient(directory, amount),
        **_cloud(directory, amount),
    }
    return found | ({"log": _log(directory)} if amount.clouds else {})


def _log(directory: Source) -> str:
    """The last line of the log, which says how the run ended."""
    path = directory.path / "run.log"
    if not isinstance(directory, RunDirectory) or not path.exists():
        return ""
    return path.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]


def _evaluations(directory: Source, baseline: float, amount: Amount) -> dict[str, Any]:
    table = directory.table("evaluations", ("update", "loss", "accuracy"))
    if table is None:
        return {}
    at = _thinned(len(table["update"]), amount.points)
    updates = table["update"][at].tolist()
    return {
        "loss": [updates, _numbers(table["loss"][at] / baseline)],
        "accuracy": [updates, _numbers(table["accuracy"][at])],
    }


def _clipping(directory: Source, updates: int, amount: Amount) -> dict[str, Any]:
    """The share of clipped updates and the median norm in windows of training, as `clipping_windows` has them."""
    table = directory.table("clipping", ("update", "count", "clipped", "norm_log_mean"))
    if table is None:
        return {}
    there = table["count"] > 0  # a block of nothing but non-finite gradients has no norm
    update, count, clipped, log_norm = (table[name][there] for name in ("update", "count", "clipped", "norm_log_mean"))
    if not len(update):
        return {}
    windows = min(WINDOWS, amount.points)
    window = np.ceil(update / updates * windows)
    first = np.flatnonzero(np.diff(window, prepend=0.0))
    shares = np.add.reduceat(clipped, first) / np.add.reduceat(count, first)
    norms = [np.exp(np.median(part.astype(float))) for part in np.split(log_norm, first[1:])]
    at = (window[first] * updates / windows).round().astype(int).tolist()
    return {"clipped": [at, _numbers(shares)], "norm": [at, _numbers(np.array(norms))]}


def _radius(directory: Source, amount: Amount) -> dict[str, Any]:
    """The spectral radius by update: of the Jacobian of the whole state, else of the recurrent weight if it is one."""
    for name in ("state_jacobian", "spectrum"):
        table = directory.table(name, ("update", "block", "spectral_radius"))
        if table is not None and len(set(table.get("block", ["W"]))) == 1:
            at = _thinned(len(table["update"]), amount.points)
            return {"radius": [table["update"][at].tolist(), _numbers(table["spectral_radius"][at])]}
    return {}


def _gradient(directory: Source, amount: Amount) -> dict[str, Any]:
    """ln gamma of the part of the state that is the memory, by update and lag."""
    table = directory.table("gradient_through_time", ("update", "kind", "state", "lag", "log_norm", "zero_share"))
    if table is None:
        return {}
    state = "c" if (table["state"] == "c").any() else "h"
    own = (table["kind"] == "probe") & (table["state"] == state)
    updates = np.unique(table["update"][own])
    if not len(updates):
        return {}
    updates = updates[_thinned(len(updates), amount.moments)]
    rows = []
    for update in updates:
        at = own & (table["update"] == update)
        order = np.argsort(table["lag"][at])
        log_norm = np.where(table["zero_share"][at] > 0.5, np.nan, table["log_norm"][at].astype(float))[order]
        lags = table["lag"][at][order]
        shown = _thinned(len(lags), amount.lags)
        rows.append(_numbers((log_norm - log_norm[0])[shown]))
    return {"gradient": {"state": state, "updates": updates.tolist(), "lags": lags[shown].tolist(), "ln": rows}}


def _cloud(directory: Source, amount: Amount) -> dict[str, Any]:
    table = directory.table("eigenvalues") if amount.clouds else None
    if table is None:
        return {}
    updates = np.unique(table["update"])
    updates = updates[_thinned(len(updates), amount.clouds)]
    moments = [table["update"] == at for at in updates]
    blocks: dict[str, list[list[list[float | None]]]] = {}
    for block in np.unique(table["block"]):
        upper = (table["block"] == block) & (table["imag"] >= 0)
        rows = [upper & moment for moment in moments]
        blocks[str(block)] = [[_numbers(table[part][own]) for part in ("real", "imag")] for own in rows]
    return {"cloud": {"updates": updates.tolist(), "blocks": blocks}}


def _thinned(length: int, most: int) -> np.ndarray:
    """Places of at most so many rows, evenly spaced, the first and the last among them."""
    if length <= most:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, most).round().astype(int))


def _numbers(values: np.ndarray | pd.Series) -> list[float | None]:
    return [_number(value) for value in np.asarray(values, dtype=float).tolist()]


def _number(value: float) -> float | None:
    """A number to three digits, a whole one as it is."""
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.{DIGITS}g}")
