"""Gradient noise that fades: a way out of bad starts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from bench.pack.streams import Stream
from tasks.ranges import NonNegative


@dataclass(frozen=True)
class GradientNoise(Remedy):
    """g <- g + N(0, variance / (1 + n)^decay) at update n = 0, 1 ..., after clipping.

    Costs as many random numbers as there are weights, half an update of a small net.

    variance: eta, of the first update; decay: gamma, .55 in the source.
    Source: Neelakantan et al. 2015, equation 1 (arXiv:1511.06807).
    """

    variance: PerReplica[NonNegative]
    decay: PerReplica[NonNegative]

    def noise(self, view: PackView, random: Stream) -> Tensor:
        draws = random.normal(view.flat.shape[-1])
        deviation = (column(self.variance, draws) / (1.0 + view.update) ** column(self.decay, draws)).sqrt()
        return (deviation * draws * view.trained).to(view.flat.dtype)
