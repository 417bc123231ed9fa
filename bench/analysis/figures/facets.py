"""Results as a figure lays them out: which setting is told apart by colours, which by rows and columns of panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis import captions
from bench.analysis.figures.panels import Asked, Key, Panels, grid, titles
from bench.analysis.figures.plot import need
from bench.analysis.figures.style import Dash, SeriesStyle, series_styles
from bench.analysis.settings import Layout, column_of, laid_out, levels
from bench.runs.tables import Tables

ONE_ROW = ""  # of panels, for all levels
PANEL = "panel"  # column of data, the row of panels that an observation is in


@dataclass(frozen=True)
class Facets:
    """Runs whose labels tell every varied setting apart, by three axes, with all that a figure says of them.

    results: the tables. layout: the keys of the configuration that the axes stand for. runs: one row per run, with a
    column of labels for each axis; what no axis stands for, and differs, is part of the labels of the hue (or of the
    task), so that nothing is pooled unseen. ax: axes to draw into, for a figure of one panel.
    """

    results: Tables
    layout: Layout
    runs: pd.DataFrame
    ax: Axes | None = None

    @classmethod
    def of(cls, results: Tables, layout: Layout, ax: Axes | None = None) -> Facets:
        return cls(results, layout, laid_out(results.runs, layout), ax)

    def along(self, key: str) -> Facets:
        """Facets with the same axes and a setting along x, whose column is `column_of(key)`."""
        return replace(self, runs=laid_out(self.results.runs, self.layout, key))

    @property
    def hue(self) -> str:
        """The column of `runs` whose levels are told apart by colour."""
        return column_of(self.layout.hue)

    @property
    def row(self) -> str:
        """The column of `runs` with a row of panels for each level."""
        return column_of(self.layout.row)

    @property
    def col(self) -> str:
        """The column of `runs` with a column of panels for each level."""
        return column_of(self.layout.col)

    @property
    def by(self) -> list[str]:
        """The columns of all axes; runs that agree in them are repetitions of one another."""
        return [self.row, self.col, self.hue]

    @property
    def row_name(self) -> str:
        """What the levels of `row` are, in words: `clipping threshold`."""
        return captions.named(self.row)

    @property
    def conditions(self) -> str:
        """Optimizer, learning rate, batch size, clipping rule and so on, as a sentence of the caption."""
        return captions.conditions(self.runs)

    def seeds(self, *further: str) -> str:
        """`n = 5 seeds`, of each group of runs that agree in all axes and in further columns."""
        return captions.seeds(self.runs, *self.by, *further)

    def joined(self, table: pd.DataFrame | str, *columns: str) -> pd.DataFrame:
        """Observations, of the table or of that name, with the labels and further columns of their runs.

        Raises NothingToDraw if there are none.
        """
        observed = self.results.read(table) if isinstance(table, str) else table
        wanted = list(dict.fromkeys(("run", *columns, self.hue, self.row, self.col)))
        data = observed.merge(self.runs[wanted], on="run")
        need(data, f"rows in table {table}" if isinstance(table, str) else "such observations")
        return data

    def styles(self, column: str) -> dict[Any, SeriesStyle]:
        """A look for each level of a column of `runs`, the same in every figure of these results."""
        return series_styles(levels(self.runs[column]))

    def panels(
        self,
        data: pd.DataFrame,
        x_label: str,
        y_label: str,
        *,
        row: str | None = None,
        rows: Mapping[Any, str] | None = None,
        hue: str | None = None,
        series: Mapping[Any, SeriesStyle] | None = None,
        dashes: Mapping[str, Dash] | None = None,
        shaded: str = "",
        legend: str = "",
        **more: Any,
    ) -> Panels:
        """Empty panels with a legend, one for every level of row and column in the data.

        row, hue: other columns of the data in place of those of the layout. rows: levels of `row` with what is written
        beside each. series: a style for every level of the hue that is drawn. dashes, shaded: what else the legend
        explains. legend: its title, in place of what the hue is called. more: as `Asked` has it. Rows and columns
        change places where that fits the page better, unless the layout was asked for.
        """
        row, hue = self.row if row is None else row, hue or self.hue
        if rows is None:
            rows = titles(data[row], row) if row else {ONE_ROW: ""}
        if series is None:
            known = self.styles(hue)
            series = {level: known[level] for level in levels(data[hue])}
        columns = titles(data[self.col], self.col)
        if row and row in data and "present" not in more:
            more["present"] = {*data[[row, self.col]].itertuples(index=False, name=None)}
        asked = Asked(rows, columns, x_label, y_label, **{"fixed": self.layout.fixed, **more})
        figures, axes = grid(asked, Key(series, legend or captions.named(hue), dashes or {}, shaded), self.ax)
        return Panels(figures, axes, series, row, self.col, hue)

    def rows_of_quantities(
        self,
        data: pd.DataFrame,
        x_label: str,
        quantities: Mapping[str, str],
        **more: Any,
    ) -> Panels:
        """Empty panels with a legend: a row for each level of `col` and quantity, a column for each level of `row`.

        data: with a column `quantity`; a panel without rows of it is left out. quantities: with what is written beside
        their y axes. The column `PANEL` of the data, which `with_panels` makes, says which row an observation is in.
        """
        levels_of_col = titles(data[self.col], self.col)
        several = len(levels_of_col) > 1
        rows = {f"{level}|{name}": title * several for level, title in levels_of_col.items() for name in quantities}
        words = {f"{level}|{name}": label for level in levels_of_col for name, label in quantities.items()}
        known = self.styles(self.hue)
        series = {level: known[level] for level in levels(data[self.hue])}
        asked = Asked(
            rows,
            titles(data[self.row], self.row),
            x_label,
            words,
            present={*data[[PANEL, self.row]].itertuples(index=False, name=None)},
            shared=lambda panel: (panel[0].rpartition("|")[0], panel[0]),
            fixed=True,
            row_height=more.pop("row_height", 1.0),
        )
        figures, axes = grid(asked, Key(series, captions.named(self.hue), more.get("dashes", {})), self.ax)
        return Panels(figures, axes, series, PANEL, self.row, self.hue)

    def with_panels(self, data: pd.DataFrame) -> pd.DataFrame:
        """Data with a column `quantity`, and with the row of panels that each observation is in."""
        return data.assign(**{PANEL: data[self.col].astype(str) + "|" + data["quantity"].astype(str)})
