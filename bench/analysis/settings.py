"""Which runs are repetitions of one another: they differ in the seed and in nothing else that can change an answer.

Figures and tables set apart `task`, `cell` and `clip`; whatever else was varied is written into the first two, so that it
is never pooled unseen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

KNOWN_CELLS = ("tanh", "irnn", "lstm")  # in this order in every figure; others follow in alphabetical order
NO_CLIPPING = "none"
# how a run was carried out, and what was watched: neither changes what is learned
WITHOUT_INFLUENCE = ("results", "device", "engine", "checkpoint", "budget", "logger", "extensions", "measurement")
CHOICES = ("clipping", "nonfinite", "initializer", "optimizer", "schedule", "precision", "updates", "batch_size")


def distinguished(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with ordered categories `task`, `cell` and `clip` that tell all settings apart.

    task: its name, with the settings of the task that were varied (`adding, length=100`).
    cell: its name, with all else that was varied (`lstm, hidden=64`).
    clip: the threshold, `none` where it is infinite, the rule's name where it has no threshold.
    """
    runs = runs.assign(clip=_clip(runs))
    task_keys = varied(runs, _settings_of(runs, "task"), within=["task"])
    runs = runs.assign(task=_labels(runs, "task", task_keys))
    cell_keys = varied(runs, influences(runs), within=["task", "cell", "clip"])
    return runs.assign(cell=_labels(runs, "cell", cell_keys))


def influences(runs: pd.DataFrame) -> list[str]:
    """Columns that hold the settings of a run other than its task's, its threshold and its seed."""
    settings = [column for column in runs if "." in column or column in CHOICES]
    apart = (*WITHOUT_INFLUENCE, "task")
    return [key for key in settings if key.split(".")[0] not in apart and key != "clipping.threshold"]


def varied(runs: pd.DataFrame, keys: Sequence[str], within: Sequence[str]) -> list[str]:
    """Those keys whose values differ between runs that agree in `within` and in the keys found before."""
    as_text = runs.astype({key: str for key in keys})  # a setting may be a list
    found: list[str] = []
    for key in keys:
        if as_text.groupby([*within, *found], observed=True)[key].nunique().gt(1).any():
            found.append(key)
    return found


def levels(values: pd.Series) -> list[object]:
    """The different values of a column in their order."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [level for level in values.cat.categories if (values == level).any()]
    return sorted(values.dropna().unique())


def _settings_of(runs: pd.DataFrame, part: str) -> list[str]:
    return [column for column in runs if column.startswith(f"{part}.")]


def _clip(runs: pd.DataFrame) -> pd.Categorical:
    """Thresholds in ascending order, then `none`, then rules without a threshold."""
    threshold = runs.get("clipping.threshold", pd.Series(np.nan, runs.index)).astype(float)
    named = threshold.map("{:g}".format).where(np.isfinite(threshold), NO_CLIPPING)
    label = named.where(threshold.notna(), runs["clipping"].astype(str))
    ordered = [f"{value:g}" for value in np.sort(threshold[np.isfinite(threshold)].unique())]
    rules = sorted(set(label) - {*ordered, NO_CLIPPING})
    return pd.Categorical(label, [*ordered, NO_CLIPPING, *rules], ordered=True)


def _labels(runs: pd.DataFrame, part: str, keys: Sequence[str]) -> pd.Categorical:
    """Name of a part, followed by the settings that are to be told apart, in the order of their values."""
    rank = runs[part].map({name: place for place, name in enumerate(KNOWN_CELLS)}).fillna(len(KNOWN_CELLS))
    parts = [f"{_short(key, keys)}=" + runs[key].map(_text) for key in keys]
    label = runs[part].astype(str).str.cat(parts, sep=", ") if parts else runs[part].astype(str)
    order = runs.assign(label=label, rank=rank).sort_values(["rank", part, *keys])["label"].unique()
    return pd.Categorical(label, order, ordered=True)


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key, unless another one ends so too."""
    last = key.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in keys].count(last) == 1 else key


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
