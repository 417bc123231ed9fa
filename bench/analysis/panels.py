"""Small multiples: a grid of panels that share their axes, and bands drawn into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.analysis.style import TWO_COLUMNS, Look

Panels: TypeAlias = dict[tuple[object, object], Axes]  # by row level and column level
BAND_ALPHA = 0.2
MARKERS_PER_LINE = 4


def grid(
    rows: Sequence[object],
    columns: Mapping[object, str] | Sequence[object],
    x_label: str,
    y_label: str | Mapping[object, str],
    *,
    width: float = TWO_COLUMNS,
    row_height: float = 1.3,
    legend_lines: int = 1,
    share_y: bool | str = "row",
) -> tuple[Figure, Panels]:
    """One panel per row and column level: columns titled on top, rows named on the right.

    columns: levels, with their titles where these differ. y_label: one for all rows, or one for each.
    width, row_height: inches, exact.
    """
    height = row_height * len(rows) + 0.4 + 0.2 * legend_lines
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), sharex="row" if len(rows) > 1 else True, sharey=share_y, squeeze=False)
    titles = columns if isinstance(columns, Mapping) else {column: str(column) for column in columns}
    panels = {(row, column): axes[r, c] for r, row in enumerate(rows) for c, column in enumerate(titles)}
    for column, title in titles.items():
        panels[rows[0], column].set_title(title)
    for row, panel in zip(rows, axes[:, -1], strict=True):
        panel.annotate(str(row), (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center", fontsize=8)
    for row, panel in zip(rows, axes[:, 0], strict=True):
        panel.set_ylabel(y_label if isinstance(y_label, str) else y_label[row])
    figure.supxlabel(x_label, fontsize=8)
    return figure, panels
