"""The one page that holds everything: warnings, overview, figures, settings, and where each run lies."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd

from bench.analysis.figures.plot import EXTENSIONS, Plot
from bench.analysis.report.absences import absences
from bench.analysis.report.claims import claims
from bench.analysis.settings import SETTING, described, settings_of
from bench.analysis.statistics.summaries import wilson
from bench.analysis.statistics.survival import times
from bench.analysis.table import MISSING, Table
from bench.runs.tables import Tables

ENOUGH_SEEDS = 20  # where settings are compared
MOST_CURVES = 500  # runs; of more, the page would be too long
DOTS = 128  # of the page, to an inch of a figure
WIDTH, HEIGHT = 96, 20  # dots, of a run's curve


def write(
    runs: pd.DataFrame,
    results: Tables,
    plots: Sequence[Plot],
    left_out: dict[str, str],
    made: Sequence[Table],
    folder: Path,
) -> Path:
    """Write report.html into `folder`, where the files of the figures and tables already are.

    runs: as `settings.distinguished` returns them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = Path(__file__).with_name("report.js").read_text(encoding="utf-8")
    text = environment.get_template("report.html.j2").render(
        title=", ".join(dict.fromkeys(_name(folder) for folder in runs["folder"])),
        count=len(runs),
        warnings=[*absences(results), *warnings(runs, made)],
        claims=claims(results.runs),
        tables=made,
        plots=[_shown(plot, folder / "figures") for plot in plots],
        extensions=EXTENSIONS,
        left_out=left_out,
        settings=_settings(runs),
        environments=_environments(results.environments),
        runs=_list_of_runs(runs, results, folder),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    page = folder / "report.html"
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(page)
    return page


def warnings(runs: pd.DataFrame, made: Sequence[Table] = ()) -> list[str]:
    """What a reader must know before believing anything, a sentence or two each."""
    n = int(runs.groupby(SETTING, observed=True).size().min())
    found = []
    if n < ENOUGH_SEEDS:
        least, most = wilson(np.array([n, 0]), n)
        found.append(
            f"{n} seeds separate little but all from nothing: the 95 % interval of {n}/{n} is [{least[0]:.2f}, 1], "
            f"that of 0/{n} is [0, {most[1]:.2f}]. Comparing settings takes about {ENOUGH_SEEDS} seeds of each."
        )
    for outcome, word in {"diverged": "diverged", "dead": "died (all units 0)", "failed": "failed"}.items():
        if affected := _affected(runs, runs["outcome"] == outcome):
            found.append(f"{affected[0]} {word} and count as not solved ({affected[1]}).")
    if affected := _affected(runs, times(runs)["stopped"]):
        found.append(f"{affected[0]} were stopped from outside; their times to solve are censored ({affected[1]}).")
    for memory in (table.numbers for table in made if table.name == "memory"):
        beyond = memory[memory["censored"] != ""]
        if len(beyond):
            where = "; ".join(f"{', '.join(map(str, row))}" for row in beyond[SETTING].itertuples(index=False))
            found.append(f"T50 lies outside of the lengths tried, and is only known to ({where}).")
    messages = runs.loc[runs["outcome"] == "failed", "message"].value_counts()
    return found + [f"{count} failed with: {message}" for message, count in messages.items()]


def _affected(runs: pd.DataFrame, those: pd.Series) -> tuple[str, str] | None:
    """`3 of 40 runs`, and how many of which setting."""
    if not those.any():
        return None
    counts = runs[those].groupby(SETTING, observed=True).size()
    where = "; ".join(f"{', '.join(setting)}: {count}" for setting, count in counts.items())
    return f"{those.sum()} of {len(runs)} runs", where


def _shown(plot: Plot, folder: Path) -> dict[str, Any]:
    """A figure with its images within the page: inline, the ids of several figures would clash."""
    images = []
    for figure, stem in zip(plot.figures, plot.stems, strict=True):
        svg = base64.b64encode((folder / f"{stem}.svg").read_bytes()).decode()
        width, height = (round(inches * DOTS) for inches in figure.get_size_inches())
        images.append({"source": f"data:image/svg+xml;base64,{svg}", "width": width, "height": height})
    return {"plot": plot, "images": images}


def _settings(runs: pd.DataFrame) -> dict[str, str]:
    """Every setting with its value, or with which runs have which; a class goes by the name of its yaml."""
    shown = [key for key in settings_of(runs) if key not in SETTING and not key.endswith("_target_")]
    return {key: described(runs, key) for key in sorted(shown, key=lambda key: ("." in key, key))}


def _environments(environments: pd.DataFrame) -> dict[str, str]:
    """What the runs were made with; where they differ, how many runs have what."""
    found = environments.drop(columns=["run", "stretches"], errors="ignore")
    found = found.astype(object).where(found.notna(), "unknown").astype(str)
    if "stretches" in environments:
        several = [told for told in map(_several_commits, environments["stretches"].dropna()) if told]
        found = found.assign(**({"more than one commit": pd.Series(several)} if several else {}))
    counted = {name: column.dropna().value_counts() for name, column in found.items()}
    return {
        str(name): "; ".join(
            f"{value} ({count} runs)" if counts.sum() < len(found) or len(counts) > 1 else str(value)
            for value, count in counts.items()
        )
        for name, counts in counted.items()
    }


def _several_commits(stretches: Sequence[dict[str, Any]]) -> str:
    """Who trained a run from which update on, where that was not one commit of the suite; else the empty word."""
    commits = [f"{one['bench']} {one['commit'] or '(commit unknown)'}" for one in stretches]
    if len(set(commits)) == 1:
        return ""
    return ", ".join(f"{commit} from update {one['update']}" for commit, one in zip(commits, stretches, strict=True))


def _list_of_runs(runs: pd.DataFrame, results: Tables, folder: Path) -> list[dict[str, Any]]:
    """What the page says of every run: its outcome, its files as seen from the page, and its curve."""
    ordered = runs.sort_values([*SETTING, "seed"])
    curves = _curves(results.read("evaluations")) if len(runs) < MOST_CURVES else {}
    return [
        {
            "run": row["run"],
            "files": _files(Path(row["folder"]) / row["run"], folder),
            "curve": curves.get(row["run"], ""),
            **{name: str(row[name]) for name in (*SETTING, "seed", "outcome")},
            "solved_at": _written(row["solved_at"], "{:.0f}"),
            "final_skill": _written(row["final_skill"], "{:.3g}"),
        }
        for row in ordered.to_dict("records")
    ]


def _files(run: Path, folder: Path) -> dict[str, str]:
    """Links to what lies in a run's directory; none of a run that came as a reference."""
    if not run.is_dir():
        return {}
    link = quote(Path(os.path.relpath(run, folder)).as_posix())
    return {name: f"{link}/{name}" for name in ("config.yaml", "run.log")}


def _curves(evaluations: pd.DataFrame) -> dict[str, str]:
    """The skill of each run, clipped to [0, 1], over its updates: the path of a line in a small picture."""
    paths = {}
    for run, table in evaluations.groupby("run", observed=True):
        x = table["update"] / max(table["update"].max(), 1) * WIDTH
        y = HEIGHT - 1 - table["skill"].clip(0, 1) * (HEIGHT - 2)
        points = [f"{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b)]
        paths[str(run)] = "M" + "L".join(points) if points else ""
    return paths


def _name(folder: str) -> str:
    return Path(folder).resolve().name


def _written(value: float, form: str) -> str:
    return MISSING if np.isnan(value) else form.format(value)
