"""Eigenvalue clouds on the unit circle while it was learned, as small multiples and as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from PIL import Image

from bench.analysis import captions
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import figure
from bench.analysis.figures.labels import wrapped
from bench.analysis.figures.panels import Asked, Key, grid, titles
from bench.analysis.figures.plot import Plot, need
from bench.analysis.figures.style import GREY, ONE_COLUMN, SeriesStyle, in_force, paper
from bench.analysis.settings import levels

COLUMNS = 4  # moments, from initialisation to the end
REACH = 1.5  # of a panel, left and right of 0: further points would make the unit circle small
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
    looks = facets.styles(hue)
    moments = _moments(data, hue)
    columns = {place: _moment(place, updates) for place, updates in moments.items()}
    labels = data[[hue, "block"]].drop_duplicates().itertuples(index=False, name=None)
    rows = {label: _label(*label) for label in labels}
    asked = Asked(rows, columns, "real part", "imaginary part", row_height=0.0, shared=lambda _: ("", ""))
    figures, panels = grid(asked, Key({}), facets.ax)
    drawn = []
    for ((cell, block), place), panel in panels.items():
        own = data[(data[hue] == cell) & (data["block"] == block)]
        at = own[own["update"] == moments[place].get(cell)]
        drawn.append(at.assign(moment=columns[place]))
        _draw(panel, at, looks[cell])
    kind = "each cell" if hue == "cell" else f"each {captions.named(hue)}"
    caption = (
        "Eigenvalues of every recurrent weight in the complex plane, with the unit circle, from initialisation to the "
        f"end. One run of {kind}, {described}. What lies beyond ±{REACH:g} is drawn on the edge, hollow."
    )
    details = (
        "The middle moments are the measured updates nearest to one and two thirds of a logarithmic training time; of "
        f"{facets.seeds()}. {facets.conditions}"
    )
    cells = [(str(row), str(column)) for row in rows.values() for column in columns.values()]
    alt = captions.alt("Eigenvalues of the recurrent weights in the complex plane", levels(data[hue]), cells)

    def animation(path: Path) -> None:
        animate(data, hue, looks, rows, path)

    title = "Where do the eigenvalues of the recurrent weights go?"
    whole = pd.concat(drawn, ignore_index=True)
    return Plot("eigenvalues", figures, whole, caption, alt, title, details, animation)


@paper()
def animate(data: pd.DataFrame, hue: str, looks: dict[Any, SeriesStyle], rows: dict[Any, str], path: Path) -> None:
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
        clouds[cell, block] = own, _draw(panel, own[own["update"] == own["update"].min()], looks[cell])
        panel.set_title(wrapped(label, 0.8 * ONE_COLUMN / 2))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # only points move from one frame to the next
    frames = []
    for update in sorted(data["update"].unique()):
        for own, points in clouds.values():
            reached = own.loc[own["update"] <= update, "update"].max()  # a run that ended stays as it was
            cloud = own[own["update"] == reached]
            _place(*points, cloud)
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


def _draw(panel: Axes, cloud: pd.DataFrame, style: SeriesStyle) -> tuple[Line2D, Line2D]:
    """A cloud with the unit circle, in a square of one size; returns the points within it, and those on its edge."""
    scale = in_force().scale
    panel.add_patch(Circle((0, 0), 1, fill=False, color=GREY, linewidth=0.6 * scale))
    look: dict[str, Any] = {"linestyle": "none", "color": style.color, "marker": style.marker}
    (inside,) = panel.plot([], [], **look, markersize=2.0 * scale, alpha=0.6)
    hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.6 * scale, "clip_on": False}
    (outside,) = panel.plot([], [], **look, markersize=3.0 * scale, **hollow)
    outside.set_in_layout(False)  # which takes a line without points for an endless one
    _place(inside, outside, cloud)
    panel.set_xlim(-REACH, REACH)
    panel.set_ylim(-REACH, REACH)
    panel.set_xticks([-1, 0, 1])
    panel.set_yticks([-1, 0, 1])
    panel.set_aspect("equal")
    return inside, outside


def _place(inside: Line2D, outside: Line2D, cloud: pd.DataFrame) -> None:
    """Points where they are; those beyond the square on its edge."""
    points = cloud[["real", "imag"]].to_numpy(dtype=float)
    beyond = (np.abs(points) > REACH).any(axis=1)
    inside.set_data(*points[~beyond].T)
    outside.set_data(*points[beyond].clip(-REACH, REACH).T)
