"""Spectra during training, as figures: of the recurrent weight, and of the state Jacobian."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

from bench.analysis import captions
from bench.analysis.figures.facets import PANEL, Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.panels import MARKER_DISTANCE, log_updates, reference
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import DASHED, DOTTED, MARKERS, SOLID, Dash, SeriesStyle, in_force
from bench.analysis.statistics.summaries import most, quartiles

RADIUS, NORM = "spectral_radius", "spectral_norm"
FEW = 8  # measured updates, up to which they are points: a line between them would be made up
SHADES = (1.0, 0.7, 0.45, 0.25)  # of a cell's colour, for its gates
DASHES = (SOLID, DASHED, DOTTED, (0.0, (4.0, 1.2, 1.0, 1.2)))
APART = 0.09  # decades, by which points at one update are moved apart


@figure("spectrum", place=70)
def spectral_radius(facets: Facets) -> Plot:
    """Spectral radius and norm of the one recurrent weight of an ungated cell, by updates."""
    caption = (
        "Spectral radius and norm of the recurrent weight. Thin line: 1, where a linear net would neither forget nor "
        "explode. Dotted: when the task was solved."
    )
    quantities = {RADIUS: r"$\rho(W_{hh})$", NORM: r"$\|W_{hh}\|_2$"}
    title = "Does the recurrent weight stay near a radius of 1?"
    return _radii("spectral_radius", facets, _matrices(facets, gated=False), quantities, caption, title)


@figure("state_jacobian", place=90)
def state_jacobian(facets: Facets) -> Plot:
    """Spectral radius and norm of ds_t/ds_(t-1), s the whole state, by updates: those that compare across cells."""
    caption = (
        "Spectral radius and norm of the Jacobian of one step of the whole state (of an LSTM, h and c), median over "
        "held-out states. Thin line: 1, between states that fade and states that grow. Dotted: when the task was "
        "solved."
    )
    quantities = {RADIUS: r"$\rho(J_t)$", NORM: r"$\|J_t\|_2$"}
    title = "Does one step shrink or stretch the state?"
    return _radii("state_jacobian", facets, facets.joined("state_jacobian"), quantities, caption, title)


@figure("spectrum", place=80)
def gate_spectral_radius(facets: Facets) -> Plot:
    """Spectral radius of every recurrent weight of cells with several, one for each gate or layer, by updates."""
    data = _matrices(facets, gated=True)
    row, col = facets.row, facets.col
    block = data["block"].astype(str).str.replace(r"(\w)_(\w+)", r"$\1_{\2}$", regex=True)
    label = data[facets.hue].astype(str) + " " + block
    data = data.assign(matrix=pd.Categorical(label, label.unique(), ordered=True))
    by = [row, col, "matrix"]
    band = most(quartiles(data, [*by, "update"], RADIUS), by)
    series, dashes = _of_gates(facets, data)

    panels = facets.panels(band, "updates", r"spectral radius $\rho(W)$", hue="matrix", series=series, legend="gate")
    for panel, own in panels.cut(band):
        for level, line in own.groupby("matrix", observed=True):
            look = series[level]
            every = (look.offset, MARKER_DISTANCE)
            style: dict[str, Any] = {"color": look.color, "linestyle": dashes[level], "marker": look.marker}
            panel.plot(line["update"], line["median"], **style, markevery=every)
            panel.fill_between(line["update"], line["q25"], line["q75"], color=look.color, alpha=0.15, linewidth=0)
        reference(panel, y=1.0, dash=SOLID)
        log_updates(panel)
    caption = (
        "Spectral radius of the recurrent weight of each gate and layer, in shades of its cell's colour. Line: median "
        "over seeds; band: quartiles. Thin line: 1."
    )
    details = f"By {facets.row_name}; {facets.seeds()}; {captions.SURVIVORS}. {facets.conditions}"
    alt = panels.alt("Spectral radius of the recurrent weight of each gate, by updates")
    title = "Which gate's weight grows?"
    return Plot("gate_spectral_radius", panels.figures, band, caption, alt, title, details)


def _radii(
    name: str, facets: Facets, data: pd.DataFrame, quantities: Mapping[str, str], caption: str, title: str
) -> Plot:
    """Radius and norm, by updates, in rows of panels of their own, and when the task was solved."""
    row, col, hue = facets.row, facets.col, facets.hue
    there = {quantity: label for quantity, label in quantities.items() if quantity in data}
    long = data.melt([row, col, hue, "run", "update"], list(there), var_name="quantity")
    by = [row, col, hue, "quantity"]
    band = facets.with_panels(most(quartiles(long, [*by, "update"], "value"), by))
    solved = data[["run"]].drop_duplicates().merge(facets.runs[["run", row, col, hue, "solved_at"]], on="run")
    solved_at = solved.groupby([row, col, hue], observed=True)["solved_at"].median().reset_index()
    band = band.merge(solved_at, on=[row, col, hue], how="left")

    panels = facets.rows_of_quantities(band, "updates", there, dashes={"solved": DOTTED})
    points = band["update"].nunique() <= FEW
    if not points:
        panels.draw_bands(band, "update")
    for panel, own in panels.cut(band):
        for level, line in own.groupby(hue, observed=True):
            style = panels.series[level]
            if points:
                _draw_points(panel, line, style, list(panels.series).index(level) - (len(panels.series) - 1) / 2)
            update = line["solved_at"].iloc[0]
            if np.isfinite(update):
                panel.axvline(update, color=style.color, linewidth=0.9 * in_force().scale, linestyle=DOTTED, zorder=1)
        reference(panel, y=1.0, dash=SOLID)
        log_updates(panel)
    drawn = "Mark: median over seeds, bar: quartiles" if points else captions.BAND
    details = (
        f"By {facets.row_name}. {drawn}, {facets.seeds()}; {captions.SURVIVORS}. Dotted: median over the runs that "
        f"solved it. {facets.conditions}"
    )
    what = caption.partition(".")[0]
    plotted = band.drop(columns=PANEL)
    return Plot(name, panels.figures, plotted, caption, panels.alt(f"{what}, by updates"), title, details)


def _draw_points(panel: Axes, line: pd.DataFrame, style: SeriesStyle, place: float) -> None:
    """Medians as marks with their quartiles as bars, moved apart along a logarithmic axis that begins with 0."""
    x = np.where(line["update"] < 1, APART * place, line["update"] * 10 ** (APART * place))
    ends = [line["median"] - line["q25"], line["q75"] - line["median"]]
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": "none"}
    panel.errorbar(x, line["median"], yerr=ends, **look, elinewidth=0.7 * in_force().scale)


def _of_gates(facets: Facets, data: pd.DataFrame) -> tuple[dict[Any, SeriesStyle], dict[Any, Dash]]:
    """A look and a dash for every gate: shades of its cell's colour."""
    cells = facets.styles(facets.hue)
    series, dashes, counts = {}, {}, Counter[object]()
    for cell, level in data[[facets.hue, "matrix"]].drop_duplicates().sort_values("matrix").itertuples(index=False):
        k = counts[cell]
        counts[cell] += 1
        shade, own = SHADES[k % len(SHADES)], np.array(to_rgb(cells[cell].color))
        red, green, blue = own * shade if k % 2 else 1 - (1 - own) * shade
        color = to_hex((red, green, blue))
        series[level] = SeriesStyle(color, MARKERS[k % len(MARKERS)], 0.05 + 0.09 * (k % 4))
        dashes[level] = DASHES[k % len(DASHES)]
    return series, dashes


def _matrices(facets: Facets, *, gated: bool) -> pd.DataFrame:
    """Spectra of the cells that have a weight for every gate or layer, or of those that have a single one."""
    data = facets.joined("spectrum")
    has_gates = data.groupby("run", observed=True)["block"].transform("nunique") > 1
    chosen = data[has_gates == gated]
    need(chosen, "gated cell" if gated else "cell with a single recurrent weight")
    return chosen
