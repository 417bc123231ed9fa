"""The state itself, step by step: how large it is, and how many of its units are at their limits or silent."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.nets.cells.cell import Cell
from tasks.ranges import Count

MARGIN = 0.03  # of half the range: a tanh beyond .97 has a slope under .06


@dataclass(frozen=True)
class StateStatistics(Measurement):
    """Norms of each part of the state over the steps of held-out sequences, and shares of its units.

    Columns: state, step from 1 to as many as all sequences have; norm, q05, q95: mean and quantiles of ||h_t|| over
    sequences; saturated: share of values that lie within 3 % of half their range from a bound of it, for of a bounded
    unit little slope is left there. Bounds are those that the cell has (`Cell.bounds`); a part that it shows through a
    tanh (an LSTM's c) is judged by that; saturated is NaN for a part without bounds. active: share of values that are
    not 0. dead: share of units that are 0 at all those steps of all those sequences, the same in every row of a part.

    sequences: how many.
    """

    version = 2
    table = "state"

    sequences: Count

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        steps = snapshot.task.least_steps
        states = snapshot.heldout_states(self.sequences)[1 : steps + 1]
        parts = [torch.stack(part, dim=1) for part in zip(*states, strict=True)]  # each [R, T, B, H]
        names = snapshot.cell.states
        rows = [_rows(snapshot.cell, name, part) for name, part in zip(names, parts, strict=True)]  # columns [R, T]
        return [
            {
                "state": np.repeat(names, steps),
                "step": np.tile(np.arange(1, steps + 1, dtype=np.int32), len(names)),
                **{name: np.concatenate([of[name][r] for of in rows]) for name in rows[0]},
            }
            for r in range(len(parts[0]))
        ]


def _rows(cell: Cell, name: str, values: Tensor) -> dict[str, np.ndarray]:
    norms = values.norm(dim=-1)
    broken = ~norms.isfinite().all(-1)
    low, high = torch.quantile(norms.nan_to_num(), torch.tensor((0.05, 0.95), dtype=norms.dtype).to(norms), dim=-1)
    nonzero = values != 0
    columns = {
        "norm": norms.mean(-1),
        "q05": low,
        "q95": high,
        "saturated": _saturated(cell, name, values),
        "active": nonzero.double().mean((-2, -1)),
        "dead": (~nonzero.any(1).any(1)).double().mean(-1)[:, None].expand(norms.shape[:2]),
    }
    nothing = torch.full_like(columns["norm"], torch.nan)
    return {name: column.where(~broken, nothing).cpu().numpy() for name, column in columns.items()}


def _saturated(cell: Cell, name: str, values: Tensor) -> Tensor:
    """Share of values near a bound, [R, T, B, H] -> [R, T]."""
    cell, name = cell.core, re.sub(r"(-\d+)?(_\d+)?$", "", name)  # of however long ago, of whichever layer
    low, high = cell.bounds.get(name, (-math.inf, math.inf))
    if not math.isfinite(high - low):
        return torch.full(values.shape[:2], torch.nan, dtype=values.dtype, device=values.device)
    if name in cell.squashed:
        values = values.tanh()
    margin = MARGIN * (high - low) / 2
    return ((values < low + margin) | (values > high - margin)).double().mean((-2, -1))
