"""What became of the runs of one command line, as a row for a page: how many solved, how well, how soon."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.analysis.answers.quantities import quantities
from bench.analysis.answers.rules import TUNING, at_best
from bench.analysis.table import MISSING
from bench.runs.tables import Tables


@dataclass(frozen=True)
class Outcome:
    """solved: of `n` runs. score: median, of skill clipped to [0, 1]. updates: median until solved, may be infinite.

    chosen: settings that were chosen on tuning seeds, whose runs are not counted.
    """

    solved: int
    n: int
    score: float
    updates: float
    chosen: Mapping[str, Any]

    def cells(self) -> list[str]:
        """`5/5`, `.98`, `1200`, with a dash where at least half of the runs never solve."""
        updates = f"{self.updates:.0f}" if np.isfinite(self.updates) else MISSING
        return [f"{self.solved}/{self.n}", f"{self.score:.2f}", updates]


class Outcomes:
    """The outcomes of an experiment's command lines, found by their words."""

    def __init__(self, results: Tables) -> None:
        self.runs = results.runs.merge(quantities(results), left_on="run", right_index=True)
        self.words = {run.run_id: frozenset(run.overrides["overrides"]) for run in results.directories}

    def of(self, fixed: Collection[str], swept: Collection[str]) -> Outcome | None:
        """What became of the runs whose command line has the words `fixed`, and beside them only the keys `swept`.

        All keys but the seed are chosen on tuning seeds. None if there are no such runs.
        """
        free = {"experiment", "sweep", *swept}
        alike = [
            run
            for run, words in self.words.items()
            if {word for word in words if word.partition("=")[0] not in free} == set(fixed)
        ]
        runs = self.runs[self.runs["run"].isin(alike)]
        if runs.empty:
            return None
        runs, chosen = at_best(runs, [key for key in swept if key != "seed"])
        runs = runs[runs["seed"] < TUNING]
        score, updates = (float(np.median(runs[name])) for name in ("score", "updates to solve"))
        return Outcome(int(runs["solved"].sum()), len(runs), score, updates, chosen)
