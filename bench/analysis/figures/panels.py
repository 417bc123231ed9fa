"""Small multiples: a grid of panels that share their axes, and what is drawn into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, PercentFormatter

from bench.analysis import captions
from bench.analysis.figures.labels import least_width, width_of, wrapped
from bench.analysis.figures.style import DASHED, GREY, SOLID, Dash, SeriesStyle, in_force
from bench.analysis.settings import NO_CLIPPING, levels

BAND_ALPHA = 0.2
SHADE_ALPHA = 0.12
MARKER_DISTANCE = 0.4  # along a line, of the panel's diagonal
# inches at a size of 8 points: the height of a line of letters, and an entry's width in a legend without its text
LINE, LEGEND_LINE, LEGEND_HANDLE = 0.13, 0.17, 0.55
FRAME = 0.5  # likewise: what is above and below the panels
BESIDE = 0.75  # likewise: what is left and right of them, with a label of one line
ABOVE_FILLED, BESIDE_FILLED = 0.9, 0.82  # of the width and the height there is for a label, which it may take
TALLEST = 2.2  # inches at a size of 8 points: a row grows up to here with its label
THIN = 0.7  # points, of a line to compare with
UNBOUNDED = (-np.inf, np.inf)


@dataclass(frozen=True)
class Panels:
    """A figure of panels, each for a level of a row and a level of a column, and a series for every level of the hue.

    axes: by row level and column level. row, col, hue: the columns of a table that hold these levels; where there is
    one row of panels for all levels, `row` is empty.
    """

    figure: Figure
    axes: Mapping[tuple[Any, Any], Axes]
    series: Mapping[Any, SeriesStyle]
    row: str
    col: str
    hue: str

    def __iter__(self) -> Iterator[Axes]:
        return iter(self.axes.values())

    def cut(self, table: pd.DataFrame) -> Iterator[tuple[Axes, pd.DataFrame]]:
        """Every panel with its rows of the table."""
        for (row, col), panel in self.axes.items():
            of_row = table[table[self.row] == row] if self.row else table
            yield panel, of_row[of_row[self.col] == col]

    def draw_bands(
        self,
        band: pd.DataFrame,
        x: str,
        *,
        dash: str | None = None,
        dashes: Mapping[Any, Dash] | None = None,
        edges: tuple[float, float] = UNBOUNDED,
    ) -> None:
        """Median and quartiles over `x` in every panel, a line for each level of the hue and, if given, of `dash`.

        What lies beyond the edges is drawn on them; NaN leaves a gap.
        """
        for panel, part in self.cut(band):
            draw_bands(panel, part, x, self.hue, self.series, dash=dash, dashes=dashes, edges=edges)

    def legend(self, dashes: Mapping[str, Dash], shaded: str = "") -> None:
        """Above all panels: colour and marker of each series, what the dashes mean, and what is shaded."""
        legend(self.figure, self.series, dashes, shaded)

    def alt(self, what: str) -> str:
        """What the figure shows, for those who cannot see it."""
        return captions.alt(what, self.series, self.axes)


def grid(
    rows: Mapping[Any, str],
    columns: Mapping[Any, str],
    x_label: str,
    y_label: str,
    row_height: float = 1.15,
    left: float = 0.0,
) -> tuple[Figure, dict[tuple[Any, Any], Axes]]:
    """One panel per row and column level; the panels of a column share their axes.

    rows, columns: levels with what is written right of the row and on top of the column, in several lines where it is
    long. row_height: inches, at a size of 8 points, more where a label of three lines takes more. left: inches that
    the tick labels take beyond those of numbers. Up to two columns of panels take one column of a page, more take its
    whole width, exactly.
    """
    style = in_force()
    scale, width = style.scale, style.column if len(columns) <= 2 else style.page
    parts = [part for label in rows.values() for part in label.split("\n")]
    height = scale * max(row_height, min(TALLEST, max(map(least_width, parts), default=0) / scale / BESIDE_FILLED))
    names = ["\n".join(wrapped(part, BESIDE_FILLED * height) for part in label.split("\n")) for label in rows.values()]
    most_beside = max(name.count("\n") for name in names)
    across = (width - left - scale * (BESIDE + LINE * most_beside)) / len(columns)
    heads = [wrapped(title, ABOVE_FILLED * across, lines=4) for title in columns.values()]
    above = scale * LINE * max(head.count("\n") for head in heads)

    layout = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.03)
    figure = Figure(figsize=(width, height * len(rows) + FRAME * scale + above), layout=layout)
    axes = figure.subplots(len(rows), len(columns), sharex="col", sharey="col", squeeze=False)
    for head, panel in zip(heads, axes[0], strict=True):
        panel.set_title(head)
    for name, last in zip(names, axes[:, -1], strict=True):
        last.annotate(name, (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center", ma="center")
    figure.supxlabel(x_label, fontsize="medium")
    figure.supylabel(y_label, fontsize="medium")
    return figure, {(row, column): axes[r, c] for r, row in enumerate(rows) for c, column in enumerate(columns)}


def titles(column: pd.Series, key: str) -> dict[Any, str]:
    """The levels of a column that was called `key` in `runs`, as they are called beside a panel."""
    found = levels(column)
    if key == "clip":
        return {level: clipped(level) for level in found}
    worded = isinstance(column.dtype, pd.CategoricalDtype) or key in ("task", "cell")
    return {level: str(level) if worded else f"{key} {level}" for level in found}


def clipped(level: object) -> str:
    """A level of `clip` in words: a rule goes by its name, the usual one by its threshold."""
    if level == NO_CLIPPING:
        return "no clipping"
    return f"clipped at {level}" if str(level)[:1].isdigit() else str(level)


def draw_bands(
    panel: Axes,
    band: pd.DataFrame,
    x: str,
    hue: str,
    series: Mapping[Any, SeriesStyle],
    *,
    dash: str | None = None,
    dashes: Mapping[Any, Dash] | None = None,
    edges: tuple[float, float] = UNBOUNDED,
) -> None:
    """Median and quartiles over `x` in one panel, as `Panels.draw_bands` draws them in all."""
    for level, line in band.groupby([hue] if dash is None else [hue, dash], observed=True):
        _draw_band(panel, line[x], line, series[level[0]], dashes[level[1]] if dashes else SOLID, edges)


def _draw_band(
    panel: Axes, x: pd.Series, band: pd.DataFrame, style: SeriesStyle, dash: Dash, edges: tuple[float, float]
) -> None:
    median, low, high = (band[name].clip(*edges) for name in ("median", "q25", "q75"))
    if not np.isfinite(median).any():
        return  # matplotlib cannot space markers on a line without points
    every = (style.offset, MARKER_DISTANCE)
    panel.plot(x, median, color=style.color, linestyle=dash, marker=style.marker, markevery=every)
    panel.fill_between(x, low, high, color=style.color, alpha=BAND_ALPHA, linewidth=0)


def reference(panel: Axes, *, y: float | None = None, x: float | None = None, dash: Dash = DASHED) -> None:
    """A line across the panel to compare with."""
    if y is not None:
        panel.axhline(y, color=GREY, linewidth=THIN * in_force().scale, linestyle=dash, zorder=1)
    if x is not None:
        panel.axvline(x, color=GREY, linewidth=THIN * in_force().scale, linestyle=dash, zorder=1)


def shade(panel: Axes, first: float, last: float) -> None:
    """A stretch of the x axis in grey."""
    panel.axvspan(first, last, color=GREY, alpha=SHADE_ALPHA, linewidth=0, zorder=0)


def shares(panel: Axes) -> None:
    """A y axis of shares, from 0 to 100 %."""
    panel.set_ylim(-0.04, 1.04)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))


def log_updates(panel: Axes) -> None:
    """A logarithmic x axis from update 1 on, with update 0 beside it."""
    last = max(panel.dataLim.x1, 1)  # which is -inf in a panel without a line
    panel.set_xscale("symlog", linthresh=1, linscale=0.5)
    panel.set_xlim(-0.2, last * 1.2)
    decades = [10**k for k in range(int(np.log10(last)) + 1)]
    panel.set_xticks([0, *decades], ["0", *map(str, decades)])
    panel.xaxis.set_minor_locator(NullLocator())


def _columns_width(widths: Sequence[float], columns: int) -> float:
    """The width of entries that fill so many columns, one after the other, as a legend splits them."""
    return sum(float(max(part)) for part in np.array_split(widths, columns))


def legend(figure: Figure, series: Mapping[Any, SeriesStyle], dashes: Mapping[str, Dash], shaded: str = "") -> None:
    """Above all panels: colour and marker of each series, what the dashes mean, and what is shaded."""
    scale, width = in_force().scale, figure.get_figwidth()
    handle = scale * LEGEND_HANDLE
    handles: list[Artist] = [
        Line2D([], [], color=style.color, marker=style.marker, label=wrapped(str(name), width - handle))
        for name, style in series.items()
    ]
    handles += [Line2D([], [], color=GREY, linestyle=dash, label=name) for name, dash in dashes.items()]
    if shaded:
        handles.append(Patch(color=GREY, alpha=SHADE_ALPHA, linewidth=0, label=shaded))
    labels = [str(one.get_label()) for one in handles]
    widths = [handle + max(map(width_of, label.split("\n"))) for label in labels]
    columns = next(n for n in range(len(handles), 0, -1) if _columns_width(widths, n) <= width or n == 1)
    lines = -(-len(handles) // columns)
    further = sum(sorted(label.count("\n") for label in labels)[-lines:])
    figure.set_figheight(figure.get_figheight() + scale * (LEGEND_LINE * (lines - 1) + LINE * further))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
