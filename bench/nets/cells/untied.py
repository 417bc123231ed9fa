"""An Elman net with weights of its own at every step, or at every few: a deep feed-forward net along time.

Sources: the comparison of deep and recurrent nets in Pascanu, Mikolov & Bengio 2013, section 2 (arXiv:1211.5063), and
in Sussillo & Abbott 2015, "Random walk initialization for training very deep feedforward networks"
(arXiv:1412.6558).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.nets.cells.activated import ActivatedCell
from bench.nets.cells.cell import Parameter, Weights
from bench.pack.axes import H, I
from tasks.ranges import Count
from tasks.task import Task

SETS = {"W_hh": -3, "W_xh": -3, "b": -2}  # parameters, and the axis along which their sets lie


@dataclass(frozen=True)
class Untied(ActivatedCell):
    """h_t = phi(W_hh^s h_{t-1} + W_xh^s x_t + b^s), s = floor(t / every), t from 0.

    An `Elman` with ceil(steps / every) sets of weights, each drawn by itself: with every = 1 a feed-forward net of as
    many layers as there are steps, which sees the input bit by bit; with every = steps the Elman net itself. A product
    of different random matrices W^T ... W^1 grows or shrinks by their gain at each factor; a power of one of them does
    so by its spectral radius in the end. Of a spectrum each set has its block.

    activation: phi, one of `ACTIVATIONS`. every: steps that share a set. steps: that there are sets for, no fewer than
        the task has; null in yaml is as many.
    """

    every: Count
    steps: Count

    def refusal(self, task: Task) -> str | None:
        if self.steps >= task.steps:
            return None
        return f"cell.steps={self.steps}: must be >= {task.steps}, the steps of {task.name}"

    @property
    def gates(self) -> tuple[str, ...]:  # type: ignore[override]
        """The sets by number, from 1."""
        return tuple(str(s + 1) for s in range(-(-self.steps // self.every)))

    @property
    def parameters(self) -> dict[str, Parameter]:
        sets = len(self.gates)
        return {
            "W_hh": Parameter("recurrent", (sets, H, H)),
            "W_xh": Parameter("input", (sets, H, I)),
            "b": Parameter("bias", (sets, H), torch_biases=2),
        }

    def prepared(self, weights: Weights) -> Weights:
        """With every set by itself; taking them apart once, the way back puts them together once."""
        apart = {name: weights[name].unbind(axis) for name, axis in SETS.items()}
        return {**weights, **{f"{name}_{s}": own for name, sets in apart.items() for s, own in enumerate(sets)}}

    def at(self, weights: Weights, t: int) -> Weights:
        return {name: weights[f"{name}_{t // self.every}"] for name in SETS}

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return {f"W_hh_{name}": own for name, own in zip(self.gates, weights["W_hh"].unbind(-3), strict=True)}
