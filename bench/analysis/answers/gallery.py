"""What the stored results of the suite come to, as one page: an answer, a figure, n, costs and a command each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.analysis.answers.answer import NoSuchQuestion, answer, question
from bench.analysis.answers.behind import figures
from bench.analysis.report.claims import claims
from bench.analysis.table import shortened
from bench.runs.tables import Tables

PICTURES = "results"  # the folder of the figures, beside the page
HEAD = """# Results

What the suite's experiments come to, by the results that come with it; `make experiments` trains them and writes this
page. A prediction *holds* where the 95 % interval of every statistic lies within what it predicts, *does not hold*
where one lies outside, and is *undecided* in between.
"""


def gallery(stored: Sequence[tuple[str, Tables]], folder: Path) -> str:
    """The page, in Markdown: a section for each experiment whose results are stored; folder: where the page lies."""
    return "\n".join([HEAD, *(section(name, results, folder) for name, results in stored)])


def section(name: str, results: Tables, folder: Path) -> str:
    """An experiment\'s question, answer, figure and costs, or beside what its sources say what these runs came to."""
    runs = results.runs
    noted = results.environments.get("commit", pd.Series(dtype=str)).dropna()
    commits = sorted({str(commit)[:12] for commit in noted})
    cost = (
        f"{len(runs)} runs, {runs.groupby('seed').ngroups} seeds, {shortened(runs['sequences'].sum())} sequences, "
        f"{runs['seconds'].sum() / 3600:.2g} core hours; commit {', '.join(commits) or 'unknown'}"
    )
    picture = f"{PICTURES}/{name}.png"
    shown = [f"![{name}]({picture})\n"] if (folder / picture).exists() else []
    return "\n".join([f"## {name}\n", *_said(name, results), *shown, f"{cost}. `python -m bench experiment={name}`\n"])


def draw(name: str, results: Tables, folder: Path) -> Path | None:
    """Write the first figure behind an answer that can be drawn; None where there is none."""
    try:
        drawn, _ = figures(question(name), results)
    except NoSuchQuestion:
        return None
    if not drawn:
        return None
    path = folder / PICTURES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn[0].save(path.parent / ".drawn")
    (path.parent / ".drawn" / f"{drawn[0].name}.png").replace(path)
    for left in (path.parent / ".drawn").iterdir():
        left.unlink()
    (path.parent / ".drawn").rmdir()
    return path


def _said(name: str, results: Tables) -> list[str]:
    try:
        asked, *told = answer(question(name), results).lines()
        verdict, *parts = told
        return [
            f"**{asked}** *{verdict.partition(':')[0]}*:{verdict.partition(':')[2]}.\n",
            *(f"- {part.strip()}" for part in parts),
            "",
        ]
    except NoSuchQuestion:
        beside = claims(results.runs)
        return [*(f"- {one['source']}: {one['says']} Here: {one['got']}{_differs(one)}." for one in beside), ""]


def _differs(one: dict[str, str]) -> str:
    return f" (differs: {one['differs']})" if one["differs"] else ""
