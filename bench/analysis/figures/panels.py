"""Small multiples: a grid of panels that share their axes, and bands drawn into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, PercentFormatter

from bench.analysis.figures.style import DASHED, GREY, SOLID, Dash, SeriesStyle, in_force, series_styles
from bench.analysis.settings import NO_CLIPPING, levels

Panels: TypeAlias = dict[tuple[Any, Any], Axes]  # by row level and column level
BAND_ALPHA = 0.2
SHADE_ALPHA = 0.12
MARKER_DISTANCE = 0.4  # along a line, of the panel's diagonal
# inches at a size of 8 points: a line's height in a legend, an entry's width without its text, and that of a letter
LEGEND_LINE, LEGEND_HANDLE, LEGEND_LETTER = 0.17, 0.55, 0.055
FRAME = 0.5  # likewise: what is above and below the panels
THIN = 0.7  # points, of a line to compare with
UNBOUNDED = (-np.inf, np.inf)


def grid(
    rows: Mapping[Any, str], columns: Mapping[Any, str], x_label: str, y_label: str, row_height: float = 1.15
) -> tuple[Figure, Panels]:
    """One panel per row and column level; the panels of a column share their axes.

    rows, columns: levels with what is written right of the row and on top of the column.
    row_height: inches, at a size of 8 points. Up to two columns of panels take one column of a page, more take its
    whole width, exactly.
    """
    style = in_force()
    width = style.column if len(columns) <= 2 else style.page
    layout = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.03)
    figure = Figure(figsize=(width, (row_height * len(rows) + FRAME) * style.scale), layout=layout)
    axes = figure.subplots(len(rows), len(columns), sharex="col", sharey="col", squeeze=False)
    for title, panel in zip(columns.values(), axes[0], strict=True):
        panel.set_title(title)
    for name, last in zip(rows.values(), axes[:, -1], strict=True):
        last.annotate(name, (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center")
    figure.supxlabel(x_label, fontsize="medium")
    figure.supylabel(y_label, fontsize="medium")
    return figure, {(row, column): axes[r, c] for r, row in enumerate(rows) for c, column in enumerate(columns)}


def opened(
    data: pd.DataFrame, row: str, column: str, hue: str, x_label: str, y_label: str
) -> tuple[Figure, Panels, dict[Any, SeriesStyle]]:
    """A grid with a panel for every level of `row` and `column` in `data`, and a look for every level of `hue`."""
    figure, panels = grid(titles(data[row], row), titles(data[column], column), x_label, y_label)
    return figure, panels, series_styles(levels(data[hue]))


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
    panels: Panels,
    band: pd.DataFrame,
    x: str,
    row: str,
    column: str,
    hue: str,
    series: Mapping[Any, SeriesStyle],
    *,
    dash: str | None = None,
    dashes: Mapping[Any, Dash] | None = None,
    edges: tuple[float, float] = UNBOUNDED,
) -> None:
    """Median and quartiles over `x` in every panel, a line for each level of `hue` and, if given, of `dash`.

    What lies beyond the edges is drawn on them; NaN leaves a gap.
    """
    by = [hue] if dash is None else [hue, dash]
    for panel, part in cut(panels, band, row, column):
        for level, line in part.groupby(by, observed=True):
            _draw_band(panel, line[x], line, series[level[0]], dashes[level[1]] if dashes else SOLID, edges)


def cut(panels: Panels, table: pd.DataFrame, row: str, column: str) -> Iterator[tuple[Axes, pd.DataFrame]]:
    """Every panel with its rows of the table."""
    for (row_level, column_level), panel in panels.items():
        yield panel, table[(table[row] == row_level) & (table[column] == column_level)]


def _draw_band(
    panel: Axes, x: pd.Series, band: pd.DataFrame, look: SeriesStyle, dash: Dash, edges: tuple[float, float]
) -> None:
    median, low, high = (band[name].clip(*edges) for name in ("median", "q25", "q75"))
    every = (look.offset, MARKER_DISTANCE)
    panel.plot(x, median, color=look.color, linestyle=dash, marker=look.marker, markevery=every)
    panel.fill_between(x, low, high, color=look.color, alpha=BAND_ALPHA, linewidth=0)


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


def _columns_width(widths: Sequence[float], lines: int) -> float:
    """Of entries that fill columns of so many lines, one column after the other."""
    return sum(max(widths[start : start + lines]) for start in range(0, len(widths), lines))


def legend(figure: Figure, series: Mapping[Any, SeriesStyle], dashes: Mapping[str, Dash], shaded: str = "") -> None:
    """Above all panels: colour and marker of each series, what the dashes mean, and what is shaded."""
    handles: list[Artist] = [
        Line2D([], [], color=look.color, marker=look.marker, label=str(name)) for name, look in series.items()
    ]
    handles += [Line2D([], [], color=GREY, linestyle=dash, label=name) for name, dash in dashes.items()]
    if shaded:
        handles.append(Patch(color=GREY, alpha=SHADE_ALPHA, linewidth=0, label=shaded))
    scale = in_force().scale
    widths = [scale * (LEGEND_HANDLE + LEGEND_LETTER * len(str(handle.get_label()))) for handle in handles]
    lines = next(
        n for n in range(1, len(handles) + 1) if _columns_width(widths, n) <= figure.get_figwidth() or n == len(handles)
    )
    columns = -(-len(handles) // lines)
    figure.set_figheight(figure.get_figheight() + scale * LEGEND_LINE * (lines - 1))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
