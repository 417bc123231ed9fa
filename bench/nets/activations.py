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
    slope: the least and the greatest value of its derivative, or of what trains in its stead.
    surrogate: whether something else trains in the stead of its derivative.
    """

    function: Callable[[Tensor], Tensor]
    bounds: tuple[float, float]
    slope: tuple[float, float]
    surrogate: bool = False


def hard_sigmoid(a: Tensor) -> Tensor:
    """clip(a/6 + 1/2, 0, 1); torch.nn.Hardsigmoid multiplies by a float32 sixth even in float64."""
    return (a / 6 + 0.5).clamp(0, 1)


def binary_step(a: Tensor) -> Tensor:
    """1 where a > 0, else 0, with the gradient of a itself: the "straight-through estimator".

    Source: Bengio, Leonard & Courville 2013, section 4 (arXiv:1308.3432).
    """
    return (a > 0).to(a.dtype) + (a - a.detach())


def mod_relu(a: Tensor, b: Tensor) -> Tensor:
    """sign(a) max(|a| + b, 0): moves every number towards zero by -b and stops there; b is learnt.

    Source: Arjovsky, Shah & Bengio 2016, section 4.5 (arXiv:1511.06464), here for real numbers.
    """
    return a.sign() * torch.relu(a.abs() + b)


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
    # clip(a, -1, 1), as torch.nn.Hardtanh has it: no slope at the bounds themselves
    "hard_tanh": Activation(functional.hardtanh, (-1.0, 1.0), (0.0, 1.0)),
    # a where a > 0, else e^a - 1. Clevert, Unterthiner & Hochreiter 2016 (arXiv:1511.07289), with alpha = 1.
    "elu": Activation(functional.elu, (-1.0, math.inf), (0.0, 1.0)),
    "binary_step": Activation(binary_step, (0.0, 1.0), (1.0, 1.0), surrogate=True),
    # a: a linear net
    "identity": Activation(torch.clone, (-math.inf, math.inf), (1.0, 1.0)),
}
