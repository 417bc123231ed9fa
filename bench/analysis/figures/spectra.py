"""Spectra while it was learned, as figures: of the recurrent weight, and of the state Jacobian.

Figures are functions of `runs`, as `settings.distinguished` returns them, and a table of observations; they
raise `NothingToDraw` where that table is empty.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.analysis import captions
from bench.analysis.figures.panels import draw_bands, grid, legend, log_updates, reference, titles
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, SOLID, Dash, in_force, paper, series_styles
from bench.analysis.settings import KNOWN_CELLS, levels
from bench.analysis.statistics.summaries import most, quartiles

RADIUS: dict[str, Dash] = {"spectral_radius": SOLID}
BOTH: dict[str, Dash] = {**RADIUS, "spectral_norm": DASHED}


@paper()
def spectral_radius(
    runs: pd.DataFrame, spectrum: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Spectral radius and norm of the one recurrent weight of an ungated cell, by updates."""
    data = _matrices(runs, spectrum, [hue, row, col], gated=False)
    caption = "Spectral radius (solid) and norm (dashed) of the recurrent weight"
    return _radii("spectral_radius", runs, data, r"$\rho(W_{hh})$ and $\|W_{hh}\|_2$", hue, row, col, caption, BOTH)


@paper()
def gate_spectral_radius(
    runs: pd.DataFrame, spectrum: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Spectral radius of every gate's recurrent weight, by updates: a gated cell has no single one."""
    data = _matrices(runs, spectrum, [hue, row, col], gated=True)
    block = data["block"].astype(str).str.replace(r"(\w)_(\w+)", r"$\1_{\2}$", regex=True)
    label = data[hue].astype(str) + " " + block
    data = data.assign(matrix=pd.Categorical(label, label.unique(), ordered=True))
    caption = "Spectral radius of the recurrent weight of each gate"
    return _radii("gate_spectral_radius", runs, data, r"spectral radius $\rho(W)$", "matrix", row, col, caption)


@paper()
def state_jacobian(
    runs: pd.DataFrame, jacobian: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Spectral radius and norm of ds_t/ds_(t-1), s the whole state, by updates: those that compare across cells."""
    need(jacobian, "state Jacobians")
    data = jacobian.merge(runs[["run", hue, row, col]], on="run")
    label = r"$\rho(J_t)$ and $\|J_t\|_2$"
    caption = (
        "Spectral radius (solid) and norm (dashed) of the Jacobian of the whole state (of an LSTM, h and c), median "
        "over held-out states"
    )
    return _radii("state_jacobian", runs, data, label, hue, row, col, caption, BOTH)


def _radii(
    name: str,
    runs: pd.DataFrame,
    data: pd.DataFrame,
    y_label: str,
    hue: str,
    row: str,
    col: str,
    what: str,
    quantities: Mapping[str, Dash] = RADIUS,
) -> Plot:
    """Radius, and norm if asked for, of the data by updates, a line for each level of `hue`; when it was solved."""
    solved = data[["run", row, col, hue]].drop_duplicates().merge(runs[["run", "solved_at"]], on="run")
    solved_at = solved.groupby([row, col, hue], observed=True)["solved_at"].median().reset_index()
    there = [quantity for quantity in quantities if quantity in data]
    long = data.melt([row, col, hue, "run", "update"], there, var_name="quantity")
    by = [row, col, hue, "quantity"]
    band = most(quartiles(long, [*by, "update"], "value"), by).merge(solved_at, on=[row, col, hue], how="left")
    band.loc[band["quantity"] == "spectral_norm", ["q25", "q75"]] = np.nan  # bands would hide each other
    rows, columns = titles(band[row], row), titles(band[col], col)
    known = series_styles([*KNOWN_CELLS, *levels(band[hue])])  # so that a gate never has the colour of a cell
    series = {level: known[level] for level in levels(band[hue])}
    figure, panels = grid(rows, columns, "updates", y_label)
    draw_bands(panels, band, "update", row, col, hue, series, dash="quantity", dashes=quantities)
    for (row_level, column), panel in panels.items():
        reference(panel, y=1.0, dash=SOLID)
        own = solved_at[(solved_at[row] == row_level) & (solved_at[col] == column)].dropna(subset=["solved_at"])
        for level, update in zip(own[hue], own["solved_at"], strict=True):
            panel.axvline(
                update, color=series[level].color, linewidth=0.9 * in_force().scale, linestyle=DOTTED, zorder=1
            )
        log_updates(panel)
    legend(figure, series, {**({"norm": DASHED} if len(quantities) > 1 else {}), "solved": DOTTED})
    told_apart = [key for key in (row, col, hue) if key in runs]  # a gate is no setting
    caption = (
        f"{what}, by {captions.named(row)}. {captions.BAND}, {captions.seeds(runs, *told_apart)}; "
        f"{captions.SURVIVORS}. Dotted: when the task was solved, median over the runs that solved it. Thin line: 1. "
        f"{captions.conditions(runs)}"
    )
    return Plot(name, figure, band, caption, captions.alt(f"{what}, by updates", series, panels))


def _matrices(runs: pd.DataFrame, spectrum: pd.DataFrame, columns: list[str], *, gated: bool) -> pd.DataFrame:
    """Spectra of the cells that have a weight for every gate, or of those that have a single one."""
    need(spectrum, "spectra of the recurrent weight")
    data = spectrum.merge(runs[["run", *columns]], on="run")
    has_gates = data.groupby("run", observed=True)["block"].transform("nunique") > 1
    chosen = data[has_gates == gated]
    need(chosen, "gated cell" if gated else "cell with a single recurrent weight")
    return chosen
