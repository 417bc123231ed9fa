"""The simple recurrent net of Elman 1990, "Finding structure in time"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from bench.nets.activations import ACTIVATIONS
from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I
from tasks.ranges import OneOf


@dataclass(frozen=True)
class Elman(Cell):
    """h_t = phi(W_hh h_{t-1} + W_xh x_t + b).

    torch.nn.RNN adds two biases, which have equal gradients: there the sum moves twice as fast, and the gradient's norm
    counts it twice.

    activation: phi, one of `ACTIVATIONS`, where formulas, bounds and slopes stand. With `relu`, W_hh = I and b = 0 at
        the start this is the IRNN of Le, Jaitly & Hinton 2015 (arXiv:1504.00941): a configuration and not a class.
    """

    activation: Annotated[str, OneOf(tuple(ACTIVATIONS))]

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,), torch_biases=2),
        }

    @property
    def surrogate_gradient(self) -> bool:
        return ACTIVATIONS[self.activation].surrogate

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"h": ACTIVATIONS[self.activation].bounds}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]
        return (ACTIVATIONS[self.activation].function(a),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
