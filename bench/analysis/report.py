"""One page that holds everything: warnings, overview, figures, settings, and where each run lies."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd

from bench.analysis import clouds, dynamics, figures, gradients, solving, spectra, tables
from bench.analysis.plot import EXTENSIONS, NothingToDraw, Plot
from bench.analysis.settings import SETTING, described, distinguished, levels, settings_of
from bench.analysis.statistics import wilson
from bench.results import Tables

MOST_LINES = 12  # settings of one threshold, in a figure
ENOUGH_SEEDS = 20  # where settings are compared


class NothingToReport(ValueError):
    """No run came to an end; the message says why."""


@dataclass(frozen=True)
class Report:
    """page: where the report lies. overview: the table it opens with."""

    page: Path
    overview: tables.Table


def write(results: Tables, folder: Path) -> Report:
    """Write figures/, tables/ and report.html into `folder`.

    A figure without data is left out, and the page says so. Raises NothingToReport if no run came to an end.
    """
    _require_an_end(results.runs)
    runs = distinguished(results.runs)
    plots, left_out = _drawn(runs, results)
    made, without = _tabled(runs, results)

    for plot in plots:
        plot.save(folder / "figures")
    for table in made:
        table.save(folder / "tables")
    for name in left_out:
        _forget(folder / "figures", name)
    for name in without:
        _forget(folder / "tables", name)
    return Report(_write_page(runs, results.environments, plots, left_out, made, folder), made[0])


def _forget(folder: Path, name: str) -> None:
    """Remove what an older report may have left of a figure or table that there is none of now."""
    for path in folder.glob(f"{name}.*"):
        path.unlink()


def _require_an_end(runs: pd.DataFrame) -> None:
    if (runs["outcome"] == "failed").all():
        first = runs["message"].iloc[0]
        raise NothingToReport(f"no run came to an end, {len(runs)} failed, the first with {first}; see their run.log")


def _drawn(runs: pd.DataFrame, results: Tables) -> tuple[list[Plot], dict[str, str]]:
    """All figures for which there are data, and for each of the others why there are none."""
    makers: dict[str, Callable[[], Plot]] = {
        "learning_curves": lambda: figures.learning_curves(runs, results.evaluations),
        "accuracy": lambda: figures.accuracy(runs, results.evaluations),
        "success": lambda: figures.success(runs),
        "scores": lambda: figures.scores(runs),
        "gradient_probe": lambda: gradients.gradient_probe(runs, results.gradient_through_time),
        "gradient_training": lambda: gradients.gradient_training(runs, results.gradient_through_time),
        "spectral_radius": lambda: spectra.spectral_radius(runs, results.spectrum),
        "gate_spectral_radius": lambda: spectra.gate_spectral_radius(runs, results.spectrum),
        "state_jacobian": lambda: spectra.state_jacobian(runs, results.state_jacobian),
        "gradient_map": lambda: dynamics.gradient_map(runs, results.gradient_through_time),
        "decay_and_exponent": lambda: dynamics.decay_and_exponent(
            runs, results.gradient_through_time, results.lyapunov
        ),
        "jacobian_product": lambda: dynamics.jacobian_product(runs, results.jacobian_product),
        "eigenvalues": lambda: clouds.eigenvalues(runs, results.eigenvalues),
        "state": lambda: dynamics.state(runs, results.state),
        "clipped_share": lambda: gradients.clipped_share(runs, results.clipping),
        "gradient_norm": lambda: gradients.gradient_norm(runs, results.clipping),
        "time_to_solve": lambda: solving.time_to_solve(runs),
        "memory_length": lambda: solving.memory_length(runs),
        "performance_profile": lambda: solving.performance_profile(runs),
    }
    plots, left_out = [], {}
    lines = len(levels(runs["cell"]))
    for name, make in makers.items():
        try:
            if lines > MOST_LINES and name != "scores":
                raise NothingToDraw(f"{lines} settings are more than lines can tell apart; see the figure scores")
            plots.append(make())
        except NothingToDraw as reason:
            left_out[name] = str(reason)
    return plots, left_out


def _tabled(runs: pd.DataFrame, results: Tables) -> tuple[list[tables.Table], list[str]]:
    """All tables that have a row, and the names of the others."""
    made = [tables.overview(runs), tables.estimates(runs), tables.comparisons(runs), tables.memory(runs)]
    without = [table.name for table in made if table.numbers.empty]
    if results.clipping.empty:
        without.append("clipping")
    else:
        made.append(tables.clipping(runs, results.clipping))
    return [table for table in made if not table.numbers.empty], without


def _write_page(
    runs: pd.DataFrame,
    environments: pd.DataFrame,
    plots: list[Plot],
    left_out: dict[str, str],
    made: list[tables.Table],
    folder: Path,
) -> Path:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(
        title=", ".join(dict.fromkeys(Path(name).resolve().name for name in runs["folder"])),
        count=len(runs),
        warnings=warnings(runs),
        tables=made,
        plots=[(plot, _data_uri(folder / "figures" / f"{plot.name}.svg")) for plot in plots],
        extensions=EXTENSIONS,
        left_out=left_out,
        settings=_settings(runs),
        environments=_environments(environments),
        runs=_list_of_runs(runs, folder),
    )
    page = folder / "report.html"
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(page)
    return page


def warnings(runs: pd.DataFrame) -> list[str]:
    """What a reader must know before believing anything, a sentence or two each."""
    n = int(runs.groupby(SETTING, observed=True).size().min())
    found = []
    if n < ENOUGH_SEEDS:
        least, most = wilson(np.array([n, 0]), n)
        found.append(
            f"{n} seeds separate little but all from nothing: the 95 % interval of {n}/{n} is [{least[0]:.2f}, 1], "
            f"that of 0/{n} is [0, {most[1]:.2f}]. Comparing settings takes about {ENOUGH_SEEDS} seeds of each."
        )
    for outcome, told in {"diverged": "diverged", "dead": "died (all units 0)", "failed": "failed"}.items():
        affected = runs[runs["outcome"] == outcome]
        if len(affected):
            counts = affected.groupby(SETTING, observed=True).size()
            where = "; ".join(f"{', '.join(setting)}: {count}" for setting, count in counts.items())
            found.append(f"{len(affected)} of {len(runs)} runs {told} and count as not solved ({where}).")
    messages = runs.loc[runs["outcome"] == "failed", "message"].value_counts()
    return found + [f"{count} failed with: {message}" for message, count in messages.items()]


def _settings(runs: pd.DataFrame) -> dict[str, str]:
    """Every setting with its value, or with which runs have which; a class goes by the name of its yaml."""
    shown = [key for key in settings_of(runs) if key not in SETTING and not key.endswith("_target_")]
    return {key: described(runs, key) for key in sorted(shown, key=lambda key: ("." in key, key))}


def _environments(environments: pd.DataFrame) -> dict[str, str]:
    """What the runs were made with; where they differ, how many runs have what."""
    found = environments.drop(columns="run").astype(str)
    counted = {name: column.value_counts() for name, column in found.items()}
    return {
        str(name): "; ".join(
            f"{value} ({count} runs)" if len(counts) > 1 else str(value) for value, count in counts.items()
        )
        for name, counts in counted.items()
    }


def _list_of_runs(runs: pd.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """What the page says of every run, and the link to its configuration, relative to the page."""
    ordered = runs.sort_values([*SETTING, "seed"])
    links = [quote(Path(os.path.relpath(path, folder)).as_posix()) for path in _paths(ordered, "config.yaml")]
    return [
        {
            "link": link,
            "run": row["run"],
            **{name: str(row[name]) for name in (*SETTING, "seed", "outcome")},
            "solved_at": _told(row["solved_at"], "{:.0f}"),
            "final_skill": _told(row["final_skill"], "{:.3g}"),
        }
        for link, (_, row) in zip(links, ordered.iterrows(), strict=True)
    ]


def _told(value: float, form: str) -> str:
    return tables.MISSING if np.isnan(value) else form.format(value)


def _paths(runs: pd.DataFrame, name: str) -> list[Path]:
    return [Path(folder) / run / name for folder, run in zip(runs["folder"], runs["run"], strict=True)]


def _data_uri(svg: Path) -> str:
    """An image within the page: inline, the ids of several figures would clash."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()
