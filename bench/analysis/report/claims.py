"""What a source says beside what these runs came to, where their experiment names one.

An experiment's yaml has `claims`, a list of

    says: a sentence that was read in the source
    source: Bai et al. 2018, table 1
    where: {task: adding, cell: [lstm, irnn]}   # keys of the configuration, with one value or several
    quantity: solved                            # one of QUANTITIES
    differs: what is not as in the source; leave it out if all is
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.experiments import described, larger
from bench.analysis.settings import levels, matching
from bench.analysis.statistics.summaries import success, wilson


def claims(runs: pd.DataFrame) -> list[dict[str, str]]:
    """`says`, `source`, `got` and `differs` of each claim of these runs' experiments that some of them bear on.

    runs: as loaded. `got` tells cell by cell.
    """
    found = []
    for experiment in levels(runs["experiment"]) if "experiment" in runs else []:
        of_experiment = runs[runs["experiment"] == experiment]
        for claim in _of(str(experiment)):
            chosen = of_experiment[matching(of_experiment, claim["where"])]
            if len(chosen):
                got = "; ".join(f"{cell}: {QUANTITIES[claim['quantity']](own)}" for cell, own in chosen.groupby("cell"))
                found.append(
                    {"says": claim["says"], "source": claim["source"], "got": got, "differs": ""} | _note(claim)
                )
    return found


def _of(experiment: str) -> list[dict[str, Any]]:
    """The claims of an experiment of this suite, and of a larger one that it is made from; none of one that is gone."""
    inherited = [claim | {"differs": _smaller(claim)} for name in larger(experiment) for claim in _of(name)]
    return [*inherited, *described(experiment).get("claims", [])]


def _smaller(claim: Mapping[str, Any]) -> str:
    return "; ".join([*_note(claim).values(), "made as small as two cores train in minutes"])


def _note(claim: Mapping[str, Any]) -> dict[str, str]:
    return {"differs": claim["differs"]} if "differs" in claim else {}


def _solved(runs: pd.DataFrame) -> str:
    """With the interval of as many runs as there are seeds: those of one seed at several thresholds go alike."""
    count, n, seeds = int(success(runs["outcome"]).sum()), len(runs), runs["seed"].nunique()
    low, high = wilson(count / n * seeds, seeds)
    return f"{count}/{n} solved [{low:.2f}, {high:.2f}]" + (f" (of {seeds} seeds)" if seeds < n else "")


def _sequences(runs: pd.DataFrame) -> str:
    """Until the task was solved, of the runs that solved it."""
    solved = (runs["solved_at"] * runs["batch_size"]).dropna()
    message = f"{solved.median():.0f} sequences (median of {len(solved)}), " if len(solved) else ""
    return message + _solved(runs)


def _accuracy(runs: pd.DataFrame) -> str:
    right = runs["final_accuracy"].fillna(0.0)
    return f"accuracy {right.median():.1%} (median of {len(runs)}, {right.min():.1%} to {right.max():.1%})"


def _loss(runs: pd.DataFrame) -> str:
    """On fresh sequences; infinite where it overflowed."""
    return _median(runs["final_loss"].fillna(np.inf), "loss")


def _loss_over_baseline(runs: pd.DataFrame) -> str:
    """In units of that of the best answer without memory."""
    return _median((runs["final_loss"] / runs["baseline_loss"]).fillna(np.inf), "loss / baseline")


def _median(values: pd.Series, name: str) -> str:
    return f"{name} {values.median():.3g} (median of {len(values)}, {values.min():.3g} to {values.max():.3g})"


QUANTITIES: dict[str, Callable[[pd.DataFrame], str]] = {
    "solved": _solved,
    "sequences": _sequences,
    "accuracy": _accuracy,
    "loss": _loss,
    "loss_over_baseline": _loss_over_baseline,
}
