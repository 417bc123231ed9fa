"""Sentences that every caption owes its reader: how many seeds, which optimizer, which loss."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from bench.analysis.settings import SETTING, levels

BAND = "Line: median over seeds; band: quartiles (25 to 75 %)"
SURVIVORS = "drawn where more than half of the runs have a value"
RUNS = "thin: single seeds (band, for more than 10: quartiles)"
LOSS = "loss: mean over batch and scored steps"
BY_HAND = "settings chosen by hand"


def seeds(runs: pd.DataFrame, *by: str) -> str:
    """`n = 5 seeds` of each setting, or of each group of the columns `by`; the range where they have different ones."""
    n = runs.groupby(list(by or SETTING), observed=True)["seed"].nunique()
    return f"n = {n.min()} seeds" if n.min() == n.max() else f"n = {n.min()} to {n.max()} seeds"


def named(column: str) -> str:
    """What the levels of a column of `runs` are, in words: `clipping threshold`."""
    return "clipping threshold" if column == "clip" else column.removeprefix("by ")


def conditions(runs: pd.DataFrame) -> str:
    """Optimizer, learning rate, batch size, clipping rule, loss reduction, and how settings were chosen."""
    rules = sorted(set(runs["clipping"].astype(str)) - {"none"})
    parts = [
        f"Trained with {_optimizers(runs)}",
        "batch size " + " or ".join(str(size) for size in sorted(runs["batch_size"].unique())),
        f"clipping by {' or '.join(rules)}" if rules else "no clipping",
        LOSS,
        _selection(runs),
    ]
    return "; ".join(parts) + "."


def common(runs: pd.DataFrame) -> str:
    """What holds for all figures of some runs, to be said once beside them."""
    return f"In all figures: {seeds(runs)} of each setting. {BAND}, {SURVIVORS}. {conditions(runs)}"


def _selection(runs: pd.DataFrame) -> str:
    """How learning rates and the like were chosen: by hand, or by a search whose seeds are not these."""
    chosen = runs["selection"].dropna() if "selection" in runs else pd.Series(dtype=str)
    return " or ".join([*([BY_HAND] if len(chosen) < len(runs) else []), *chosen.unique()])


def _optimizers(runs: pd.DataFrame) -> str:
    """`adam, lr 0.001 (tanh) or 0.01 (lstm), on adding; sgd, lr 0.1, on copying`; no task where all agree."""
    of_tasks: dict[str, str] = {}
    for task, group in runs.groupby("task", observed=True):
        used = group.groupby("optimizer", observed=True)
        of_tasks[str(task)] = " or ".join(f"{optimizer}{_rates(same)}" for optimizer, same in used)
    if len(set(of_tasks.values())) == 1:
        return next(iter(of_tasks.values()))
    return "; ".join(f"{text}, on {task}" for task, text in of_tasks.items())


def _rates(runs: pd.DataFrame) -> str:
    if "optimizer.lr" not in runs:
        return ""
    cells = {f"{lr:g}": ", ".join(map(str, levels(same["cell"]))) for lr, same in runs.groupby("optimizer.lr")}
    if len(cells) < 2:
        return "".join(f", lr {lr}" for lr in cells)
    return ", lr " + " or ".join(f"{lr} ({names})" for lr, names in cells.items())


def solved_rule(runs: pd.DataFrame) -> str:
    """When a task counts as solved."""
    rules = " or ".join(runs["solved_rule"].dropna().unique())
    patience = levels(runs["evaluation.hopeless"]) if "evaluation.hopeless" in runs else []
    if not patience:
        return rules
    shares = " or ".join(f"{share:.0%}" for share in patience)
    return (
        f"{rules}; a run whose best skill has not risen by .01 in {shares} of its updates ends and counts as not solved"
    )


def alt(what: str, series: Iterable[object], panels: Iterable[tuple[object, object]]) -> str:
    """What a figure shows, for those who cannot see it: its lines, its panels, and where the numbers are.

    panels: their row and column levels.
    """
    rows, columns = (", ".join(dict.fromkeys(str(level) for level in of)) for of in zip(*panels, strict=True))
    grid = f"a row for each of {rows}; a column" if rows else "one"
    return (
        f"{what}. Lines: {', '.join(map(str, series))}. Panels: {grid} for each of {columns}. Numbers: in the CSV file."
    )
