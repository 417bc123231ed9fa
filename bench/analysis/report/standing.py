"""Where the cells of these results stand among those of a reference, by how long a memory they learn."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.analysis.report.asked import clipped
from bench.analysis.settings import SETTING
from bench.analysis.statistics.memory_length import without_length
from bench.analysis.table import Table
from bench.runs.references import StoredRun
from bench.runs.tables import Tables


def standing(made: Sequence[Table], runs: pd.DataFrame, results: Tables) -> list[str]:
    """A sentence for each setting of these results that has a memory length: T50 and its rank, with intervals.

    made: tables, of which that named `memory` is read. runs: of these results and of the reference that stands beside
    them, as `settings.distinguished` returns them. None without a reference: there is nothing to stand among.
    """
    stored = {run.run_id for run in results.directories if isinstance(run, StoredRun)}
    if not stored:
        return []
    own = runs[~runs["run"].isin(stored)].assign(task=lambda own: without_length(own["task"])).astype(str)
    settings = set(own[SETTING].itertuples(index=False, name=None))
    return [
        f"{row['cell']}, {clipped(row['clip'])}: T50, the length of {row['task']} that half of its runs solve: "
        f"{row['T50']} steps, rank {row['rank']}."
        for memory in made
        if memory.name == "memory"
        for _, row in memory.text.iterrows()
        if tuple(row[SETTING]) in settings
    ]
