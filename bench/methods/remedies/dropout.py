"""What dropout has in common wherever it acts. What stays is scaled up, so judging needs none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.pack.fields import PerReplica, column
from bench.pack.streams import Stream
from tasks.ranges import ShareBelowOne


@dataclass(frozen=True)
class Dropout(Remedy):
    """rate: share dropped."""

    rate: PerReplica[ShareBelowOne]

    def mask(self, shape: tuple[int, ...], random: Stream) -> Tensor:
        """1 / (1 - rate) with probability 1 - rate, else 0."""
        draws = random.uniform(*shape)
        rate = column(self.rate, draws)
        return (draws >= rate).to(draws.dtype) / (1 - rate)
