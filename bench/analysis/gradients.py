"""Gradients while it was learned, as figures: on their way back through time, and what clipping made of them.

Figures are functions of `runs`, as `settings.distinguished` returns them, and a table of observations; they
raise `NothingToDraw` where that table is empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bench.analysis import captions
from bench.analysis.panels import Panels, draw_bands, grid, legend, reference, shade, titles
from bench.analysis.plot import Plot, need
from bench.analysis.settings import THRESHOLD, levels
from bench.analysis.statistics import WINDOWS, clipping_windows, median_norms, most, quartiles
from bench.analysis.style import DASHED, DOTTED, SOLID, Dash, Look, looks, paper

START = "start"
NORM_DASHES = {"norm": SOLID, "largest_norm": DOTTED}
EXPLODED = 1e4  # a norm above runs along the upper edge: one spike of 1e16 would flatten all else


@paper()
def gradient_probe(
    runs: pd.DataFrame, gradients: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """ln gamma over lag: what is left of the gradient of one step's loss, at the start and the end of training."""
    data = _start_and_end(runs, gradients, "probe", hue, row, col)
    profile = ["run", "update", "state"]
    at_loss = data.loc[data["lag"] == 0, [*profile, "log_norm"]]
    data = data.merge(at_loss, on=profile, suffixes=("", "_at_loss"))
    data["log_gamma"] = data["log_norm"] - data["log_norm_at_loss"]
    band = quartiles(data, ["moment", col, hue, "state", "lag"], "log_gamma")

    y_label = r"$\ln\,\gamma$ (nats)"
    figure, panels, series = _profiles(band, "lag", "lag (time steps)", y_label, hue, row, col)
    for (_, level), panel in panels.items():
        reference(panel, y=0.0, dash=SOLID)
        reference(panel, x=runs.loc[runs[col] == level, "min_lag"].min(), dash=DOTTED)
    legend(figure, series, {**_dashes(band["state"]), "least lag of the cue": DOTTED})
    caption = (
        "Gradient through time of the loss at one step, the first that needs memory, on held-out sequences: "
        "ln γ(lag) is the logarithm of ‖∂L/∂h‖ at that lag over the same at lag 0, geometric mean over "
        f"sequences. {_moments(runs)} {captions.conditions(runs)}"
    )
    alt = captions.alt("Logarithm of the relative gradient norm by lag", series, panels)
    return Plot("gradient_probe", figure, band, caption, alt)


@paper()
def gradient_training(
    runs: pd.DataFrame, gradients: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """ln ||dL/dh_t|| of the training loss over t, at the start and the end of training; scored steps shaded."""
    data = _start_and_end(runs, gradients, "training", hue, row, col)
    band = quartiles(data, ["moment", col, hue, "state", "step"], "log_norm")

    y_label = r"$\ln\,\|\partial L / \partial h_t\|$ (nats)"
    figure, panels, series = _profiles(band, "step", "step t (time steps)", y_label, hue, row, col)
    for (_, level), panel in panels.items():
        first, last = runs.loc[runs[col] == level, ["scored_first", "scored_last"]].median()
        shade(panel, first - 0.5, last + 0.5)
    legend(figure, series, _dashes(band["state"]), shaded="scored steps")
    caption = (
        "Gradient of the training loss through time: ‖∂L/∂hₜ‖ for every step t, of each sequence's own mean over "
        f"its scored steps (shaded), geometric mean over the batch. {_moments(runs)} {captions.conditions(runs)}"
    )
    alt = captions.alt("Logarithm of the gradient norm by time step", series, panels)
    return Plot("gradient_training", figure, band, caption, alt)


@paper()
def clipped_share(
    runs: pd.DataFrame, blocks: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Share of clipped updates in windows of training."""
    band = _windows(runs, blocks, ["clip_fraction"], hue, row, col)
    rows, columns, series = titles(band[row], row), titles(band[col], col), looks(levels(band[hue]))
    figure, panels = grid(rows, columns, "updates", "clipped updates (share)")
    draw_bands(panels, band, "update", row, col, hue, series)
    for panel in panels.values():
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.set_ylim(-0.04, 1.04)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, series, {})
    caption = f"Share of updates that were clipped, by clipping threshold, {_windowed(runs, blocks, hue, col)}"
    alt = captions.alt("Share of clipped updates by updates", series, panels)
    return Plot("clipped_share", figure, band, caption, alt)


@paper()
def gradient_norm(
    runs: pd.DataFrame, blocks: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Gradient norm before clipping in windows of training: geometric mean and largest."""
    band = _windows(runs, blocks, list(NORM_DASHES), hue, row, col)
    a_line_only = band["quantity"] == "largest_norm"  # bands would hide each other
    band.loc[a_line_only, ["q25", "q75"]] = np.nan

    rows, columns, series = titles(band[row], row), titles(band[col], col), looks(levels(band[hue]))
    figure, panels = grid(rows, columns, "updates", "gradient norm before clipping")
    edges = (0.0, EXPLODED)
    draw_bands(panels, band, "update", row, col, hue, series, dash="quantity", dashes=NORM_DASHES, edges=edges)
    for (level, _), panel in panels.items():
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.set_yscale("log", subs=[])
        for threshold in _norm_thresholds(runs[runs[row] == level]):
            reference(panel, y=threshold)
    legend(figure, series, {"threshold": DASHED, "largest": DOTTED})
    caption = (
        "Norm of the gradient before clipping, by clipping threshold (dashed): geometric mean over a window, and its "
        f"largest (dotted, median over seeds only), {_windowed(runs, blocks, hue, col)} What lies above "
        f"{EXPLODED:g} is drawn there."
    )
    alt = captions.alt("Gradient norm by updates", series, panels)
    return Plot("gradient_norm", figure, band, caption, alt)


def _windows(
    runs: pd.DataFrame, blocks: pd.DataFrame, quantities: list[str], hue: str, row: str, col: str
) -> pd.DataFrame:
    """Median and quartiles over seeds of what clipping did in each window, a `quantity` per row."""
    need(blocks, "gradient norms")
    windows = clipping_windows(blocks, runs.set_index("run")["updates"])
    data = windows.merge(runs[["run", hue, row, col]], on="run")
    data = data.melt([hue, row, col, "update"], quantities, var_name="quantity")
    by = [row, col, hue, "quantity"]
    return most(quartiles(data, [*by, "update"], "value"), by)


def _windowed(runs: pd.DataFrame, blocks: pd.DataFrame, hue: str, col: str) -> str:
    return (
        f"in {WINDOWS} equal windows of training. {captions.BAND}, {captions.seeds(runs)}; {captions.SURVIVORS}. "
        f"Median norm over updates and runs: {_typical_norms(runs, blocks, col, hue)}. {captions.conditions(runs)}"
    )


def _start_and_end(
    runs: pd.DataFrame, gradients: pd.DataFrame, kind: str, hue: str, row: str, col: str
) -> pd.DataFrame:
    """Profiles of one kind at update 0 and at each run's last; `moment` is `start`, or the level of `row`.

    At the start, runs that differ only in `row` are the same: one of them is kept. A gradient that is 0 in more
    than half of the sequences counts as -inf.
    """
    need(gradients, "gradients through time")
    profiles = gradients[gradients["kind"] == kind]
    need(profiles, f"gradients through time of the kind {kind}")
    last = profiles.groupby("run", observed=True)["update"].transform("max")
    ends = profiles[(profiles["update"] == 0) | (profiles["update"] == last)]
    data = ends.merge(runs[["run", "seed", hue, row, col]], on="run")
    data["log_norm"] = data["log_norm"].astype(float).mask(data["zero_share"] > 0.5, -np.inf)
    at_start = data["update"] == 0
    moments = data[row].astype(str).mask(at_start, START)
    data["moment"] = pd.Categorical(moments, [START, *map(str, levels(data[row]))], ordered=True)
    return data[~(at_start & data.duplicated([col, hue, "seed", "moment", "state", "step"]))]


def _profiles(
    band: pd.DataFrame, x: str, x_label: str, y_label: str, hue: str, row: str, col: str
) -> tuple[Figure, Panels, dict[Any, Look]]:
    """Panels of bands over a sequence, one row for the start and one for each level of `row` at the end.

    A vanished median is not drawn; a quartile that vanished lies on the lower edge of what is drawn in its column.
    """
    lowest = band["q25"].where(np.isfinite(band["q25"])).groupby(band[col], observed=True).transform("min")
    drawn = band.assign(
        median=band["median"].replace(-np.inf, np.nan), q25=band["q25"].mask(band["q25"] == -np.inf, lowest)
    )
    ends = titles(band["moment"][band["moment"] != START], row)
    rows = {START: "start", **{level: f"end, {title}" for level, title in ends.items()}}
    series = looks(levels(band[hue]))
    figure, panels = grid(rows, titles(band[col], col), x_label, y_label)
    draw_bands(panels, drawn, x, "moment", col, hue, series, dash="state", dashes=_dashes(band["state"]))
    return figure, panels, series


def _dashes(states: pd.Series) -> dict[str, Dash]:
    """The hidden state solid, further parts of the state (an LSTM's c) in other dashes."""
    others = sorted(set(states.astype(str)) - {"h"})
    return dict(zip(["h", *others], (SOLID, DASHED, DOTTED), strict=False))


def _moments(runs: pd.DataFrame) -> str:
    return (
        "At update 0, where thresholds make no difference yet, and at each run's last measured update. "
        f"{captions.BAND}, {captions.seeds(runs)}; a line ends where the gradient is exactly 0 in most sequences "
        "of most runs."
    )


def _norm_thresholds(runs: pd.DataFrame) -> list[float]:
    """The finite thresholds of the norm (those of other rules are not norms)."""
    if THRESHOLD not in runs:
        return []
    thresholds = runs.loc[runs["clipping"] == "norm", THRESHOLD]
    return sorted(thresholds[np.isfinite(thresholds)].unique())


def _typical_norms(runs: pd.DataFrame, blocks: pd.DataFrame, col: str, hue: str) -> str:
    norms = runs.merge(median_norms(blocks), on="run").groupby([col, hue], observed=True)["median_norm"].median()
    return "; ".join(f"{level} {name} {norm:.2g}" for (level, name), norm in norms.items())
