"""What is done to a gradient that is too long; one small dataclass per rule.

A rule sees the gradient of each replica as one row over all its parameters and treats every row for itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.fields import PerReplica


def gradient_norm(gradient: Tensor) -> Tensor:
    """L2 norm of every replica's gradient without overflow: m ||g / m||, m = max |g|; [R, P] -> float64 [R].

    0 for g = 0; for a float32 gradient non-finite only where an entry is.
    """
    largest = gradient.abs().amax(-1)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    return scale.double() * torch.linalg.vector_norm(gradient / scale[:, None], dim=-1).double()


@dataclass(frozen=True)
class Clipping(ABC):
    """A rule for gradients that are too long."""

    version: ClassVar[int] = 1  # raised whenever the rule changes

    @abstractmethod
    def clip(self, gradient: Tensor, norm: Tensor) -> Tensor:
        """The gradient to step with, from gradient [R, P] and its `gradient_norm` (float64 [R])."""


@dataclass(frozen=True)
class NormClipping(Clipping):
    """Scale a replica's whole gradient so that its norm is at most `threshold`.

    g <- g * min(1, threshold / ||g||), ||.|| the L2 norm over all parameters of one replica.

    threshold: > 0, in units of the gradient; inf is no clipping.
    Raises ValueError if threshold <= 0.
    Source: Pascanu, Mikolov & Bengio 2013, Algorithm 1 (arXiv:1211.5063).
    """

    threshold: PerReplica

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ValueError(f"threshold={self.threshold}: a clipping threshold is greater than 0 (.inf for none)")

    def clip(self, gradient: Tensor, norm: Tensor) -> Tensor:
        factor = torch.where(norm > self.threshold, self.threshold / norm, torch.ones_like(norm))
        # in float64, because threshold / ||g|| of an exploding net may lie below float32's range
        return (gradient.double() * factor[:, None]).to(gradient.dtype)


@dataclass(frozen=True)
class ValueClipping(Clipping):
    """Clip every entry of the gradient to [-threshold, threshold].

    threshold: > 0, in units of the gradient; inf is no clipping.
    Raises ValueError if threshold <= 0.
    Source: Mikolov 2012, "Statistical language models based on neural networks" (thesis).
    """

    threshold: PerReplica

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ValueError(f"threshold={self.threshold}: a clipping threshold is greater than 0 (.inf for none)")

    def clip(self, gradient: Tensor, norm: Tensor) -> Tensor:
        threshold = torch.as_tensor(self.threshold).to(gradient.dtype)[:, None]
        return torch.minimum(torch.maximum(gradient, -threshold), threshold)
