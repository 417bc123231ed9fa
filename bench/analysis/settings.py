"""Which runs are repetitions of one another: they differ in the seed and in nothing else that changes an answer.

Figures and tables set apart `task`, `cell` and `clip`; whatever else was varied is written into the first two,
so that it is never pooled unseen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

SETTING = ["task", "cell", "clip"]  # columns of `runs` that agree between repetitions
KNOWN_CELLS = ("tanh", "irnn", "lstm")  # in this order in every figure; others follow in alphabetical order
THRESHOLD = "clipping.threshold"
NO_CLIPPING = "none"
COMPONENTS = ("task", "cell", "clipping", "nonfinite", "initializer", "optimizer", "schedule", "remedies")
PLAIN = ("seed", "updates", "batch_size", "precision")
# These change nothing that is learned: what is watched, and how a run is carried out
WATCHING = ("measurement",)
KEEPING = ("device", "engine", "results", "extensions", "checkpoint", "budget", "logger")


def distinguished(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with ordered categories `task`, `cell` and `clip` that tell all settings apart.

    task: its name, with the settings of the task that were varied (`adding, length=100`).
    cell: its name, with all else that was varied (`lstm, hidden=64`).
    clip: the threshold, `none` where it is infinite, the rule's name where it has no threshold; where runs have
        different rules, the rule before its threshold.
    """
    runs = runs.assign(clip=_clip(runs))
    keys = settings_of(runs)
    task_keys = varied(runs, [key for key in keys if _part(key) == "task"], within=["task"])
    runs = runs.assign(task=_labels(runs, "task", task_keys))
    apart = (*WATCHING, "task", "seed")
    cell_keys = varied(runs, [key for key in keys if _part(key) not in apart and key != THRESHOLD], within=SETTING)
    return runs.assign(cell=_labels(runs, "cell", cell_keys))


def settings_of(runs: pd.DataFrame) -> list[str]:
    """Columns that hold settings: names of yaml (`cell`, `initializer/bias`), then values (`cell.hidden`)."""
    chosen = [column for column in runs if column in COMPONENTS or "/" in column]
    single = [column for column in runs if column in PLAIN or "." in column]
    return [key for key in (*chosen, *single) if _part(key) not in KEEPING]


def described(runs: pd.DataFrame, key: str) -> str:
    """The value of a setting; where runs differ, who has which (`0.001 (tanh); 0.01 (lstm)`), or all values."""
    if runs[key].nunique(dropna=False) == 1:
        return _text(runs[key].iloc[0])
    for by in (["task"], ["cell"], ["task", "cell"]):
        pairs = runs[[*by, key]].drop_duplicates()
        if not pairs.duplicated(by).any():
            holders = pairs.dropna().sort_values(by).groupby(key, sort=False)[by]
            return "; ".join(f"{_text(value)} ({_listed(names)})" for value, names in holders)
    return ", ".join(map(_text, levels(runs[key])))


def varied(runs: pd.DataFrame, keys: Sequence[str], within: Sequence[str]) -> list[str]:
    """Those keys whose values differ between runs that agree in `within` and in the keys found before."""
    as_text = runs.assign(**{key: runs[key].map(_text) for key in keys})  # NaN, a setting not there, is a value
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


def _part(key: str) -> str:
    """`optimizer` of `optimizer.lr`, `initializer` of `initializer/bias`."""
    return key.replace("/", ".").split(".")[0]


def _clip(runs: pd.DataFrame) -> pd.Categorical:
    """Thresholds in ascending order, then `none`, then rules without a threshold."""
    threshold = runs.get(THRESHOLD, pd.Series(np.nan, runs.index)).astype(float)
    rule, finite = runs["clipping"].astype(str), np.isfinite(threshold)
    several = rule[finite | threshold.isna()].nunique() > 1
    label = threshold.map("{:g}".format)
    label = (rule + " " + label if several else label).where(finite, NO_CLIPPING).where(threshold.notna(), rule)
    order = pd.DataFrame({"label": label, "last": ~finite, "rule": rule if several else "", "threshold": threshold})
    ordered = order.sort_values(["last", "rule", "threshold"])["label"].unique()
    with_none = [*ordered[ordered != NO_CLIPPING], NO_CLIPPING]
    return pd.Categorical(label, with_none, ordered=True)


def _labels(runs: pd.DataFrame, part: str, keys: Sequence[str]) -> pd.Categorical:
    """Name of a part, followed by the settings that are to be told apart, in the order of their values.

    A run without a setting, for its component has none such, does not name it.
    """
    rank = runs[part].map({name: place for place, name in enumerate(KNOWN_CELLS)}).fillna(len(KNOWN_CELLS))
    label = runs[part].astype(str)
    for key in keys:
        label = label + (f", {_short(key, keys)}=" + runs[key].map(_text)).where(runs[key].notna(), "")
    order = runs.assign(label=label, rank=rank).sort_values(["rank", part, *keys])["label"].unique()
    return pd.Categorical(label, order, ordered=True)


def _listed(names: pd.DataFrame) -> str:
    return ", ".join(" ".join(map(str, row)) for row in names.to_numpy())


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key, unless another one ends so too."""
    last = _last(key)
    return last if [_last(other) for other in keys].count(last) == 1 else key


def _last(key: str) -> str:
    return key.replace("/", ".").split(".")[-1]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
