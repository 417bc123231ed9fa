"""The nonlinearities of ungated cells, each with its bounds and slope, for cells, measurements and engines alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Activation(NamedTuple):
    """phi(a), element by element.

    bounds: the least and the greatest value that it tends to or takes, infinite for none.
    slope: the least and the greatest value of its derivative.
    """

    function: Callable[[Tensor], Tensor]
    bounds: tuple[float, float]
    slope: tuple[float, float]

    @property
    def bounded(self) -> bool:
        """Whether it has both bounds."""
        return all(map(math.isfinite, self.bounds))


def hard_sigmoid(a: Tensor) -> Tensor:
    """clip(a/6 + 1/2, 0, 1); torch.nn.Hardsigmoid multiplies by a float32 sixth even in float64."""
    return (a / 6 + 0.5).clamp(0, 1)


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, (-1.0, 1.0), (0.0, 1.0)),
    # max(a, 0)
    "relu": Activation(torch.relu, (0.0, math.inf), (0.0, 1.0)),
    # 1 / (1 + e^-a)
    "sigmoid": Activation(torch.sigmoid, (0.0, 1.0), (0.0, 0.25)),
    # a sigmoid(a), also called Swish. Elfwing, Uchibe & Doya 2018 (arXiv:1702.03118), Ramachandran, Zoph & Le 2017
    # (arXiv:1710.05941).
    "silu": Activation(functional.silu, (-0.27846454276107374, math.inf), (-0.09983932012886694, 1.099839320128867)),
    # as torch.nn.Hardsigmoid has it; BinaryConnect's has the slope 1/5
    "hard_sigmoid": Activation(hard_sigmoid, (0.0, 1.0), (0.0, 1 / 6)),
    # a: a linear net
    "identity": Activation(torch.clone, (-math.inf, math.inf), (1.0, 1.0)),
}
