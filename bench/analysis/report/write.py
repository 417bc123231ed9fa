"""Everything that is published of some results: figures, tables, and the page that holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis import queries, tables
from bench.analysis.figures import clipping, dynamics, gradients, spectra
from bench.analysis.figures import eigenvalues as clouds
from bench.analysis.figures import learning as figures
from bench.analysis.figures import success as solving
from bench.analysis.figures.plot import NothingToDraw, Plot, tex
from bench.analysis.figures.style import STYLES, styled
from bench.analysis.report import page
from bench.analysis.report.absences import absences
from bench.analysis.settings import Layout, column_of, distinguished, laid_out, layout, levels
from bench.analysis.statistics.memory_length import LENGTH
from bench.analysis.table import Table
from bench.runs.tables import Tables

MOST_LINES = 12  # levels of the hue, in a figure


class NothingToReport(ValueError):
    """No run came to an end; the message says why."""


@dataclass(frozen=True)
class Report:
    """page: where the report lies. overview: the table it opens with. absences: what a reader must know of the rest."""

    page: Path
    overview: Table
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
    pgf: bool = False,
) -> Report:
    """Write figures/, tables/ and report.html into `folder`.

    style: a name in `style.STYLES`. hue, row, col, x: keys of the configuration, as `settings.layout` takes them. pgf:
    a PGF file beside each figure.
    A figure without data is left out, and the page says so. Raises NothingToReport if no run came to an end, NoSuchAxis
    for a key that the runs have not, NoTex if PGF is asked for and there is no TeX; nothing is written then.
    """
    _require_an_end(results.runs)
    chosen = layout(results.runs, hue=hue, row=row, col=col, x=x)
    if pgf:
        tex()
    runs = distinguished(results.runs)
    with styled(STYLES[style]):
        plots, left_out = _drawn(results, chosen)
    made, without = _tabled(runs, results)

    for plot in plots:
        plot.save(folder / "figures", pgf=pgf)
    for table in made:
        table.save(folder / "tables")
    for name in left_out:
        _forget(folder / "figures", name)
    for name in without:
        _forget(folder / "tables", name)
    return Report(page.write(runs, results, plots, left_out, made, folder), made[0], absences(results))


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


def _drawn(results: Tables, layout: Layout) -> tuple[list[Plot], dict[str, str]]:
    """All figures for which there are data, and for each of the others why there are none."""
    runs = laid_out(results.runs, layout)
    axes: dict[str, Any] = layout.columns
    flat = {axis: axes[axis] for axis in ("hue", "col")}
    settings = distinguished(results.runs)
    at_ends = queries.gradients_at_ends(results)
    along_x = laid_out(results.runs, layout, layout.x)
    along_length = laid_out(results.runs, layout, LENGTH) if LENGTH in runs else runs
    makers: dict[str, Callable[[], Plot]] = {
        "learning_curves": lambda: figures.learning_curves(runs, results.read("evaluations"), **axes),
        "accuracy": lambda: figures.accuracy(runs, results.read("evaluations"), **axes),
        "success": lambda: figures.success(along_x, **axes, x=column_of(layout.x)),
        "scores": lambda: figures.scores(runs, **axes),
        "gradient_probe": lambda: gradients.gradient_probe(runs, at_ends, **axes),
        "gradient_training": lambda: gradients.gradient_training(runs, at_ends, **axes),
        "spectral_radius": lambda: spectra.spectral_radius(runs, results.read("spectrum"), **axes),
        "gate_spectral_radius": lambda: spectra.gate_spectral_radius(runs, results.read("spectrum"), **axes),
        "state_jacobian": lambda: spectra.state_jacobian(runs, results.read("state_jacobian"), **axes),
        "gradient_map": lambda: dynamics.gradient_map(runs, queries.probes(results), **axes),
        "decay_and_exponent": lambda: dynamics.decay_and_exponent(runs, at_ends, results.read("lyapunov"), **flat),
        "jacobian_product": lambda: dynamics.jacobian_product(runs, results.read("jacobian_product"), **axes),
        "eigenvalues": lambda: clouds.eigenvalues(settings, queries.eigenvalues(results, settings)),
        "state": lambda: dynamics.state(runs, queries.states(results), **axes),
        "clipping": lambda: clipping.clipping(runs, results.read("evaluations"), queries.clipping(results), **axes),
        "time_to_solve": lambda: solving.time_to_solve(runs, **axes),
        "memory_length": lambda: solving.memory_length(along_length, **axes),
        "performance_profile": lambda: solving.performance_profile(runs, **axes),
    }
    plots, left_out = [], {}
    lines = len(levels(runs[axes["hue"]]))
    for name, make in makers.items():
        try:
            if lines > MOST_LINES and name != "scores":
                raise NothingToDraw(f"{lines} settings are more than lines can tell apart; see the figure scores")
            plots.append(make())
        except NothingToDraw as reason:
            left_out[name] = str(reason)
    return plots, left_out


def _tabled(runs: pd.DataFrame, results: Tables) -> tuple[list[Table], list[str]]:
    """All tables that have a row, and the names of the others."""
    made = [tables.overview(runs), tables.estimates(runs), tables.comparisons(runs), tables.memory(runs)]
    without = [table.name for table in made if table.numbers.empty]
    blocks = queries.clipping(results)
    if blocks.empty:
        without.append("clipping")
    else:
        made.append(tables.clipping(runs, blocks))
    return [table for table in made if not table.numbers.empty], without
