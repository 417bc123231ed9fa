"""What is known of a run when it ends: its outcome, and its tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.measurements.measurement import Columns
from bench.nets.network import Network
from bench.training.outcome import Outcome
from tasks.task import Task

MOST_BLOCKS = 10_000  # of the clipping table: more updates are summed up in blocks


@dataclass
class Record:
    """What is known of a run: its outcome and weights once it has ended, and its tables, one list of row blocks each.

    weights: by symbol, as `Network.views` gives them.
    """

    outcome: Outcome | None = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    tables: dict[str, list[Columns]] = field(default_factory=lambda: defaultdict(list))

    def table(self, name: str) -> dict[str, np.ndarray]:
        """All rows of a table, by column."""
        blocks = self.tables[name]
        return {column: np.concatenate([block[column] for block in blocks]) for column in blocks[0]}


def facts(task: Task, network: Network) -> dict[str, Any]:
    """The columns of an outcome that the task and the network settle."""
    return {
        "baseline_loss": task.baseline_loss,
        "chance_accuracy": task.chance_accuracy,
        "min_lag": task.min_lag,
        "mean_lag": task.mean_lag,
        "steps": task.steps,
        "scored_first": task.scored.start + 1,
        "scored_last": task.scored.stop,
        "parameters": network.parameter_count,
        "recurrent_parameters": network.recurrent_parameter_count,
    }


def clipping_blocks(norms: np.ndarray, shrinks: np.ndarray, cosines: np.ndarray, nonfinite: np.ndarray) -> Columns:
    """What clipping did: at every update of a short run, else in at most 10 000 blocks of equal length.

    Of every update: the norm before clipping, the factor by which it was shortened (NaN where no step was made), the
    cosine between before and after, and whether the gradient was not finite. Least and largest norm are in float64: a
    float32 gradient may be longer than the largest float32 number.
    """
    updates = len(norms)
    length = -(-updates // MOST_BLOCKS)
    starts = np.arange(0, updates, length)
    seen = ~np.isnan(shrinks)
    with np.errstate(divide="ignore"):
        logs = np.where(seen, np.log(norms), 0.0)
    count = np.add.reduceat(seen, starts, dtype=np.int32)
    not_finite = np.add.reduceat(nonfinite, starts, dtype=np.int32)
    columns = {
        "update": np.minimum(starts + length, updates).astype(np.int32),
        "count": count,
        "clipped": np.add.reduceat(seen & (shrinks < 1), starts, dtype=np.int32),
        "nonfinite": not_finite,
        "shrink_sum": np.add.reduceat(np.where(seen, shrinks, 0.0), starts).astype(np.float32),
        "cosine_sum": np.add.reduceat(np.where(seen, cosines, 0.0), starts).astype(np.float32),
        "norm_min": np.minimum.reduceat(np.where(seen, norms, np.inf), starts),
        "norm_max": np.maximum.reduceat(np.where(seen, norms, -np.inf), starts),
        "norm_log_mean": (np.add.reduceat(logs, starts) / np.maximum(count, 1)).astype(np.float32),
    }
    return {name: values[count + not_finite > 0] for name, values in columns.items()}
