"""Eigenvalue clouds on the unit circle while it was learned, as small multiples and as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from PIL import Image

from bench.analysis import captions
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import wrapped
from bench.analysis.figures.panels import grid, legend, titles
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import GREY, ONE_COLUMN, SeriesStyle, in_force, paper, series_styles
from bench.analysis.settings import levels

COLUMNS = 4  # moments, from initialisation to the end
POINTS: dict[str, Any] = {"linestyle": "none", "markersize": 2.0, "alpha": 0.6}
MILLISECONDS = 200  # that a frame stays
HELD = 8  # times as long stays the last one
GIF_DPI = 110


@figure("eigenvalues", place=130)
def eigenvalues(facets: Facets) -> Plot:
    """Eigenvalues of every recurrent block of one run of each cell, at moments from initialisation to the end.

    The runs are those of the first level of row and of column, and of these, for each level of the hue, the one with
    the lowest seed.
    """
    hue = facets.hue
    data, described = _chosen(facets)
    series = series_styles(levels(data[hue]))
    moments = _moments(data, hue)
    columns = {place: _moment(place, updates) for place, updates in moments.items()}
    labels = data[[hue, "block"]].drop_duplicates().itertuples(index=False, name=None)
    rows = {label: _label(*label) for label in labels}
    style = in_force()
    width = style.column
    drawing, panels = grid(
        rows, columns, "real part", "imaginary part", row_height=width / COLUMNS * 0.92 / style.scale
    )
    drawing.set_figwidth(width)
    drawing.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.01, w_pad=0.025))
    drawn = []
    for ((cell, block), place), panel in panels.items():
        own = data[(data[hue] == cell) & (data["block"] == block)]
        at = own[own["update"] == moments[place].get(cell)]
        drawn.append(at.assign(moment=columns[place]))
        _draw(panel, at, series[cell], data)
        panel.tick_params(labelleft=place == 0)
    legend(drawing, series, {})
    kind = "each cell" if hue == "cell" else f"each {captions.named(hue)}"
    caption = (
        "Eigenvalues of every recurrent weight in the complex plane, with the unit circle: at initialisation, at the "
        "measured updates nearest to one and two thirds of a logarithmic training time, and at the end. One run of "
        f"{kind}, {described}; of {facets.seeds()}. {facets.conditions}"
    )
    cells = [(str(row), str(column)) for row in rows.values() for column in columns.values()]
    alt = captions.alt("Eigenvalues of the recurrent weights in the complex plane", series, cells)

    def animation(path: Path) -> None:
        animate(data, hue, series, rows, path)

    return Plot("eigenvalues", (drawing,), pd.concat(drawn, ignore_index=True), caption, alt, animation=animation)


@paper()
def animate(data: pd.DataFrame, hue: str, series: dict[object, SeriesStyle], rows: dict[Any, str], path: Path) -> None:
    """A GIF of the clouds, side by side, a frame for each measured update."""
    across = max(2, min(len(rows), 3))
    down = -(-len(rows) // across)
    figure = Figure(figsize=(ONE_COLUMN / 2 * across, 1.75 * down + 0.2), dpi=GIF_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    title = figure.suptitle("update 0", fontsize="medium")
    clouds = {}
    for panel in panels[len(rows) :]:
        panel.axis("off")
    for panel, ((cell, block), label) in zip(panels, rows.items(), strict=False):
        own = data[(data[hue] == cell) & (data["block"] == block)]
        clouds[cell, block] = own, _draw(panel, own[own["update"] == own["update"].min()], series[cell], data)
        panel.set_title(wrapped(label, 0.8 * ONE_COLUMN / 2))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # only points move from one frame to the next
    frames = []
    for update in sorted(data["update"].unique()):
        for own, points in clouds.values():
            reached = own.loc[own["update"] <= update, "update"].max()  # a run that ended stays as it was
            cloud = own[own["update"] == reached]
            points.set_data(cloud["real"], cloud["imag"])
        title.set_text(f"update {update}")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    shown = [MILLISECONDS] * (len(frames) - 1) + [MILLISECONDS * HELD]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=shown, loop=0)


def _chosen(facets: Facets) -> tuple[pd.DataFrame, str]:
    """Eigenvalues of one run for each level of the hue, and which they are."""
    hue, row, col = facets.hue, facets.row, facets.col
    own = {one.run_id for one in facets.results.directories if "eigenvalues" in one.tables}
    runs = facets.runs[facets.runs["run"].isin(own) & (facets.runs["outcome"] != "failed")]
    need(runs, "eigenvalues of a run that came to an end")
    for axis in (col, row):
        runs = runs[runs[axis] == levels(runs[axis])[0]]
    first = runs.sort_values("seed").groupby(hue, observed=True).head(1)
    table = facets.results.of(set(first["run"])).read("eigenvalues")
    wanted = list(dict.fromkeys(("run", "seed", "task", "cell", "clip", hue, row, col)))
    data = table.merge(first[wanted], on="run")
    finite = data[np.isfinite(data["real"])].assign(block=data["block"].astype(str))
    need(finite, "finite eigenvalues")
    which = ", ".join(next(iter(titles(first[axis], axis).values())) for axis in (col, row))
    return finite.sort_values([hue, "update", "block"], kind="stable"), f"of {which}, lowest seed"


def _moments(data: pd.DataFrame, hue: str) -> dict[float, dict[Any, int]]:
    """For each share of a logarithmic training time the measured update of each run that is nearest to it."""
    places: dict[float, dict[Any, int]] = {}
    for cell, own in data.groupby(hue, observed=True):
        updates = np.sort(own["update"].unique())
        time = np.log10(1 + updates) / max(np.log10(1 + updates[-1]), 1e-9)
        for place in np.linspace(0, 1, COLUMNS):
            places.setdefault(float(place), {})[cell] = int(updates[np.abs(time - place).argmin()])
    return places


def _moment(place: float, updates: dict[Any, int]) -> str:
    """What is written over a column: the update where all runs have the same."""
    if place in (0, 1):
        return "end" if place else "start"
    return f"update {min(updates.values())}" if len(set(updates.values())) == 1 else f"{place:.0%}"


def _label(cell: object, block: str) -> str:
    symbol, _, index = block.partition("_")
    return rf"{cell} ${symbol}_{{{index}}}$" if index else f"{cell} {block}"


def _draw(panel: Axes, cloud: pd.DataFrame, style: SeriesStyle, whole: pd.DataFrame) -> Line2D:
    """A cloud with the unit circle, in a square that holds the cloud at every moment; returns its points."""
    panel.add_patch(Circle((0, 0), 1, fill=False, color=GREY, linewidth=0.6))
    (points,) = panel.plot(cloud["real"], cloud["imag"], color=style.color, marker=style.marker, **POINTS)
    reach = 1.1 * max(1.0, float(np.abs(whole[["real", "imag"]].to_numpy()).max()))
    panel.set_xlim(-reach, reach)
    panel.set_ylim(-reach, reach)
    panel.set_aspect("equal")
    return points
