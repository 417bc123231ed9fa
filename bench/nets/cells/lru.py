"""A diagonal linear recurrence of complex numbers.

Source: Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences" (LRU, arXiv:2303.06349),
section 3 and the code of appendix A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.nets.complex_units import as_matrix, factors, turned
from bench.pack.axes import H, I
from bench.pack.streams import Stream
from tasks.ranges import Share


@dataclass(frozen=True)
class LRU(Cell):
    """c_t = lambda * c_{t-1} + gamma * (B x_t), c complex [H/2]; h = (Re c, Im c), so B = W_xh [H, I] likewise.

    |lambda| = exp(-exp(nu)) < 1,    arg lambda = exp(theta),    gamma = exp(g)

    nu, theta, g [H/2] are the rows of the parameter `Lambda` [3, H/2]. At the start lambda is uniform on a part of the
    ring r_min <= |lambda| <= r_max, 0 < arg lambda < max_phase, and gamma = sqrt(1 - |lambda|^2), which keeps c as
    large as B x for white noise x. No initialiser could draw that, so `initializer/recurrent` has no say here.

    Its answers are linear in its inputs: on adding, where a value counts only if marked, its skill is at most 2/T.

    r_min, r_max: r_min < r_max. max_phase: radians per step. `hidden` is even.

    Differs from the paper: one layer without the MLP block, normalisation and skip connection around it, and without
    D x_t in the output, because the suite compares recurrences alone; all parameters learn at one rate (in the paper
    those of the recurrence more slowly, and without weight decay); B starts by `initializer/input`, and C, the readout,
    likewise by its role.
    """

    hidden_multiple = 2

    r_min: Share
    r_max: Share
    max_phase: Annotated[float, Gt(0), Le(2 * math.pi)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.r_min < self.r_max:
            raise ValueError(f"r_min={self.r_min}: must be < r_max={self.r_max}")

    @property
    def pairs(self) -> int:
        """H/2, the number of complex units."""
        return self.hidden // 2

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "Lambda": Parameter("recurrent", (3, self.pairs), self.ring),
            "W_xh": Parameter("input", (H, I)),
        }

    def ring(self, random: Stream) -> Tensor:
        """The start of nu, theta and g: [3, H/2]."""
        area, turn = random.uniform(2, self.pairs).double() + 2.0**-25  # within (0, 1): no logarithm is infinite
        log_square = (self.r_min**2 + area * (self.r_max**2 - self.r_min**2)).log()  # of |lambda|^2
        return torch.stack(((-log_square / 2).log(), (turn * self.max_phase).log(), (-log_square.expm1()).log() / 2))

    def prepared(self, weights: Weights) -> Weights:
        """With lambda's parts as they multiply h and h with its halves exchanged, and with gamma B."""
        nu, theta, g = weights["Lambda"].unbind(-2)
        modulus, phase = (-nu.exp()).exp(), theta.exp()
        return {
            **weights,
            **factors(modulus * phase.cos(), modulus * phase.sin()),
            "gamma_B": torch.cat((g, g), dim=-1).exp()[..., None] * weights["W_xh"],
        }

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        return (turned(weights, h) + x @ weights["gamma_B"].mT,)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"Lambda": as_matrix(weights)}
