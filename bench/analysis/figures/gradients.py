"""Gradients on their way back through time, as figures.

Figures are functions of `runs`, as `settings.distinguished` returns them, and a table of observations; they
raise `NothingToDraw` where that table is empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis import captions
from bench.analysis.figures.panels import Panels, draw_bands, grid, legend, reference, shade, titles
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, SOLID, Dash, SeriesStyle, paper, series_styles
from bench.analysis.settings import levels
from bench.analysis.statistics.summaries import quartiles

START = "start"


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
        f"sequences. {_moments(runs, hue, row, col)} "
        f"{captions.conditions(runs)}"
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
        f"its scored steps (shaded), geometric mean over the batch. {_moments(runs, hue, row, col)} "
        f"{captions.conditions(runs)}"
    )
    alt = captions.alt("Logarithm of the gradient norm by time step", series, panels)
    return Plot("gradient_training", figure, band, caption, alt)


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
) -> tuple[Figure, Panels, dict[Any, SeriesStyle]]:
    """Panels of bands over a sequence, one row for the start and one for each level of `row` at the end.

    A vanished median is not drawn; a quartile that vanished lies on the lower edge of what is drawn in its column.
    """
    lowest = band["q25"].where(np.isfinite(band["q25"])).groupby(band[col], observed=True).transform("min")
    drawn = band.assign(
        median=band["median"].replace(-np.inf, np.nan), q25=band["q25"].mask(band["q25"] == -np.inf, lowest)
    )
    ends = titles(band["moment"][band["moment"] != START], row)
    rows = {START: "start", **{level: f"end, {title}" for level, title in ends.items()}}
    series = series_styles(levels(band[hue]))
    figure, panels = grid(rows, titles(band[col], col), x_label, y_label)
    draw_bands(panels, drawn, x, "moment", col, hue, series, dash="state", dashes=_dashes(band["state"]))
    return figure, panels, series


def _dashes(states: pd.Series) -> dict[str, Dash]:
    """The hidden state solid, further parts of the state (an LSTM's c) in other dashes."""
    others = sorted(set(states.astype(str)) - {"h"})
    return dict(zip(["h", *others], (SOLID, DASHED, DOTTED), strict=False))


def _moments(runs: pd.DataFrame, *by: str) -> str:
    return (
        "At update 0, where thresholds make no difference yet, and at each run's last measured update. "
        f"{captions.BAND}, {captions.seeds(runs, *by)}; a line ends where the gradient is exactly 0 in most sequences "
        "of most runs."
    )
