"""A network of coupled, damped and driven oscillators.

Source: Rusch & Mishra 2021, "Coupled oscillatory recurrent neural network (coRNN)", section 2 (arXiv:2010.00951).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I
from tasks.ranges import NonNegative, Positive


@dataclass(frozen=True)
class CoRNN(Cell):
    """h'' = tanh(W_hh h + W_zh h' + W_xh x + b) - gamma h - epsilon h', in steps of dt, z for h'.

    z_t = z_{t-1} + dt (tanh(W_hh h_{t-1} + W_zh z_{t-1} + W_xh x_t + b) - gamma h_{t-1} - epsilon z_{t-1})
    h_t = h_{t-1} + dt z_t

    In the paper h is y, W_hh is W, W_zh a calligraphic W and W_xh is V. The damping is that of the step before (the
    paper's n-bar = n - 1), as in its code; the step is stable where dt epsilon <= 1 and dt^2 gamma is well below 4.

    Without recurrent weights a unit forgets by |l| a step, l the larger eigenvalue of [[1 - dt^2 gamma,
    dt (1 - dt epsilon)], [-dt gamma, 1 - dt epsilon]]: .72 with the constants of the authors' code for adding, which
    leaves 1e-14 after 100 steps; small starts have to grow until the weights hold what these lose.

    dt: length of a step, > 0, in units of time. gamma: square of the frequency without damping, >= 0, per time^2.
    epsilon: damping, >= 0, per time.
    """

    name = "cornn"
    states = ("h", "z")

    dt: Positive
    gamma: NonNegative
    epsilon: NonNegative

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_zh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        h, z = state
        a = h @ weights["W_hh"].mT + z @ weights["W_zh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]
        z = z + self.dt * (torch.tanh(a) - self.gamma * h - self.epsilon * z)
        return h + self.dt * z, z

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {name: weights[name] for name in ("W_hh", "W_zh")}
