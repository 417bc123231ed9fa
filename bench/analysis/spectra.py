"""Spectra while it was learned, as figures: of the recurrent weight, and of the state Jacobian.

Figures are functions of `runs`, as `settings.distinguished` returns them, and a table of observations; they
raise `NothingToDraw` where that table is empty.
"""

from __future__ import annotations

import pandas as pd

from bench.analysis import captions
from bench.analysis.panels import draw_bands, grid, legend, log_updates, reference, titles
from bench.analysis.plot import Plot, need
from bench.analysis.settings import levels
from bench.analysis.statistics import most, quartiles
from bench.analysis.style import DASHED, looks, paper


@paper()
def spectral_radius(runs: pd.DataFrame, spectrum: pd.DataFrame, row: str = "task", col: str = "clip") -> Plot:
    """Spectral radius of the recurrent weight, by updates; a cell with several matrices has its own panels."""
    need(spectrum, "spectra of the recurrent weight")
    data = _by_matrix(spectrum.merge(runs[["run", "cell", row, col]], on="run"), row)
    by = ["panel", col, "series"]
    band = most(quartiles(data, [*by, "update"], "spectral_radius"), by)

    rows, columns = {level: str(level) for level in levels(band["panel"])}, titles(band[col], col)
    series = looks(levels(band["series"]))
    figure, panels = grid(rows, columns, "updates", r"radius $\rho(W)$")
    draw_bands(panels, band, "update", "panel", col, "series", series)
    for panel in panels.values():
        reference(panel, y=1.0)
        log_updates(panel)
    legend(figure, series, {"radius 1": DASHED})
    caption = (
        "Spectral radius of the recurrent weight, by clipping threshold; a gated cell has one matrix for each "
        f"gate. {captions.BAND}, {captions.seeds(runs)}; {captions.SURVIVORS}. {captions.conditions(runs)}"
    )
    alt = captions.alt("Spectral radius of the recurrent weight by updates", series, panels)
    return Plot("spectral_radius", figure, band, caption, alt)


@paper()
def state_jacobian(
    runs: pd.DataFrame, jacobian: pd.DataFrame, hue: str = "cell", row: str = "task", col: str = "clip"
) -> Plot:
    """Spectral radius of ds_t/ds_(t-1), s the whole state, by updates: the one that compares across cells."""
    need(jacobian, "state Jacobians")
    by = [row, col, hue]
    data = jacobian.merge(runs[["run", *by]], on="run")
    band = most(quartiles(data, [*by, "update"], "spectral_radius"), by)

    rows, columns, series = titles(band[row], row), titles(band[col], col), looks(levels(band[hue]))
    figure, panels = grid(rows, columns, "updates", r"radius $\rho(\partial s_t / \partial s_{t-1})$")
    draw_bands(panels, band, "update", row, col, hue, series)
    for panel in panels.values():
        reference(panel, y=1.0)
        log_updates(panel)
    legend(figure, series, {"radius 1": DASHED})
    caption = (
        "Spectral radius of the Jacobian of the whole state (of an LSTM, h and c), median over held-out states, "
        f"by clipping threshold. {captions.BAND}, {captions.seeds(runs)}; {captions.SURVIVORS}. "
        f"{captions.conditions(runs)}"
    )
    alt = captions.alt("Spectral radius of the state Jacobian by updates", series, panels)
    return Plot("state_jacobian", figure, band, caption, alt)


def _by_matrix(spectrum: pd.DataFrame, row: str) -> pd.DataFrame:
    """Spectra with a `series` for every matrix, and a `panel` that a gated cell shares with no other cell.

    The matrix of a cell that has only one goes by the name of the cell.
    """
    gated = spectrum.groupby("cell", observed=True)["block"].transform("nunique") > 1
    cell, level = spectrum["cell"].astype(str), spectrum[row].astype(str)
    block = spectrum["block"].astype(str).str.replace(r"(\w)_(\w+)", r"$\1_{\2}$", regex=True)
    data = spectrum.assign(
        gated=gated, series=cell.mask(gated, cell + " " + block), panel=level.mask(gated, level + ", " + cell)
    )
    order = data[[row, "gated", "cell", "panel", "series"]].drop_duplicates()
    order = order.sort_values([row, "gated", "cell"], kind="stable")  # blocks stay in the order they came in
    for name in ("panel", "series"):
        data[name] = pd.Categorical(data[name], order[name].unique(), ordered=True)
    return data
