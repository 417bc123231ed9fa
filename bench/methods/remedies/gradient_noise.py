"""Gradient noise that fades: a way out of bad starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica
from bench.pack.streams import Stream


@dataclass(frozen=True)
class GradientNoise(Remedy):
    """g <- g + N(0, variance / (1 + n)^decay) at update n = 0, 1 ..., after clipping.

    variance: eta >= 0, of the first update; decay: gamma >= 0, .55 in the source.
    Raises ValueError if either is negative.
    Source: Neelakantan et al. 2015, equation 1 (arXiv:1511.06807).
    """

    variance: PerReplica
    decay: PerReplica

    def __post_init__(self) -> None:
        for name in ("variance", "decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: is at least 0")

    def noise(self, view: PackView, random: Stream) -> Tensor:
        variance, decay = (
            torch.as_tensor(value, dtype=torch.float64, device=view.flat.device)[..., None]
            for value in (self.variance, self.decay)
        )
        deviation = (variance / (1.0 + view.update) ** decay).sqrt()
        return (deviation * random.normal(view.flat.shape[-1]) * view.trained).to(view.flat.dtype)
