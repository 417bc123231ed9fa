"""What happened inside while it was learned, as figures: spectra, gradients through time, clipping.

Figures are functions of `runs`, as `settings.distinguished` returns them, and one table of observations; they raise
`NothingToDraw` where that table is empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bench.analysis import captions
from bench.analysis.panels import Panels, cut, draw_bands, grid, legend, reference, shade, titles
from bench.analysis.plot import Plot, need
from bench.analysis.settings import levels
from bench.analysis.statistics import clipping_windows, median_norms, most, quartiles
from bench.analysis.style import DASHED, DOTTED, SOLID, Dash, Look, looks, paper

START = "start"
STATES: dict[str, Dash] = {"h": SOLID, "c": DASHED}
MOST_LEFT = "drawn while more than half of the runs have not diverged"


@paper()
def spectral_radius(runs: pd.DataFrame, spectrum: pd.DataFrame, row: str = "task", col: str = "clip") -> Plot:
    """Spectral radius of the recurrent weight, by updates; a cell with several matrices has panels of its own."""
    need(spectrum, "spectra of the recurrent weight")
    data = _by_matrix(spectrum.merge(runs[["run", "cell", row, col]], on="run"), row)
    by = ["panel", col, "series"]
    band = most(quartiles(data, [*by, "update"], "spectral_radius"), by)

    rows, columns, series = titles(band["panel"], row), titles(band[col], col), looks(levels(band["series"]))
    figure, panels = grid(rows, columns, "updates", r"radius $\rho(W)$")
    draw_bands(panels, band, "update", "panel", col, "series", series)
    for panel in panels.values():
        reference(panel, y=1.0)
        _updates_from_zero(panel)
    legend(figure, series, {"radius 1": DASHED})
    caption = (
        "Spectral radius of the recurrent weight, by clipping threshold; a gated cell has one matrix for each gate. "
        f"{captions.BAND}, {captions.seeds(runs)}; {MOST_LEFT}. {captions.conditions(runs)}"
    )
    alt = captions.alt("Spectral radius of the recurrent weight by updates", series, rows, columns)
    return Plot("spectral_radius", figure, band, caption, alt)


@paper()
def state_jacobian(
    runs: pd.DataFrame, jacobian: pd.DataFrame, hue: str = "cell", row: str = "task", col: str = "clip"
) -> Plot:
    """Spectral radius of ds_t/ds_(t-1), s the whole state, by updates: the one radius that compares across cells."""
    need(jacobian, "state Jacobians")
    by = [row, col, hue]
    data = jacobian.merge(runs[["run", *by]], on="run")
    band = most(quartiles(data, [*by, "update"], "spectral_radius"), by)

    rows, columns, series = titles(band[row], row), titles(band[col], col), looks(levels(band[hue]))
    figure, panels = grid(rows, columns, "updates", r"radius $\rho(\partial s_t / \partial s_{t-1})$")
    draw_bands(panels, band, "update", row, col, hue, series)
    for panel in panels.values():
        reference(panel, y=1.0)
        _updates_from_zero(panel)
    legend(figure, series, {"radius 1": DASHED})
    caption = (
        "Spectral radius of the Jacobian of the whole state (of an LSTM, h and c), median over held-out states, by clipping "
        f"threshold. {captions.BAND}, {captions.seeds(runs)}; {MOST_LEFT}. {captions.conditions(runs)}"
    )
    alt = captions.alt("Spectral radius of the state Jacobian by updates", series, rows, columns)
    return Plot("state_jacobian", figure, band, caption, alt)


@paper()
def gradient_probe(
    runs: pd.DataFrame, gradients: pd.DataFrame, hue: str = "cell", row: str = "task", col: str = "clip"
) -> Plot:
    """ln gamma over lag: how the gradient of one step's loss fares on its way back, at the start and the end of training."""
    data = _start_and_end(runs, gradients, "probe", hue, row, col)
    profile = ["run", "update", "state"]
    at_loss = data.loc[data["lag"] == 0, [*profile, "log_norm"]]
    data = data.merge(at_loss, on=profile, suffixes=("", "_at_loss"))
    data["log_gamma"] = data["log_norm"] - data["log_norm_at_loss"]
    band = quartiles(data, [row, "moment", hue, "state", "lag"], "log_gamma")

    figure, panels, series = _profiles(band, "lag", "lag (time steps)", r"$\ln\,\gamma$ (nats)", hue, row)
    for (level, _), panel in panels.items():
        reference(panel, y=0.0, dash=SOLID)
        reference(panel, x=runs.loc[runs[row] == level, "min_lag"].min(), dash=DOTTED)
    legend(figure, series, {**_state_dashes(band["state"]), "least lag of the cue": DOTTED})
    caption = (
        "Gradient through time of the loss at one step, the first that needs memory, on held-out sequences: ln γ(lag) is the "
        "logarithm of ‖∂L/∂h‖ at that lag over the same at lag 0, geometric mean over sequences. "
        f"{_moments(runs)} {captions.conditions(runs)}"
    )
    alt = captions.alt("Logarithm of the relative gradient norm by lag", series, panels)
    return Plot("gradient_probe", figure, band, caption, alt)


@paper()
def gradient_training(
    runs: pd.DataFrame, gradients: pd.DataFrame, hue: str = "cell", row: str = "task", col: str = "clip"
) -> Plot:
    """ln ||dL/dh_t|| of the training loss over t, at the start and the end of training, with the scored steps shaded."""
    data = _start_and_end(runs, gradients, "training", hue, row, col)
    band = quartiles(data, [row, "moment", hue, "state", "step"], "log_norm")

    y_label = r"$\ln\,\|\partial L / \partial h_t\|$ (nats)"
    figure, panels, series = _profiles(band, "step", "step t (time steps)", y_label, hue, row)
    for (level, _), panel in panels.items():
        first, last = runs.loc[runs[row] == level, ["scored_first", "scored_last"]].median()
        shade(panel, first - 0.5, last + 0.5)
    legend(figure, series, _state_dashes(band["state"]), shaded="scored steps")
    caption = (
        "Gradient of the training loss through time: ‖∂L/∂hₜ‖ for every step t, of each sequence's own mean over its scored "
        f"steps (shaded), geometric mean over the batch. {_moments(runs)} {captions.conditions(runs)}"
    )
    alt = captions.alt("Logarithm of the gradient norm by time step", series, panels)
    return Plot("gradient_training", figure, band, caption, alt)


@paper()
def clipping(
    runs: pd.DataFrame, blocks: pd.DataFrame, hue: str = "cell", row: str = "task", col: str = "clip"
) -> Plot:
    """Share of clipped updates and the gradient norm before clipping, in windows of training."""
    need(blocks, "gradient norms")
    windows = clipping_windows(blocks, runs.set_index("run")["updates"]).merge(runs[["run", hue, row, col]], on="run")
    data = windows.melt(["run", hue, row, col, "update"], list(CLIPPING), var_name="quantity")
    by = [row, col, hue, "quantity"]
    band = most(quartiles(data, [*by, "update"], "value"), by)

    series = looks(levels(band[hue]))
    labels = {(level, name): label for level in levels(band[row]) for name, label in CLIPPING.items()}
    figure, panels = grid({key: str(key[0]) for key in labels}, titles(band[col], col), "updates", labels)
    ...
