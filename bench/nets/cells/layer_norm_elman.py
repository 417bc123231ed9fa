"""The simple recurrent net with layer normalisation of the summed inputs of its units.

Source: Ba, Kiros & Hinton 2016, "Layer normalization", section 3.1, equation 4 (arXiv:1607.06450).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.nets.cells.activated import ActivatedCell
from bench.nets.cells.cell import Parameter, State, Weights
from bench.nets.normalization import layer_normalized
from bench.pack.axes import H, I
from bench.pack.streams import Stream
from tasks.ranges import Positive


@dataclass(frozen=True)
class LayerNormElman(ActivatedCell):
    """h_t = phi(g * (a_t - mean) / sqrt(var + eps) + b), a_t = W_hh h_{t-1} + W_xh x_t, mean and variance over units.

    However large the weights are, a_t comes in at one length: scaling W_hh and W_xh together changes nothing. The gain
    g starts at 1, b by the initialiser of its role.

    activation: phi, one of `ACTIVATIONS`. eps: in units of a^2.
    Differs from the paper: it has no eps; without one a step on which all units have the same sum would divide by 0,
    as the first does where a task's first input is 0.
    """

    eps: Positive

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "g": Parameter("bias", (H,), self.ones),
            "b": Parameter("bias", (H,)),
        }

    def ones(self, random: Stream) -> Tensor:
        """The start of the gain, [H]."""
        return torch.ones(self.hidden, dtype=torch.float64)

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = layer_normalized(h @ weights["W_hh"].mT + x @ weights["W_xh"].mT, self.eps)
        scaled = a * weights["g"][..., None, :] + weights["b"][..., None, :]
        return (self.phi(scaled),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
