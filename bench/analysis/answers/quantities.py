"""What rules speak of: one number, or one yes or no, of each run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis import queries
from bench.analysis.statistics.decay import decay
from bench.analysis.statistics.mechanism import GRADIENT, measured
from bench.analysis.statistics.summaries import score, success
from bench.runs.tables import Tables

KEPT = "quantities"  # the table in which a stored reference has them, for it has no table that they are made from
SHARES = ("solved", "diverged", "hopeless")  # quantities of yes or no
SIGMOID_SLOPE = 0.25  # the largest of the logistic function


def quantities(results: Tables) -> pd.DataFrame:
    """One row per run, indexed by its id, and a column for each quantity that was measured; NaN where a run has none.

    solved, diverged, hopeless: whether it ended so; what has solved once has solved.
    skill: on fresh sequences, at the end. accuracy: likewise.
    score: skill clipped to [0, 1], 0 for a run that diverged, died or failed.
    training accuracy: on a fixed part of a training set, at the last evaluation, 0 for a run that diverged.
    updates to solve: infinite for a run that never does.
    gradient left at start, at end: ln gamma at the mean lag of the cue; 0 is all of it.
    decay rate at start, at end: of the gradient of the memory, in nats per step; > 0 is growth.
    half-life at start, at end: of that gradient in steps, infinite where it does not decay.
    excess over sigmoid bound at start, at end: decay rate less ln(||W|| / 4), W the recurrent weight.
    radius at start, at end: spectral radius of the recurrent weight, of a cell that has one such weight.
    largest radius: over the updates up to the one at which the task was solved, or all of them.
    share clipped: of the updates of the whole run.
    """
    if KEPT in results.names:
        return results.read(KEPT).astype({"run": str}).set_index("run").reindex(results.runs["run"])
    runs = results.runs.set_index("run")
    found = pd.DataFrame(
        {
            "solved": success(runs["outcome"]),
            "diverged": runs["outcome"] == "diverged",
            "hopeless": runs["outcome"] == "hopeless",
            "skill": runs["final_skill"],
            "score": score(runs["final_skill"], runs["outcome"]),
            "accuracy": runs["final_accuracy"].fillna(0.0),
            "updates to solve": runs["solved_at"].astype(float).fillna(np.inf),
        }
    ).astype(float)
    return found.join([*_trained_on(results), *_measured(results), *_decay(results), *_radii(results)])


def kept(results: Tables) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The quantities of every run as a table of its own, for `references.keep`."""
    rows = quantities(results).to_dict("index")
    return {str(run): {KEPT: {name: np.array([value]) for name, value in row.items()}} for run, row in rows.items()}


def _trained_on(results: Tables) -> list[pd.Series]:
    rows = results.read("evaluations", ("update", "train_fixed_accuracy"))
    if "train_fixed_accuracy" not in rows or rows["train_fixed_accuracy"].isna().all():
        return []
    last = rows.groupby("run", observed=True)["train_fixed_accuracy"].last()
    return [last.fillna(0.0).rename("training accuracy")]


def _measured(results: Tables) -> list[pd.Series]:
    rows = measured(results)
    names = {GRADIENT: "gradient left at", "share clipped": "share clipped"}
    rows = rows[rows["quantity"].isin(names)]
    named = rows["quantity"].map(names) + rows["moment"].map(lambda moment: {"whole run": ""}.get(moment, f" {moment}"))
    return [own.set_index("run")["value"].rename(name) for name, own in rows.groupby(named)]


def _decay(results: Tables) -> list[pd.Series]:
    """Decay rates of the memory's probe at both ends, and what they exceed the sigmoid's bound by."""
    probes = queries.probes(results)
    if "log_norm" not in probes:
        return []
    ends = _ends(probes)
    rates = decay(ends.drop(columns="moment").drop_duplicates()).merge(
        ends[["run", "update", "moment"]].drop_duplicates()
    )
    found = [
        own.set_index("run")[column].rename(f"{name} at {of}")
        for of, own in rates.groupby("moment")
        for column, name in (("decay_rate", "decay rate"), ("half_life", "half-life"))
    ]
    norms = _of_one_block(results, "spectral_norm")
    if norms.empty:
        return found
    both = rates.merge(_ends(norms)[["run", "moment", "spectral_norm"]], on=["run", "moment"])
    excess = both.assign(excess=both["decay_rate"] - np.log(SIGMOID_SLOPE * both["spectral_norm"].astype(float)))
    named = (
        own.set_index("run")["excess"].rename(f"excess over sigmoid bound at {of}")
        for of, own in excess.groupby("moment")
    )
    return [*found, *named]


def _radii(results: Tables) -> list[pd.Series]:
    radii = _of_one_block(results, "spectral_radius")
    if radii.empty:
        return []
    ends = _ends(radii)
    found = [own.set_index("run")["spectral_radius"].rename(f"radius at {of}") for of, own in ends.groupby("moment")]
    until = radii["run"].astype(str).map(results.runs.set_index("run")["solved_at"]).fillna(np.inf)
    largest = radii[radii["update"] <= until].groupby("run", observed=True)["spectral_radius"].max()
    return [*found, largest.rename("largest radius")]


def _of_one_block(results: Tables, column: str) -> pd.DataFrame:
    """Rows of the spectrum of runs that have one recurrent weight."""
    rows = results.read("spectrum", ("update", "block", column))
    if "block" not in rows:
        return pd.DataFrame()
    return rows[rows.groupby("run", observed=True)["block"].transform("nunique") == 1]


def _ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of update 0 as the start, and those of each run's last measured update as the end."""
    last = rows.groupby("run", observed=True)["update"].transform("max")
    start, end = rows[rows["update"] == 0], rows[rows["update"] == last]
    return pd.concat([start.assign(moment="start"), end.assign(moment="end")]).astype({"run": str})
