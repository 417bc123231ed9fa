"""Where one run stands in the middle of its training: all that another process needs to go on in the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RunState:
    """One run after `update` updates, before it is evaluated and measured there.

    weights: as they lie in a pack, [P]. optimizer: what torch.optim keeps, rows [P] and single numbers.
    series: one value per update, [update]: losses, norms before clipping and what clipping did to them.
    tables: the rows of every table so far, by column.
    diverged_at, ended_at: the update at which it diverged, or at which the stop rule ended it.
    alive: whether any unit was not 0 at the last evaluation.
    seconds: its share of the time that its packs took; clock: that time itself.
    """

    update: int
    weights: np.ndarray
    optimizer: Mapping[str, np.ndarray]
    series: Mapping[str, np.ndarray]
    tables: Mapping[str, Mapping[str, np.ndarray]]
    diverged_at: int | None
    ended_at: int | None
    alive: bool
    seconds: float
    clock: float
