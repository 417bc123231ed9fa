"""Everything that is published of some results: figures, tables, and the page that holds them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml

from bench.analysis import queries, tables
from bench.analysis.figures.facets import Facets
from bench.analysis.figures.figure import Figure, all_figures
from bench.analysis.figures.plot import NothingToDraw, tex
from bench.analysis.figures.style import STYLES, styled
from bench.analysis.report import page
from bench.analysis.report.absences import absences
from bench.analysis.report.standing import standing
from bench.analysis.settings import Layout, distinguished, layout
from bench.analysis.table import Table
from bench.runs.tables import Tables


class NothingToReport(ValueError):
    """No run came to an end; the message says why."""


class NoSuchFigure(ValueError):
    """A name is asked for that no figure has; the message says which there are."""


@dataclass(frozen=True)
class Report:
    """page: where the report lies. overview: the table it opens with.

    standing: how far back these results' cells learn beside those of a reference. absences: what a reader must know of
    the rest.
    """

    page: Path
    overview: Table
    standing: list[str]
    absences: list[str]


def write(
    results: Tables,
    folder: Path,
    *,
    style: str = "paper",
    hue: str | None = None,
    row: str | None = None,
    col: str | None = None,
    x: str | None = None,
    only: Sequence[str] = (),
    pgf: bool = False,
    gif: bool = False,
) -> Report:
    """Write figures/, tables/ and report.html into `folder`.

    style: a name in `style.STYLES`. hue, row, col, x: keys of the configuration, as `settings.layout` takes them. only:
    names of the figures to draw; all if there are none. pgf: a PGF file beside each figure. gif: a GIF beside those
    that move.
    A figure without data is left out, and the page says so. Raises NothingToReport if no run came to an end, NoSuchAxis
    for a key that the runs have not, NoSuchFigure for a name that no figure has, NoTex if PGF is asked for and there is
    no TeX; nothing is written then.
    """
    _require_an_end(results.runs)
    chosen = layout(results.runs, hue=hue, row=row, col=col, x=x)
    if pgf:
        tex()
    runs = distinguished(results.runs)
    with styled(STYLES[style]):
        drawn, left_out = _drawn(results, chosen, only)
    drawn = drawn if gif else [replace(one, plot=replace(one.plot, animation=None)) for one in drawn]
    made, without = _tabled(runs, results)

    for one in drawn:
        one.plot.settle()
        one.plot.save(folder / "figures", pgf=pgf, gif=gif)
    for table in made:
        table.save(folder / "tables")
    for name in left_out:
        _forget(folder / "figures", name)
    for name in without:
        _forget(folder / "tables", name)
    command = _command(results.runs, {"style": style, "hue": hue, "row": row, "col": col, "x": x})
    path = page.write(runs, results, drawn, left_out, made, folder, command)
    return Report(path, made[0], standing(made, runs, results), absences(results))


def _command(runs: pd.DataFrame, options: Mapping[str, str | None]) -> str:
    """The command line that makes such a report again, of the folders that are there."""
    folders = [folder for folder in dict.fromkeys(runs["folder"]) if Path(folder).is_dir()]
    given = [f"--{name}={value}" for name, value in options.items() if value is not None and value != "paper"]
    return shlex.join(["python", "-m", "bench.report", *folders, *given])


def _forget(folder: Path, name: str) -> None:
    """Remove what an older report may have left of a figure or table that there is none of now."""
    for path in folder.glob(f"{name}.*"):
        path.unlink()


def _require_an_end(runs: pd.DataFrame) -> None:
    if (runs["outcome"] == "failed").all():
        first = runs.iloc[0]
        log = Path(first["folder"]) / first["run"] / "run.log"
        more = f"; see {log}" if log.exists() else ""
        raise NothingToReport(f"no run came to an end, {len(runs)} failed, the first with {first['message']}{more}")


def _drawn(results: Tables, layout: Layout, only: Sequence[str]) -> tuple[list[page.Drawn], dict[str, str]]:
    """All figures that are asked for and for which there are data, and for each of the others why there are none."""
    figures = chosen_figures(results.runs, only)
    facets = Facets.of(results, layout)
    drawn, left_out = [], {}
    for figure in figures:
        try:
            drawn.append(page.Drawn(figure.of(facets), figure.needs))
        except NothingToDraw as reason:
            left_out[figure.name] = str(reason)
    return drawn, left_out


def chosen_figures(runs: pd.DataFrame, only: Sequence[str]) -> list[Figure]:
    """The figures of these names, or all, those of the packages that the runs were made with too.

    Raises NoSuchFigure.
    """
    figures = all_figures(_extensions(runs))
    names = [figure.name for figure in figures]
    if unknown := [name for name in only if name not in names]:
        raise NoSuchFigure(f"only={unknown[0]}: there is no such figure; there are {', '.join(names)}")
    return [figure for figure in figures if figure.name in only or not only]


def _extensions(runs: pd.DataFrame) -> list[str]:
    """The users' packages that runs were made with; a list in `runs` is text."""
    named = runs["extensions"].dropna().unique() if "extensions" in runs else []
    return sorted({package for packages in named for package in yaml.safe_load(packages)})


def _tabled(runs: pd.DataFrame, results: Tables) -> tuple[list[Table], list[str]]:
    """All tables that have a row, and the names of the others."""
    made = [table(runs) for table in tables.OF_RUNS]
    without = [table.name for table in made if table.numbers.empty]
    blocks = queries.clipping(results)
    if blocks.empty:
        without.append("clipping")
    else:
        made.append(tables.clipping(runs, blocks))
    return [table for table in made if not table.numbers.empty], without
