"""A diagonal state-space model: a linear differential equation in complex numbers, with a learnt length of step.

Source: Smith, Warrington & Linderman 2023, "Simplified state space layers for sequence modeling" (S5,
arXiv:2208.04933), sections 3.1 to 3.3 and appendix B; the diagonal form and Re lambda = -exp(a): Gu, Gupta, Goel & Re
2022, "On the parameterization and initialization of diagonal state space models" (S4D, arXiv:2206.11893), section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.nets.complex_units import as_matrix, factors, turned
from bench.pack.axes import H, I
from bench.pack.streams import Stream
from tasks.ranges import Positive


@dataclass(frozen=True)
class S5(Cell):
    """dc/dt = lambda * c + B x, c complex [H/2], sampled exactly for an x that holds during each step.

    c_t = exp(lambda delta) * c_{t-1} + (exp(lambda delta) - 1) / lambda * B x_t    (zero-order hold)
    lambda = -exp(a) + i omega,    delta = exp(d)

    h = (Re c, Im c), so B = W_xh [H, I] likewise. a, omega, d [H/2] are the rows of the parameter `Lambda` [3, H/2]. At
    the start lambda are the H/2 eigenvalues above the real axis of HiPPO-LegS's normal part, -1/2 I + S with
    S[n, k] = sqrt((2n + 1)(2k + 1)) / 2 above the diagonal and the negative of it below, and delta is uniform in its
    logarithm. No initialiser could draw that, so `initializer/recurrent` has no say here. Beside it the LRU is
    discrete from the start: it has no delta, and its own factor before B.

    Its answers are linear in its inputs: on adding, where a value counts only if marked, its skill is at most 2/T.

    dt_min, dt_max: between which delta starts, time units per step, dt_min <= dt_max. `hidden` is even.

    Differs from the paper: one layer without gated activation, normalisation and skip connection, and without D x_t in
    the output, because the suite compares recurrences alone; one block of HiPPO; Re lambda stays negative (S4D's
    choice); B starts by `initializer/input` and not as V^-1 B, C, the readout, likewise by its role; all parameters
    learn at one rate, in the paper lambda, B and delta more slowly.
    """

    name = "s5"
    hidden_multiple = 2

    dt_min: Positive
    dt_max: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dt_min > self.dt_max:
            raise ValueError(f"dt_min={self.dt_min}: must be <= dt_max={self.dt_max}")

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "Lambda": Parameter("recurrent", (3, self.hidden // 2), self.hippo),
            "W_xh": Parameter("input", (H, I)),
        }

    def hippo(self, random: Stream) -> Tensor:
        """The start of a, omega and d: [3, H/2]."""
        root = (2 * torch.arange(self.hidden, dtype=torch.float64) + 1).sqrt() / math.sqrt(2)
        skew = torch.outer(root, root).triu(1)
        omega = torch.linalg.eigvalsh(torch.complex(torch.zeros_like(skew), skew.mT - skew))[self.hidden // 2 :]
        low, high = math.log(self.dt_min), math.log(self.dt_max)
        d = low + (high - low) * random.uniform(self.hidden // 2).double()
        return torch.stack((torch.full_like(omega, math.log(0.5)), omega, d))

    def prepared(self, weights: Weights) -> Weights:
        """With exp(lambda delta) as `factors`, and with B times the factor before it."""
        a, omega, d = weights["Lambda"].unbind(-2)
        decay, delta = a.exp(), d.exp()
        shrink, phase = -decay * delta, omega * delta
        modulus = shrink.exp()
        # exp(lambda delta) - 1 without cancellation where delta is small
        real = shrink.expm1() * phase.cos() - 2 * (phase / 2).sin().square()
        imaginary = modulus * phase.sin()
        square = decay.square() + omega.square()  # |lambda|^2
        held = factors((imaginary * omega - real * decay) / square, -(imaginary * decay + real * omega) / square)
        B = weights["W_xh"]
        exchanged = B.roll(self.hidden // 2, dims=-2)
        return {
            **weights,
            **factors(modulus * phase.cos(), modulus * phase.sin()),
            "held_B": held["real"][..., None] * B + held["imaginary"][..., None] * exchanged,
        }

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        return (turned(weights, h) + x @ weights["held_B"].mT,)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"Lambda": as_matrix(weights)}
