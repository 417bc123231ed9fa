"""Small multiples: a grid of panels that share their axes, and what is drawn into them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, PercentFormatter

from bench.analysis import captions
from bench.analysis.figures.arrangement import LINE, Arrangement, Labels, Space, arranged
from bench.analysis.figures.labels import width_of, wrapped
from bench.analysis.figures.style import DASHED, GREY, SOLID, Dash, Drawing, SeriesStyle, in_force
from bench.analysis.settings import NO_CLIPPING, levels

BAND_ALPHA = 0.2
SHADE_ALPHA = 0.12
RUN_ALPHA = 0.45  # of a thin line, a run
FEW = 10  # runs, up to which each has a line; of more there is a band
MARKER_DISTANCE = 0.4  # along a line, of the panel's diagonal
# inches at a size of 8 points: a line of a legend, and an entry's width in it without its text
LEGEND_LINE, LEGEND_HANDLE = 0.17, 0.55
THIN = 0.7  # points, of a line to compare with
UNBOUNDED = (-np.inf, np.inf)
Panel: TypeAlias = tuple[Any, Any]  # a level of the row and one of the column


@dataclass(frozen=True)
class Key:
    """What a legend explains: each series by its name, what the dashes mean, and what is shaded.

    title: of the series.
    """

    series: Mapping[Any, SeriesStyle]
    title: str = ""
    dashes: Mapping[str, Dash] = field(default_factory=dict)
    shaded: str = ""

    def laid_out(self, width: float) -> tuple[dict[str, Any], float]:
        """The arguments of a legend that is so many inches wide, and its height in inches; none if it is empty.

        The title stands before the entries where all fit in one line, else above them.
        """
        handles, scale = self._handles(width), in_force().scale
        if not handles:
            return {}, 0.0
        named = bool(self.title and self.series)
        titled = [Line2D([], [], linestyle="none", label=f"{self.title}:"), *handles] if named else handles
        if sum(map(_entry_width, titled)) <= width:
            return {"handles": titled, "ncols": len(titled)}, scale * (LEGEND_LINE + 0.05)
        widths = [_entry_width(one) for one in handles]
        columns = next(n for n in range(len(handles), 0, -1) if _columns_width(widths, n) <= width or n == 1)
        lines = -(-len(handles) // columns)
        further = sum(sorted(str(one.get_label()).count("\n") for one in handles)[-lines:])
        height = scale * (LEGEND_LINE * (lines + named) + LINE * further + 0.05)
        return {"handles": handles, "ncols": columns, "title": self.title if named else None}, height

    def _handles(self, width: float) -> list[Artist]:
        handle = in_force().scale * LEGEND_HANDLE
        found: list[Artist] = [
            Line2D(
                [],
                [],
                color=style.color,
                marker=style.marker,
                label=wrapped(str(name), width - handle) if width else str(name),
            )
            for name, style in self.series.items()
        ]
        found += [Line2D([], [], color=GREY, linestyle=dash, label=name) for name, dash in self.dashes.items()]
        if self.shaded:
            found.append(Patch(color=GREY, alpha=SHADE_ALPHA, linewidth=0, label=self.shaded))
        return found


def _entry_width(handle: Artist) -> float:
    """Inches of an entry in a legend."""
    return in_force().scale * LEGEND_HANDLE + max(map(width_of, str(handle.get_label()).split("\n")))


def _columns_width(widths: Sequence[float], columns: int) -> float:
    """The width of entries that fill so many columns, one after the other, as a legend splits them."""
    return sum(float(max(part)) for part in np.array_split(widths, columns))


@dataclass(frozen=True)
class Panels:
    """Figures of panels, each for a level of a row and a level of a column, and a series for every level of the hue.

    figures: one, or several parts where one page does not hold all panels. axes: by row level and column level. row,
    col, hue: the columns of a table that hold these levels; where there is one row of panels for all levels, `row` is
    empty.
    """

    figures: tuple[Figure, ...]
    axes: Mapping[Panel, Axes]
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
        band_drawn: bool = True,
    ) -> None:
        """Median and quartiles over `x` in every panel, a line for each level of the hue and, if given, of `dash`.

        What lies beyond the edges is drawn on them; NaN leaves a gap. band_drawn: quartiles too, not the median alone.
        """
        for panel, part in self.cut(band):
            for level, line in part.groupby([self.hue] if dash is None else [self.hue, dash], observed=True):
                look = dashes[level[1]] if dashes else SOLID
                _draw_band(panel, line[x], line, self.series[level[0]], look, edges, band_drawn)

    def draw_runs(self, data: pd.DataFrame, x: str, value: str, edges: tuple[float, float] = UNBOUNDED) -> None:
        """A thin line for each run over `x` in every panel; what lies beyond the edges is drawn on them."""
        for panel, part in self.cut(data):
            for level, own in part.groupby(self.hue, observed=True):
                style = self.series[level]
                lines = [
                    np.column_stack([run[x], run[value].clip(*edges)]) for _, run in own.groupby("run", observed=True)
                ]
                width = 0.5 * THIN * in_force().scale
                panel.add_collection(LineCollection(lines, colors=style.color, linewidths=width, alpha=RUN_ALPHA))
            panel.autoscale_view()

    def alt(self, what: str) -> str:
        """What the figure shows, for those who cannot see it."""
        return captions.alt(what, self.series, self.axes)


@dataclass(frozen=True)
class Asked:
    """What panels are asked for.

    rows, columns: levels with what is written beside the row and on top of the column; long labels are wrapped.
    x_label, y_label: of all panels; y_label may be one for each row. present: panels that hold something, or all.
    shared: panels of equal keys share an axis, x and y; those of a column do where none are given. row_height: inches
    at a size of 8 points, 0 for panels as high as wide. left: inches that tick labels take beyond those of numbers.
    above: inches at a size of 8 points for what stands between legend and panels. fixed: rows stay rows.
    """

    rows: Mapping[Any, str]
    columns: Mapping[Any, str]
    x_label: str
    y_label: str | Mapping[Any, str]
    present: Collection[Panel] | None = None
    shared: Callable[[Panel], tuple[Any, Any]] = lambda panel: (panel[1], panel[1])
    row_height: float = 1.15
    left: float = 0.0
    above: float = 0.0
    fixed: bool = False

    @property
    def panels(self) -> list[Panel]:
        """The panels that hold something, row by row."""
        every = [(row, column) for row in self.rows for column in self.columns]
        return every if self.present is None else [panel for panel in every if panel in self.present]


def grid(asked: Asked, key: Key, ax: Axes | None = None) -> tuple[tuple[Figure, ...], dict[Panel, Axes]]:
    """Empty panels with their labels and a legend, in one figure or several parts, and where each of them stands.

    ax: axes of another figure in place of a figure of their own, for a single panel.
    Raises ValueError if there are axes for one panel and more are asked for.
    """
    if ax is not None:
        return _single(asked, key, ax)
    style = in_force()
    spelled = not isinstance(asked.y_label, str)
    spaces = [
        Space(asked.row_height, asked.left, width, key.laid_out(width)[1] + style.scale * asked.above, spelled)
        for width in dict.fromkeys((style.column, style.page))
    ]
    rows = Labels(list(asked.rows.values()), shared=_alike(asked, within=1))
    columns = Labels(list(asked.columns.values()), shared=_alike(asked, within=0))
    best = arranged(rows, columns, spaces, fixed=asked.fixed)

    across, down = (asked.rows, asked.columns) if best.turned else (asked.columns, asked.rows)
    blocks = [
        (block_down, block_across)
        for block_down in _cut(list(down), best.down)
        for block_across in _cut(list(across), best.across)
    ]
    above, beside = dict(zip(across, best.above, strict=True)), dict(zip(down, best.beside, strict=True))
    figures: list[Figure] = []
    axes: dict[Panel, Axes] = {}
    for part in _cut(blocks, best.stacked):
        drawing = Drawing(figsize=(best.width, best.size), layout=ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.03))
        axes |= _part(drawing, part, asked, best, above, beside)
        if entries := key.laid_out(best.width)[0]:
            drawing.legend(loc="outside upper center", **entries)
        figures.append(drawing)
    return tuple(figures), {panel: axes[panel] for panel in asked.panels}


def _part(
    drawing: Figure,
    blocks: Sequence[tuple[list[Any], list[Any]]],
    asked: Asked,
    best: Arrangement,
    above: Mapping[Any, str],
    beside: Mapping[Any, str],
) -> dict[Panel, Axes]:
    """One figure with the panels of some blocks below one another."""
    lines = [(level, block, side) for block, (down, side) in enumerate(blocks) for level in down]
    spec = drawing.add_gridspec(len(lines), best.across)
    there = set(asked.panels)
    axes: dict[Panel, Axes] = {}
    groups: tuple[dict[Any, Axes], dict[Any, Axes]] = {}, {}  # the first panel of each key
    places: dict[tuple[int, int], tuple[Panel, int]] = {}
    titled: set[tuple[int, int]] = set()  # blocks and columns
    for r, (level, block, side) in enumerate(lines):
        for c, other in enumerate(side):
            panel = (other, level) if best.turned else (level, other)
            if panel not in there:
                continue
            along = [group.get(of) for group, of in zip(groups, asked.shared(panel), strict=True)]
            axes[panel] = drawing.add_subplot(spec[r, c], sharex=along[0], sharey=along[1])
            for group, of in zip(groups, asked.shared(panel), strict=True):
                group.setdefault(of, axes[panel])
            places[r, c] = panel, block
    for (r, c), (panel, block) in places.items():
        own, (x, y) = axes[panel], asked.shared(panel)
        row, column = panel[::-1] if best.turned else panel
        under, before = (places.get(place) for place in ((r + 1, c), (r, c - 1)))
        if (block, c) not in titled:
            own.set_title(above[column])
            titled.add((block, c))
        if (r, c + 1) not in places and beside[row]:
            own.annotate(beside[row], (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center", ma="center")
        own.tick_params(
            labelbottom=under is None or under[1] != block or asked.shared(under[0])[0] != x,
            labelleft=before is None or asked.shared(before[0])[1] != y,
        )
        if not isinstance(asked.y_label, str) and (before is None or best.turned):
            own.set_ylabel(asked.y_label[panel[0]])
    drawing.supxlabel(asked.x_label, fontsize="medium")
    if isinstance(asked.y_label, str):
        drawing.supylabel(asked.y_label, fontsize="medium")
    return axes


def _single(asked: Asked, key: Key, ax: Axes) -> tuple[tuple[Figure, ...], dict[Panel, Axes]]:
    """One panel in axes that are there already."""
    if len(asked.panels) != 1:
        raise ValueError(
            f"ax: holds one panel, and there are {len(asked.panels)}, of {', '.join(asked.rows.values())} and "
            f"{', '.join(asked.columns.values())}; give results of one of them"
        )
    (panel,) = asked.panels
    ax.set_xlabel(asked.x_label)
    ax.set_ylabel(asked.y_label if isinstance(asked.y_label, str) else asked.y_label[panel[0]])
    if entries := key.laid_out(0.0)[0]:
        ax.legend(**entries)
    figure = ax.get_figure(root=True)
    assert figure is not None
    return (figure,), {panel: ax}


def _alike(asked: Asked, within: int) -> bool:
    """Whether panels share their x axis that agree in the row (within = 0) or in the column (1)."""
    keys: dict[Any, set[Any]] = {}
    for panel in asked.panels:
        keys.setdefault(panel[within], set()).add(asked.shared(panel)[0])
    return all(len(found) == 1 for found in keys.values())


def _cut(values: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(values[k : k + size]) for k in range(0, len(values), size)]


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


def _draw_band(
    panel: Axes,
    x: pd.Series,
    band: pd.DataFrame,
    style: SeriesStyle,
    dash: Dash,
    edges: tuple[float, float],
    band_drawn: bool,
) -> None:
    median, low, high = (np.clip(band[name].to_numpy(), *edges) for name in ("median", "q25", "q75"))
    if not np.isfinite(median).any():
        return  # matplotlib cannot space markers on a line without points
    every = (style.offset, MARKER_DISTANCE)
    panel.plot(x, median, color=style.color, linestyle=dash, marker=style.marker, markevery=every)
    if band_drawn:
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


def log_lengths(panel: Axes, tried: np.ndarray) -> None:
    """A logarithmic x axis with the lengths that were tried."""
    panel.set_xscale("log")
    panel.set_xticks(tried, [f"{length:g}" for length in tried], rotation=90 if len(tried) > 4 else 0)
    panel.xaxis.set_minor_locator(NullLocator())


def shares(panel: Axes, runs: int = 0) -> None:
    """A y axis of shares, from 0 to 100 %; with `runs`, it has a tick for each number of runs."""
    panel.set_ylim(-0.06, 1.06)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_yticks([0, 0.5, 1] if runs else [0, 0.25, 0.5, 0.75, 1])
    if runs:
        panel.set_yticks(np.arange(runs + 1) / runs, minor=True)


def log_updates(panel: Axes) -> None:
    """A logarithmic x axis from update 1 on, with update 0 beside it."""
    last = max(panel.dataLim.x1, 1)  # which is -inf in a panel without a line
    panel.set_xscale("symlog", linthresh=1, linscale=0.5)
    panel.set_xlim(-0.2, last * 1.2)
    decades = [10**k for k in range(int(np.log10(last)) + 1)]
    panel.set_xticks([0, *decades], ["0", *map(str, decades)])
    panel.xaxis.set_minor_locator(NullLocator())
