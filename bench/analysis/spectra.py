"""Spectra while it was learned, as figures: of the recurrent weight, and of the state Jacobian.

Figures are functions of `runs`, as `settings.distinguished` returns them, and a table of observations; they
raise `NothingToDraw` where that table is empty.
"""

from __future__ import annotations

import pandas as pd

from bench.analysis import captions
from bench.analysis.panels import draw_bands, grid, legend, log_updates, reference, titles
from bench.analysis.plot import Plot, need
from bench.analysis.settings import KNOWN_CELLS, levels
from bench.analysis.statistics import most, quartiles
from bench.analysis.style import DASHED, looks, paper


@paper()
def spectral_radius(
    runs: pd.DataFrame, spectrum: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Spectral radius of the one recurrent weight of an ungated cell, by updates."""
    data = _matrices(runs, spectrum, [hue, row, col], gated=False)
    caption = "Spectral radius of the recurrent weight, by clipping threshold"
    return _radii("spectral_radius", runs, data, r"spectral radius $\rho(W_{hh})$", hue, row, col, caption)


@paper()
def gate_spectral_radius(
    runs: pd.DataFrame, spectrum: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Spectral radius of every gate's recurrent weight, by updates: a gated cell has no single one."""
    data = _matrices(runs, spectrum, [hue, row, col], gated=True)
    block = data["block"].astype(str).str.replace(r"(\w)_(\w+)", r"$\1_{\2}$", regex=True)
    label = data[hue].astype(str) + " " + block
    data = data.assign(matrix=pd.Categorical(label, label.unique(), ordered=True))
    caption = "Spectral radius of the recurrent weight of each gate, by clipping threshold"
    return _radii("gate_spectral_radius", runs, data, r"spectral radius $\rho(W)$", "matrix", row, col, caption)


@paper()
def state_jacobian(
    runs: pd.DataFrame, jacobian: pd.DataFrame, hue: str = "cell", row: str = "clip", col: str = "task"
) -> Plot:
    """Spectral radius of ds_t/ds_(t-1), s the whole state, by updates: the one that compares across cells."""
    need(jacobian, "state Jacobians")
    data = jacobian.merge(runs[["run", hue, row, col]], on="run")
    label = r"radius $\rho(\partial s_t / \partial s_{t-1})$"
    caption = (
        "Spectral radius of the Jacobian of the whole state (of an LSTM, h and c), median over held-out states, "
        "by clipping threshold"
    )
    return _radii("state_jacobian", runs, data, label, hue, row, col, caption)


def _radii(
    name: str, runs: pd.DataFrame, data: pd.DataFrame, y_label: str, hue: str, row: str, col: str, what: str
) -> Plot:
    """`spectral_radius` of the data by updates, a line for each level of `hue`."""
    by = [row, col, hue]
    band = most(quartiles(data, [*by, "update"], "spectral_radius"), by)
    rows, columns = titles(band[row], row), titles(band[col], col)
    known = looks([*KNOWN_CELLS, *levels(band[hue])])  # so that a gate never has the colour of a cell
    series = {level: known[level] for level in levels(band[hue])}
    figure, panels = grid(rows, columns, "updates", y_label)
    draw_bands(panels, band, "update", row, col, hue, series)
    for panel in panels.values():
        reference(panel, y=1.0)
        log_updates(panel)
    legend(figure, series, {"radius 1": DASHED})
    caption = f"{what}. {captions.BAND}, {captions.seeds(runs)}; {captions.SURVIVORS}. {captions.conditions(runs)}"
    return Plot(name, figure, band, caption, captions.alt(f"{what}, by updates", series, panels))


def _matrices(runs: pd.DataFrame, spectrum: pd.DataFrame, columns: list[str], *, gated: bool) -> pd.DataFrame:
    """Spectra of the cells that have a weight for every gate, or of those that have a single one."""
    need(spectrum, "spectra of the recurrent weight")
    data = spectrum.merge(runs[["run", *columns]], on="run")
    has_gates = data.groupby("run", observed=True)["block"].transform("nunique") > 1
    chosen = data[has_gates == gated]
    need(chosen, "gated cell" if gated else "cell with a single recurrent weight")
    return chosen
