"""Pruning of all weights below a threshold."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.pruning import Pruning
from bench.pack.fields import PerReplica, column
from tasks.ranges import NonNegative


@dataclass(frozen=True)
class ThresholdPruning(Pruning):
    """The recurrent weights with |w| < c threshold become zero, and stay so, at a pruning that has come to c.

    `Pruning` has the schedule.

    begin, end: shares of the run. every: in updates. threshold: in units of the weights; 0 is none.
    Source: Han, Pool, Tran & Dally 2015, section 3 (arXiv:1506.02626).
    Differs from the paper: the threshold is given, not a multiple of the standard deviation; the recurrent weight
    alone is pruned, while it is trained.
    """

    threshold: PerReplica[NonNegative]

    def chosen(self, magnitudes: Tensor, come: float) -> Tensor:
        return magnitudes < come * column(self.threshold, magnitudes)
