"""Sentences that every caption owes its reader: how many seeds, which optimizer, which loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

BAND = "Line: median over seeds; band: quartiles (25 to 75 %)"
LOSS = "loss: mean over batch and scored steps"
SELECTION = "settings chosen by hand"


def seeds(runs: pd.DataFrame, by: Sequence[str] = ("task", "cell", "clip")) -> str:
    """`n = 5 seeds`, or the range where settings have different numbers."""
    n = runs.groupby(list(by), observed=True).size()
    return f"n = {n.min()} seeds" if n.min() == n.max() else f"n = {n.min()} to {n.max()} seeds"


def conditions(runs: pd.DataFrame) -> str:
    """Optimizer, learning rate, batch size, clipping rule, loss reduction, and how settings were chosen."""
    rules = sorted(set(runs["clipping"].astype(str)) - {"none"})
    parts = [
        *_optimizers(runs),
        "batch size " + " or ".join(str(size) for size in sorted(runs["batch_size"].unique())),
        f"clipping by {' or '.join(rules)}" if rules else "no clipping",
        LOSS,
        SELECTION,
    ]
    return "; ".join(parts) + "."


def _optimizers(runs: pd.DataFrame) -> list[str]:
    """`adding: adam with lr 0.001 (tanh, irnn), 0.01 (lstm)`, one for each task; without the task where all agree."""
    texts = {
        task: ", ".join(
            f"{optimizer} with lr {_rates(group)}" for optimizer, group in of_task.groupby("optimizer", observed=True)
        )
        for task, of_task in runs.groupby("task", observed=True)
    }
    if len(set(texts.values())) == 1:
        return [next(iter(texts.values()))]
    return [f"{task}: {text}" for task, text in texts.items()]


def _rates(runs: pd.DataFrame) -> str:
    cells = {
        f"{lr:g}": ", ".join(group["cell"].astype(str).unique()) for lr, group in runs.groupby("optimizer.lr")
    }
    return next(iter(cells)) if len(cells) == 1 else ", ".join(f"{lr} ({names})" for lr, names in cells.items())


def solved_rule(runs: pd.DataFrame) -> str:
    """When a task counts as solved."""
    rules = runs[["evaluation.solved", "evaluation.in_a_row"]].drop_duplicates()
    return " or ".join(
        f"skill of at least {skill:g} at {count:g} evaluations in a row" for skill, count in rules.to_numpy()
    )


def alt(what: str, series: Iterable[object], rows: Iterable[object], columns: Iterable[object]) -> str:
    """What a figure shows, for those who cannot see it: its lines, its panels, and where the numbers are."""
    lines = ", ".join(map(str, series))
    panels = " and ".join(", ".join(filter(None, map(str, names))) for names in (rows, columns))
    return f"{what}. Lines: {lines}. Panels: {panels}. The numbers are in the CSV file beside the figure."
