"""The figures behind an answer: those that the experiment names, of the runs that are reported."""

from __future__ import annotations

from typing import Any

from bench.analysis.answers.answer import Question
from bench.analysis.answers.rules import TUNING
from bench.analysis.figures.figure import all_figures
from bench.analysis.figures.plot import NothingToDraw, Plot
from bench.analysis.settings import NoSuchAxis
from bench.runs.tables import Tables


def figures(asked: Question, results: Tables) -> tuple[list[Plot], list[str]]:
    """The figures that can be drawn, in the order of the yaml, and a line for each of the others."""
    known = {figure.name: figure for figure in all_figures()}
    runs = results.runs
    reported = results.of(set(runs.loc[runs["seed"] < TUNING, "run"]))
    drawn, without = [], []
    for name, keys in asked.figures.items():
        axes: dict[str, Any] = dict(keys)
        try:
            drawn.append(known[name](reported, **axes))
        except (NothingToDraw, NoSuchAxis) as reason:
            without.append(f"no figure {name}: {reason}")
    return drawn, without
