"""Settings of runs, by which they are grouped: runs repeat one another where they differ in nothing but the seed.

Tables set apart `task`, `cell` and `clip`, figures whatever a `Layout` names; what else was varied is written into
their labels, so that it is never pooled unseen.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.pack.identity import HOW, WATCHED
from bench.training.outcome import Outcome

SETTING = ["task", "cell", "clip"]  # columns of `runs` that agree between repetitions
KNOWN_CELLS = ("tanh", "irnn", "lstm")  # in this order in every figure; others follow in alphabetical order
THRESHOLD = "clipping.threshold"
NO_CLIPPING = "none"
# columns of `runs` that are no settings: what a run came to, which one it is, and where it lies
NO_SETTINGS = {*(field.name for field in fields(Outcome)), "run", "folder", "message", "version", "clip"}
BY = "by "  # begins the name of a column that is made for an axis of a figure
CLOSE = 0.5  # likeness of a key to one that was meant


class NoSuchAxis(ValueError):
    """A layout asks for what these runs cannot be laid out by; the message says what they can."""


@dataclass(frozen=True)
class Layout:
    """The setting that a figure tells apart by colour (hue), by rows and by columns of panels, and along x.

    Each is a key of the configuration, such as `cell` or `task.length`; `clip` (the clipping rule and its threshold,
    for which `clipping.threshold` is another name) or `folder`. x: of the figure `success` alone. fixed: rows or
    columns of panels were asked for, so that they do not change places.
    """

    hue: str = "cell"
    row: str = "clip"
    col: str = "task"
    x: str = "clip"
    fixed: bool = False

    @property
    def columns(self) -> dict[str, str]:
        """The columns of `runs`, as `laid_out` returns them, that hold the levels of hue, row and col."""
        return {"hue": column_of(self.hue), "row": column_of(self.row), "col": column_of(self.col)}


def layout(
    runs: pd.DataFrame, *, hue: str | None = None, row: str | None = None, col: str | None = None, x: str | None = None
) -> Layout:
    """The layout that is asked for; what is not takes the usual setting, or what another axis left.

    Raises NoSuchAxis for a key that the runs have not, and for one that is given twice.
    """
    axes: dict[str, str] = {}
    for axis, key in (("hue", hue), ("row", row), ("col", col)):
        if key is not None:
            axes[axis] = _known(runs, axis, key)
            if twice := [other for other in axes if other != axis and axes[other] == axes[axis]]:
                raise NoSuchAxis(f"{axis}={key}: is the {twice[0]} already; give each axis a setting of its own")
    asked = asdict(Layout())
    usual = {axis: asked[axis] for axis in ("hue", "row", "col")}
    for axis, key in usual.items():
        if axis not in axes and key not in axes.values():
            axes[axis] = key
    for axis in usual:
        if axis not in axes:
            axes[axis] = next(key for key in SETTING if key not in axes.values())
    if x is None:
        along = "clip" if "clip" not in (axes["hue"], axes["col"]) else axes["row"]
    else:
        along = _known(runs, "x", x)
        if along in (axes["hue"], axes["col"]):
            raise NoSuchAxis(f"x={x}: is the hue or the column already; give x a setting of its own")
    return Layout(**axes, x=along, fixed=row is not None or col is not None)


def column_of(key: str) -> str:
    """The column of `runs` with the labels of a setting, beside the one with its values."""
    return key if key in SETTING else f"{BY}{key}"


def distinguished(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with ordered categories `task`, `cell` and `clip` that tell all settings apart.

    task: its name, with the settings of the task that were varied (`adding, length=100`).
    cell: its name, with all else that was varied (`lstm, hidden=64`).
    clip: the threshold, `none` where it is infinite, the rule's name where it has no threshold; where runs have
        different rules, the rule before its threshold.
    """
    return laid_out(runs, Layout())


def laid_out(runs: pd.DataFrame, layout: Layout, *along: str) -> pd.DataFrame:
    """Runs with an ordered category for each setting that the layout, or the x axis (`along`), tells apart.

    A category of a task is named with the task's other settings that were varied, that of the hue with all else.
    """
    keys = list(dict.fromkeys((layout.hue, layout.row, layout.col, *along)))
    runs = runs.assign(clip=_clip(runs))
    runs = runs.assign(**{column_of(key): _named(runs, key) for key in keys if key not in SETTING})
    columns = [column_of(key) for key in keys]
    settings = [key for key in settings_of(runs) if key not in keys and _part(key) not in (*WATCHED, "seed")]
    if "task" in keys and layout.hue != "task":
        own = [key for key in settings if _part(key) == "task"]
        settings = [key for key in settings if key not in own]
        others = [column for column in columns if column not in SETTING]
        runs = runs.assign(task=_labels(runs, "task", own, within=["task", *others]))
    spare = [key for key in SETTING if key not in keys]
    settings = [key for key in settings if key not in (*SETTING, THRESHOLD)]
    hue = column_of(layout.hue)
    return runs.assign(**{hue: _labels(runs, hue, [*spare, *settings], within=columns)})


def settings_of(runs: pd.DataFrame) -> list[str]:
    """Columns that hold settings: names of yaml (`cell`, `initializer/bias`), then values (`cell.hidden`).

    A setting is whatever is not known to be none, so a new key of the configuration is told apart from the start.
    """
    keys = [key for key in runs if key not in NO_SETTINGS and not key.startswith(BY) and _part(key) not in HOW]
    parts = {_part(key) for key in keys if "." in key}
    chosen = [key for key in keys if "/" in key or key in parts]
    return [*chosen, *(key for key in keys if key not in chosen)]


def described(runs: pd.DataFrame, key: str) -> str:
    """The value of a setting; where runs differ, who has which (`0.001 (tanh); 0.01 (lstm)`), or all values."""
    if runs[key].nunique(dropna=False) == 1:
        return text_of(runs[key].iloc[0])
    for by in (["task"], ["cell"], ["task", "cell"]):
        pairs = runs[[*by, key]].drop_duplicates()
        if not pairs.duplicated(by).any():
            holders = pairs.dropna().sort_values(by).groupby(key, sort=False)[by]
            return "; ".join(f"{text_of(value)} ({_listed(names)})" for value, names in holders)
    return ", ".join(map(text_of, levels(runs[key])))


def varied(runs: pd.DataFrame, keys: Sequence[str], within: Sequence[str]) -> list[str]:
    """Keys whose values differ between runs that agree in `within` and in the keys found before."""
    return list(_varied(runs, keys, within))


def _varied(runs: pd.DataFrame, keys: Sequence[str], within: Sequence[str]) -> dict[str, pd.Series]:
    """The keys that `varied` finds, each with whether a run is one of those between which it differs."""
    keys = [key for key in keys if runs[key].nunique(dropna=False) > 1]
    # a setting that is not there, or empty, is a value
    as_text = runs.assign(**{key: runs[key].where(runs[key].notna(), np.nan).map(text_of) for key in keys})
    found: dict[str, pd.Series] = {}
    for key in keys:
        differs = as_text.groupby([*within, *found], observed=True)[key].transform("nunique") > 1
        if differs.any():
            found[key] = differs
    return found


def levels(values: pd.Series) -> list[object]:
    """The different values of a column in their order."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [level for level in values.cat.categories if (values == level).any()]
    return sorted(values.dropna().unique())


def matching(runs: pd.DataFrame, where: Mapping[str, Any]) -> pd.Series:
    """Whether each run has these settings: by key of the configuration one value, or a list of which it has one.

    None is that of runs in which the key is null, or is not there.
    """
    found = pd.Series(True, runs.index)
    for key, value in where.items():
        values = value if isinstance(value, list) else [value]
        found &= runs[key].isin(values) | (runs[key].isna() & (None in values))
    return found


def _part(key: str) -> str:
    """`optimizer` of `optimizer.lr`, `initializer` of `initializer/bias`."""
    return key.replace("/", ".").split(".")[0]


def _known(runs: pd.DataFrame, axis: str, key: str) -> str:
    """The key under its usual name. Raises NoSuchAxis with the nearest ones."""
    if key == THRESHOLD:
        return "clip"
    known = list(dict.fromkeys(("clip", "folder", *settings_of(runs))))
    if key in known:
        return key
    alike = [other for other in known if _last(other) == _last(key)]
    nearest = list(dict.fromkeys([*alike, *difflib.get_close_matches(key, known, n=3, cutoff=CLOSE)]))[:3]
    raise NoSuchAxis(f"{axis}={key}: these runs have no such setting; nearest: {', '.join(nearest or SETTING)}")


def _named(runs: pd.DataFrame, key: str) -> pd.Categorical:
    """Values in words and in their order: `lr=0.001`, a name as it is, `no lr` where there is no such setting."""
    values, name = runs[key], _last(key)
    if key == "folder" and values.nunique() == values.map(lambda folder: Path(folder).name).nunique():
        values = values.map(lambda folder: Path(folder).name)
    ordered = sorted(values.dropna().unique(), key=lambda value: (isinstance(value, str), value))
    words = {value: value if isinstance(value, str) else f"{name}={text_of(value)}" for value in ordered}
    none = f"no {name}"
    names = [*words.values(), *([none] if values.isna().any() else [])]
    return pd.Categorical(values.map(words).fillna(none), names, ordered=True)


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


def _labels(runs: pd.DataFrame, part: str, keys: Sequence[str], within: Sequence[str]) -> pd.Categorical:
    """Name of a part, followed by the settings that are to be told apart, in the order of their values.

    A part names what was varied in it and not in others (`irnn` beside `tanh, lr=0.1` and `tanh, lr=0.2`), and a run no
    setting that its component does not have. within: columns that tell runs apart already.
    """
    label, found = runs[part].astype(str), _varied(runs, keys, within)
    rank = label.map({name: place for place, name in enumerate(KNOWN_CELLS)}).fillna(len(KNOWN_CELLS))
    for key, differs in found.items():
        names_it = runs[part].isin(runs.loc[differs, part].unique()) & runs[key].notna()
        label = label + (f", {_short(key, list(found))}=" + runs[key].map(text_of).astype(str)).where(names_it, "")
    order = runs.assign(label=label, rank=rank).sort_values(["rank", part, *found])["label"].unique()
    return pd.Categorical(label, order, ordered=True)


def _listed(names: pd.DataFrame) -> str:
    return ", ".join(" ".join(map(str, row)) for row in names.to_numpy())


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a key, unless another one ends so too."""
    last = _last(key)
    return last if [_last(other) for other in keys].count(last) == 1 else key


def _last(key: str) -> str:
    return key.replace("/", ".").split(".")[-1]


def text_of(value: object) -> str:
    """The value of a setting as labels write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
