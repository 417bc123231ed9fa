"""What the stored results of the suite come to, as one page: an answer, a figure, n, costs and a command each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from bench.analysis.answers.answer import Answer, NoSuchQuestion, answer, question
from bench.analysis.answers.behind import figures
from bench.analysis.answers.rules import HOLDS
from bench.analysis.experiments import described
from bench.analysis.report.claims import claims
from bench.analysis.table import shortened
from bench.runs.tables import Tables

PICTURES = "results"  # the folder of the figures, beside the page
HEADLINE = "memory_length"  # the experiment that stands first
HEAD = """# Results

What the suite's experiments come to, by the results that come with it; `make experiments` trains them and writes this
page. A prediction *holds* where the 95 % interval of every statistic lies within what it predicts, *does not hold*
where one lies outside, and is *undecided* in between.
"""


def gallery(stored: Sequence[tuple[str, Tables]], folder: Path) -> str:
    """The page, in Markdown: all answers in a table, then a section for each experiment whose results are stored.

    folder: where the page lies.
    """
    ordered = sorted(stored, key=lambda one: (one[0] != HEADLINE, one[0]))
    answers = {name: _answer(name, results) for name, results in ordered}
    sections = (section(name, results, answers[name], folder) for name, results in ordered)
    return "\n".join([HEAD, *_table(answers), *sections])


def _answer(name: str, results: Tables) -> Answer | None:
    """What an experiment's question came to; None where it asks nothing."""
    try:
        return answer(question(name), results)
    except NoSuchQuestion:
        return None


def _table(answers: Mapping[str, Answer | None]) -> list[str]:
    """All questions with what they came to, a row each; nothing where none asks something."""
    rows = []
    for name, found in answers.items():
        if found is not None:
            told = found.question.question.replace("|", "\\|")
            hold = sum(verdict == HOLDS for _, verdict, _ in found.parts)
            rows.append(f"| [{name}](#{name}) | {told} | {found.verdict} | {hold} of {len(found.parts)} |")
    head = ["| experiment | question | the prediction | its parts that hold |", "|---|---|---|---|"]
    return [*head, *rows, ""] if rows else []


def section(name: str, results: Tables, found: Answer | None, folder: Path) -> str:
    """An experiment's question, answer, figure and costs, or beside what its sources say what these runs came to."""
    said = _beside(name, results) if found is None else _said(found)
    lines = [f"## {name}\n", *said, *_shown(name, folder)]
    return "\n".join([*lines, f"{cost(results)}. `python -m bench experiment={name}`\n"])


def cost(results: Tables) -> str:
    """Runs, seeds, sequences, core hours and commit of some results."""
    runs = results.runs
    noted = results.environments.get("commit", pd.Series(dtype=str)).dropna()
    commits = sorted({str(commit)[:12] for commit in noted})
    return (
        f"{len(runs)} runs, {runs.groupby('seed').ngroups} seeds, {shortened(runs['sequences'].sum())} sequences, "
        f"{runs['seconds'].sum() / 3600:.2g} core hours; commit {', '.join(commits) or 'unknown'}"
    )


def draw(name: str, results: Tables, folder: Path) -> list[Path]:
    """Write the figures behind an answer, NAME.png and NAME-FIGURE.png, as far as asked for and drawable."""
    try:
        drawn, _ = figures(question(name), results)
    except NoSuchQuestion:
        return []
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    written = []
    with TemporaryDirectory(dir=pictures) as aside:
        for k, plot in enumerate(drawn):
            plot.save(Path(aside))
            for stem in plot.stems:
                own = pictures / f"{name}{f'-{stem}' if k or stem != plot.stems[0] else ''}.png"
                written.append((Path(aside) / f"{stem}.png").replace(own))
    return written


def _shown(name: str, folder: Path) -> list[str]:
    """The first figure of an experiment, and links to the others."""
    there = folder / PICTURES
    shown = [f"![{name}]({PICTURES}/{name}.png)\n"] if (there / f"{name}.png").exists() else []
    further = {path.stem.removeprefix(f"{name}-"): path.name for path in sorted(there.glob(f"{name}-*.png"))}
    links = ", ".join(f"[{title}]({PICTURES}/{file})" for title, file in further.items())
    return [*shown, *([f"Further figures: {links}.\n"] if links else [])]


def _said(found: Answer) -> list[str]:
    asked, verdict, *parts = found.lines()
    return [
        f"**{asked}** *{verdict.partition(':')[0]}*:{verdict.partition(':')[2]}.\n",
        *(f"- {part.strip()}" for part in parts),
        "",
    ]


def _beside(name: str, results: Tables) -> list[str]:
    """What sources say, with what these runs came to; of an experiment with named lines a link to their page."""
    if isinstance(described(name).get("sweep"), Mapping):
        return [f"[What came of every line](reference/{name}.md).\n"]
    beside = claims(results.runs)
    return [*(f"- {one['source']}: {one['says']} Here: {one['got']}{_differs(one)}." for one in beside), ""]


def _differs(one: dict[str, str]) -> str:
    return f" (differs: {one['differs']})" if one["differs"] else ""
