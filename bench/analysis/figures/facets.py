"""Results as a figure lays them out: which setting is told apart by colours, which by rows and columns of panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from bench.analysis import captions
from bench.analysis.figures.panels import Panels, grid, titles
from bench.analysis.figures.plot import need
from bench.analysis.figures.style import SeriesStyle, series_styles
from bench.analysis.settings import Layout, column_of, laid_out, levels
from bench.runs.tables import Tables

ROW_HEIGHT = 1.15  # inches, at a size of 8 points
ONE_ROW = ""  # of panels, for all levels


@dataclass(frozen=True)
class Facets:
    """Runs whose labels tell every varied setting apart, by three axes, with all that a figure says of them.

    results: the tables. layout: the keys of the configuration that the axes stand for. runs: one row per run, with a
    column of labels for each axis; what no axis stands for, and differs, is part of the labels of the hue (or of the
    task), so that nothing is pooled unseen.
    """

    results: Tables
    layout: Layout
    runs: pd.DataFrame

    @classmethod
    def of(cls, results: Tables, layout: Layout) -> Facets:
        return cls(results, layout, laid_out(results.runs, layout))

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
        row_height: float = ROW_HEIGHT,
        left: float = 0.0,
    ) -> Panels:
        """Empty panels, one for every level of row and column in the data.

        row, hue: other columns of the data in place of those of the layout. rows: levels of `row` with what is written
        beside each. series: a style for every level of the hue. row_height, left: as `grid` takes them.
        """
        row, hue = self.row if row is None else row, hue or self.hue
        if rows is None:
            rows = titles(data[row], row) if row else {ONE_ROW: ""}
        figure, axes = grid(rows, titles(data[self.col], self.col), x_label, y_label, row_height, left)
        styles = series_styles(levels(data[hue])) if series is None else series
        return Panels(figure, axes, styles, row, self.col, hue)
