"""The simple recurrent net of Elman 1990, "Finding structure in time"."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.nets.cells.activated import ActivatedCell
from bench.nets.cells.cell import Parameter, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class Elman(ActivatedCell):
    """h_t = phi(W_hh h_{t-1} + W_xh x_t + b).

    torch.nn.RNN adds two biases, which have equal gradients: there the sum moves twice as fast, and the gradient's norm
    counts it twice.

    activation: phi, one of `ACTIVATIONS`, where formulas, bounds and slopes stand. With `relu`, W_hh = I and b = 0 at
        the start this is the IRNN of Le, Jaitly & Hinton 2015 (arXiv:1504.00941): a configuration and not a class.
    """

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,), torch_biases=2),
        }

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
