"""Spectra during training, as figures: of the recurrent weight, and of the state Jacobian."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.analysis import captions
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import log_updates, reference
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, SOLID, Dash, in_force, series_styles
from bench.analysis.settings import KNOWN_CELLS, levels
from bench.analysis.statistics.summaries import most, quartiles

RADIUS: dict[str, Dash] = {"spectral_radius": SOLID}
BOTH: dict[str, Dash] = {**RADIUS, "spectral_norm": DASHED}


@figure("spectrum", place=70)
def spectral_radius(facets: Facets) -> Plot:
    """Spectral radius and norm of the one recurrent weight of an ungated cell, by updates."""
    data = _matrices(facets, gated=False)
    caption = "Spectral radius (solid) and norm (dashed) of the recurrent weight"
    return _radii("spectral_radius", facets, data, r"$\rho(W_{hh})$ and $\|W_{hh}\|_2$", caption, BOTH)


@figure("spectrum", place=80)
def gate_spectral_radius(facets: Facets) -> Plot:
    """Spectral radius of every recurrent weight of cells with several, one for each gate or layer, by updates."""
    data = _matrices(facets, gated=True)
    block = data["block"].astype(str).str.replace(r"(\w)_(\w+)", r"$\1_{\2}$", regex=True)
    label = data[facets.hue].astype(str) + " " + block
    data = data.assign(matrix=pd.Categorical(label, label.unique(), ordered=True))
    caption = "Spectral radius of the recurrent weight of each gate and layer"
    return _radii("gate_spectral_radius", facets, data, r"spectral radius $\rho(W)$", caption, hue="matrix")


@figure("state_jacobian", place=90)
def state_jacobian(facets: Facets) -> Plot:
    """Spectral radius and norm of ds_t/ds_(t-1), s the whole state, by updates: those that compare across cells."""
    data = facets.joined("state_jacobian")
    label = r"$\rho(J_t)$ and $\|J_t\|_2$"
    caption = (
        "Spectral radius (solid) and norm (dashed) of the Jacobian of the whole state (of an LSTM, h and c), median "
        "over held-out states"
    )
    return _radii("state_jacobian", facets, data, label, caption, BOTH)


def _radii(
    name: str,
    facets: Facets,
    data: pd.DataFrame,
    y_label: str,
    what: str,
    quantities: Mapping[str, Dash] = RADIUS,
    hue: str | None = None,
) -> Plot:
    """The radius, and perhaps the norm, by updates, and when the task was solved; a line for each level of `hue`."""
    row, col, hue = facets.row, facets.col, hue or facets.hue
    solved = data[["run", row, col, hue]].drop_duplicates().merge(facets.runs[["run", "solved_at"]], on="run")
    solved_at = solved.groupby([row, col, hue], observed=True)["solved_at"].median().reset_index()
    there = [quantity for quantity in quantities if quantity in data]
    long = data.melt([row, col, hue, "run", "update"], there, var_name="quantity")
    by = [row, col, hue, "quantity"]
    band = most(quartiles(long, [*by, "update"], "value"), by).merge(solved_at, on=[row, col, hue], how="left")
    band.loc[band["quantity"] == "spectral_norm", ["q25", "q75"]] = np.nan  # bands would hide each other
    known = series_styles([*KNOWN_CELLS, *levels(band[hue])])  # so that a gate never has the colour of a cell
    series = {level: known[level] for level in levels(band[hue])}
    panels = facets.panels(band, "updates", y_label, hue=hue, series=series)
    panels.draw_bands(band, "update", dash="quantity", dashes=quantities)
    for panel, own in panels.cut(solved_at.dropna(subset=["solved_at"])):
        reference(panel, y=1.0, dash=SOLID)
        for level, update in zip(own[hue], own["solved_at"], strict=True):
            panel.axvline(
                update, color=series[level].color, linewidth=0.9 * in_force().scale, linestyle=DOTTED, zorder=1
            )
        log_updates(panel)
    panels.legend({**({"norm": DASHED} if len(quantities) > 1 else {}), "solved": DOTTED})
    caption = (
        f"{what}, by {facets.row_name}. {captions.BAND}, {facets.seeds()}; "
        f"{captions.SURVIVORS}. Dotted: when the task was solved, median over the runs that solved it. Thin line: 1. "
        f"{facets.conditions}"
    )
    return Plot(name, (panels.figure,), band, caption, panels.alt(f"{what}, by updates"))


def _matrices(facets: Facets, *, gated: bool) -> pd.DataFrame:
    """Spectra of the cells that have a weight for every gate or layer, or of those that have a single one."""
    data = facets.joined("spectrum")
    has_gates = data.groupby("run", observed=True)["block"].transform("nunique") > 1
    chosen = data[has_gates == gated]
    need(chosen, "gated cell" if gated else "cell with a single recurrent weight")
    return chosen
