"""The figures behind an answer: those that the experiment names, of the runs that are reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis.answers.answer import Question
from bench.analysis.answers.quantities import quantities
from bench.analysis.answers.rules import TUNING, NoSuchRule, at_best
from bench.analysis.figures.figure import all_figures
from bench.analysis.figures.plot import NothingToDraw, Plot
from bench.analysis.settings import NoSuchAxis
from bench.runs.tables import Tables

AT_BEST = "at_best"  # beside a figure's axes: settings of which each group is shown at those chosen on tuning seeds


def figures(asked: Question, results: Tables) -> tuple[list[Plot], list[str]]:
    """The figures that can be drawn, in the order of the yaml, and a line for each of the others."""
    known = {figure.name: figure for figure in all_figures()}
    runs = results.runs
    reported = results.of(set(runs.loc[runs["seed"] < TUNING, "run"]))
    drawn, without = [], []
    for name, keys in asked.figures.items():
        axes: dict[str, Any] = dict(keys)
        chosen = axes.pop(AT_BEST, ())
        try:
            drawn.append(known[name](_best(results, reported, chosen, axes) if chosen else reported, **axes))
        except (NothingToDraw, NoSuchAxis, NoSuchRule) as reason:
            without.append(f"no figure {name}: {reason}")
    return drawn, without


def _best(results: Tables, reported: Tables, chosen: Sequence[str], axes: dict[str, Any]) -> Tables:
    """The reported runs that have, in each group that the axes tell apart, the settings chosen on tuning seeds."""
    runs = results.runs.merge(quantities(results)[["score"]], left_on="run", right_index=True)
    best = pd.concat([at_best(group, chosen)[0] for _, group in runs.groupby(sorted({*axes.values()}))])
    return reported.of(set(best["run"]))
