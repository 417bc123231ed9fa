"""The one page that holds everything: warnings, overview, figures, settings, and where each run lies."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd

from bench.analysis import captions
from bench.analysis.figures.plot import EXTENSIONS, Plot
from bench.analysis.report.absences import absences
from bench.analysis.report.asked import command_lines, question
from bench.analysis.report.claims import claims
from bench.analysis.report.detail import detail, packed
from bench.analysis.report.differences import differences, values
from bench.analysis.report.findings import findings, in_short, smallness, words
from bench.analysis.report.groups import CLIPPING, GROUPS, HEALTH, LEARNED, group_of
from bench.analysis.report.interactive import library
from bench.analysis.report.standing import standing
from bench.analysis.settings import SETTING, described, levels, settings_of
from bench.analysis.statistics.survival import times
from bench.analysis.table import MISSING, Table
from bench.runs.tables import Tables

MOST_CURVES = 500  # runs; of more, the page would be too long
DOTS = 128  # of the page, to an inch of a figure
WIDTH, HEIGHT = 96, 20  # dots, of a run's curve


@dataclass(frozen=True)
class Drawn:
    """A figure of the report, and the tables that it was made from."""

    plot: Plot
    needs: tuple[str, ...]


def write(
    runs: pd.DataFrame,
    results: Tables,
    drawn: Sequence[Drawn],
    left_out: dict[str, str],
    made: Sequence[Table],
    folder: Path,
    command: str = "python -m bench.report",
) -> Path:
    """Write report.html into `folder`, where the files of the figures and tables already are.

    runs: as `settings.distinguished` returns them. command: makes this report again.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("report.js", "charts.js"))
    scripts = [script for script in (library(), *own) if script]
    numbers = {table.name: table.numbers for table in made}
    text = environment.get_template("report.html.j2").render(
        title=", ".join(dict.fromkeys(_name(folder) for folder in runs["folder"])),
        count=len(runs),
        question=question(runs),
        asked=command_lines(results),
        in_short=in_short(runs),
        smallness=smallness(runs),
        common=captions.common(runs),
        words=words(results.runs),
        solved_rule=captions.solved_rule(runs),
        standing=standing(made, runs, results),
        findings=findings(runs, results, numbers["estimates"]),
        absences=absences(results),
        axes={axis: list(map(str, levels(runs[axis]))) for axis in SETTING},
        groups=_groups(runs, drawn, made, folder, command),
        claims=claims(results.runs),
        extensions=EXTENSIONS,
        left_out=left_out,
        settings=_settings(runs),
        environments=_environments(results.environments),
        runs=_list_of_runs(runs, results, folder),
        detail=packed(detail(runs, results)),
        scripts=scripts,
        interactive=len(scripts) > 2,
        policy=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
    )
    page = folder / "report.html"
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(page)
    return page


def _digest(script: str) -> str:
    """What the page's policy knows a script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _groups(
    runs: pd.DataFrame, drawn: Sequence[Drawn], made: Sequence[Table], folder: Path, command: str
) -> list[dict[str, Any]]:
    """The parts of the page that have something to show, each with its warnings, figures and tables."""
    told = {LEARNED: beyond(made), HEALTH: warnings(runs)}
    groups = [
        {
            "name": name,
            "id": id_,
            "told": told.get(name, []),
            "figures": [_figure(one.plot, folder, command) for one in drawn if group_of(one.needs) == name],
            "tables": [_table(table, runs) for table in made if group_of({table.name} & {CLIPPING}) == name],
        }
        for name, id_ in GROUPS.items()
    ]
    return [group for group in groups if group["told"] or group["figures"] or group["tables"]]


def beyond(made: Sequence[Table]) -> list[str]:
    """Warnings about memory lengths that are only known to lie outside of the lengths tried."""
    found = []
    for memory in (table.numbers for table in made if table.name == "memory"):
        beyond = memory[memory["censored"] != ""]
        if len(beyond):
            where = "; ".join(f"{', '.join(map(str, row))}" for row in beyond[SETTING].itertuples(index=False))
            found.append(f"T50 lies outside of the lengths tried, and is only known to ({where}).")
    return found


def warnings(runs: pd.DataFrame) -> list[str]:
    """How training went wrong, a sentence each."""
    found = []
    for outcome, word in {"diverged": "diverged", "dead": "died (all units 0)", "failed": "failed"}.items():
        if affected := _affected(runs, runs["outcome"] == outcome):
            found.append(f"{affected[0]} {word} and count as not solved ({affected[1]}).")
    if affected := _affected(runs, times(runs)["stopped"]):
        found.append(f"{affected[0]} were stopped from outside; their times to solve are censored ({affected[1]}).")
    messages = runs.loc[runs["outcome"] == "failed", "message"].value_counts()
    return found + [f"{count} failed with: {message}" for message, count in messages.items()]


def _affected(runs: pd.DataFrame, those: pd.Series) -> tuple[str, str] | None:
    """`3 of 40 runs`, and how many of which setting."""
    if not those.any():
        return None
    counts = runs[those].groupby(SETTING, observed=True).size()
    where = "; ".join(f"{', '.join(setting)}: {count}" for setting, count in counts.items())
    return f"{those.sum()} of {len(runs)} runs", where


def _figure(plot: Plot, folder: Path, command: str) -> dict[str, Any]:
    """A figure with its images within the page: inline, the ids of several figures would clash."""
    images = []
    for figure, stem in zip(plot.figures, plot.stems, strict=True):
        svg = base64.b64encode((folder / "figures" / f"{stem}.svg").read_bytes()).decode()
        width, height = (round(inches * DOTS) for inches in figure.get_size_inches())
        images.append({"source": f"data:image/svg+xml;base64,{svg}", "width": width, "height": height})
    return {
        "plot": plot,
        "images": images,
        "copies": {"caption": plot.caption, "command": f"{command} --only {plot.name}"},
    }


def _table(table: Table, runs: pd.DataFrame) -> dict[str, Any]:
    """A table as the page shows it: its rows with the settings that they are of, so that a filter finds them.

    A comparison has a further column, what else differs between the two; where none can be decided, a sentence.
    """
    text = table.text
    numbers = table.numbers
    axes = [{f"data-{axis}": str(row[axis]) for axis in SETTING if axis in row} for row in text.to_dict("records")]
    if table.name == "comparisons":
        axes = [_axes_compared(row) for row in numbers.to_dict("records")]
        text = text.assign(**{"differs in": _differences(numbers, runs)})
    best = [{name for place, name in table.best if place == k} for k in range(len(text))]
    rows = [
        {"axes": of, "cells": cells, "best": bold}
        for of, cells, bold in zip(axes, text.itertuples(index=False, name=None), best, strict=True)
    ]
    copies = {"LaTeX": table.latex(), "CSV": numbers.to_csv(index=False)}
    return {"table": table, "columns": list(text), "rows": rows, "copies": copies, "instead": table.instead}


def _axes_compared(row: dict[Hashable, Any]) -> dict[str, str]:
    """The settings that a comparison is of, two of them with both names."""
    both = f"{row['a']}|{row['b']}"
    of_cells = row["kind"] == "cells"
    return {
        "data-task": str(row["task"]),
        "data-cell": both if of_cells else str(row["within"]),
        "data-clip": str(row["within"]) if of_cells else both,
    }


def _differences(numbers: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    groups = {tuple(map(str, key)): values(own) for key, own in runs.groupby(SETTING, observed=True)}
    found = []
    for row in numbers.to_dict("records"):
        a, b = (
            groups[row["task"], row[side], row["within"]]
            if row["kind"] == "cells"
            else groups[row["task"], row["within"], row[side]]
            for side in "ab"
        )
        found.append(differences(a, b))
    return found


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
            "axes": {f"data-{axis}": str(row[axis]) for axis in SETTING},
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
