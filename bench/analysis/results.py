"""Results for a notebook or a script: the tables of some folders, with what `python -m bench.report` makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis import tables
from bench.analysis.figures.plot import Plot
from bench.analysis.report import write
from bench.analysis.settings import distinguished, settings_of, varied
from bench.analysis.table import Table
from bench.runs import references
from bench.runs.tables import Tables
from bench.runs.tables import load as load_tables

FIRST = ("task", "cell")  # columns that people look for, then what was varied, then how it ended
OUTCOME = ("seed", "outcome", "solved_at", "final_skill", "final_loss", "final_accuracy", "updates", "run")


class Results:
    """What some runs came to.

    tables: of the folders, as the analysis reads them; each (`results.evaluations`, `results.spectrum`) is an attribute
    here too.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    @property
    def runs(self) -> pd.DataFrame:
        """A row per run: task, cell, what was varied, seed, outcome, then all other columns."""
        runs = self.tables.runs
        if runs.empty:
            return runs
        first = [*FIRST, *varied(runs, [key for key in settings_of(runs) if key != "seed"], within=FIRST), *OUTCOME]
        known = [name for name in dict.fromkeys(first) if name in runs]
        return runs[[*known, *(name for name in runs if name not in known)]]

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or name == "tables":
            raise AttributeError(name)
        found: pd.DataFrame = getattr(self.tables, name)
        return found

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.tables.names]

    def __repr__(self) -> str:
        runs = self.tables.runs
        if runs.empty:
            return "<results of no run>"
        ends = ", ".join(f"{count} {outcome}" for outcome, count in runs["outcome"].value_counts().items())
        return f"<results of {len(runs)} runs: {ends}>"

    def table(self, name: str) -> Table:
        """A table of the report, such as `overview`. Raises NoSuchTable, which names them all."""
        return tables.named(name, distinguished(self.tables.runs), self.tables)

    def plot(
        self,
        name: str,
        *,
        hue: str | None = None,
        row: str | None = None,
        col: str | None = None,
        x: str | None = None,
        ax: Axes | None = None,
    ) -> Plot:
        """A figure of the report, such as `learning_curves`; a notebook shows it.

        hue, row, col, x: keys of the configuration, such as `optimizer.lr`, that colours, rows and columns of panels,
        and the x axis of `success` tell apart. ax: axes of a figure of yours to draw into, where it is one panel.
        Raises NoSuchFigure, which names them all; NothingToDraw if a table is missing; NoSuchAxis for a key that the
        runs do not have.
        """
        (figure,) = write.chosen_figures(self.tables.runs, [name])
        return figure(self.tables, hue=hue, row=row, col=col, x=x, ax=ax)

    def report(
        self,
        folder: str | Path | None = None,
        *,
        against: str | None = None,
        style: str = "paper",
        hue: str | None = None,
        row: str | None = None,
        col: str | None = None,
        x: str | None = None,
        only: Sequence[str] = (),
    ) -> Path:
        """Write the report, and return its page; what `python -m bench.report` does, with the same options.

        folder: where to write; None for `report` in the folder of the results.
        """
        shown = references.beside(self.tables, against) if against else self.tables
        out = Path(folder) if folder else Path(self.tables.runs["folder"].iloc[0]) / "report"
        return write.write(shown, out, style=style, hue=hue, row=row, col=col, x=x, only=only).page


def load(*folders: str | Path) -> Results:
    """Results of all finished and failed runs below the folders.

    Raises FileNotFoundError if a folder is not there or holds no run.
    """
    return Results(load_tables(*folders))
