"""What Elman nets have in common whose recurrent weight stays orthogonal by its parametrisation."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from bench.nets.activations import mod_relu
from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I


@dataclass(frozen=True)
class OrthogonalCell(Cell):
    """h_t = modReLU(W_hh h_{t-1} + W_xh x_t), W_hh orthogonal and made from the skew-symmetric matrix A - A^T.

    A class that derives from this one says how (`orthogonal`); the gradient of A is that of the formula, exact.
    """

    @abstractmethod
    def orthogonal(self, skew: Tensor) -> Tensor:
        """W_hh from a skew-symmetric matrix [..., H, H]."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        return {
            "A": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def prepared(self, weights: Weights) -> Weights:
        return {**weights, "W_hh": self.orthogonal(weights["A"] - weights["A"].mT)}

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT
        return (mod_relu(a, weights["b"][..., None, :]),)

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {"W_hh": weights["W_hh"]}
