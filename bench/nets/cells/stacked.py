"""Several layers of one cell, one upon the other: depth beside the length of time.

Source: Graves, Mohamed & Hinton 2013, section 2 (arXiv:1303.5778); torch.nn.RNN, GRU and LSTM with `num_layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from bench.nets.cells.cell import Cell, Parameter, State, Weights
from bench.pack.axes import H, I
from tasks.ranges import Count
from tasks.task import Task

Value = TypeVar("Value")


@dataclass(frozen=True)
class Stacked(Cell):
    """L layers of a cell, each of H units with weights of its own; the input of a layer is the h of the one below it.

    s^1_t = step(x_t, s^1_{t-1}),    s^l_t = step(h^{l-1}_t, s^l_{t-1}) for l = 2 .. L

    The readout sees the h of the last layer, whose parts of the state keep their names and stand first; those of the
    layers below have their number (`h`, `c`, `h_1`, `c_1` for two of an LSTM). All parameters have the number of their
    layer (`W_hh_1`, `W_hh_2`). From the second layer on the input weight is [H, H], by the initialiser of its role.

    inner: the cell of each layer. layers: L, 2 or more: one layer is the cell itself (`stacked`).
    """

    inner: Cell
    layers: Count

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.inner.name} of {self.layers} layers"

    @property
    def states(self) -> tuple[str, ...]:  # type: ignore[override]
        lower = range(1, self.layers)
        return (*self.inner.states, *(f"{name}_{layer}" for layer in lower for name in self.inner.states))

    @property
    def gates(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.gates

    @property
    def core(self) -> Cell:
        return self.inner.core

    def layerwise(self, change: Callable[[Cell], Cell]) -> Cell:
        return replace(self, inner=self.inner.layerwise(change))

    @property
    def parameters(self) -> dict[str, Parameter]:
        first = self.inner.parameters
        above = {
            name: p._replace(shape=tuple(H if axis == I else axis for axis in p.shape)) for name, p in first.items()
        }
        return _numbered([first, *[above] * (self.layers - 1)])

    def prepared(self, weights: Weights) -> Weights:
        return {**weights, **_numbered([self.inner.prepared(own) for own in self._by_layer(weights)])}

    @property
    def varies(self) -> bool:
        return self.inner.varies

    def at(self, weights: Weights, t: int) -> Weights:
        return _numbered([self.inner.at(own, t) for own in self._by_layer(weights)]) if self.varies else weights

    def refusal(self, task: Task) -> str | None:
        if self.inner.population_size:
            return f"cell.layers={self.layers}: {self.inner.name} takes statistics of one layer; use layers=1"
        return self.inner.refusal(task)

    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        size = len(self.inner.states)
        last, *lower = (state[k : k + size] for k in range(0, len(state), size))
        after = []
        for own, before in zip(self._by_layer(weights), (*lower, last), strict=True):
            after.append(self.inner.step(own, x, before))
            x = after[-1][0]
        return (*after[-1], *(part for layer in after[:-1] for part in layer))

    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        return _numbered([self.inner.recurrent_blocks(own) for own in self._by_layer(weights)])

    def _by_layer(self, weights: Weights) -> list[Weights]:
        """The weights of each layer, by the names that the inner cell has for them."""
        endings = [f"_{layer}" for layer in range(1, self.layers + 1)]
        return [{n.removesuffix(end): weight for n, weight in weights.items() if n.endswith(end)} for end in endings]


def _numbered(by_layer: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """What each layer has by name, with the number of the layer after the name."""
    return {f"{name}_{layer}": value for layer, own in enumerate(by_layer, 1) for name, value in own.items()}


def stacked(cell: Cell, layers: int) -> Cell:
    """So many layers of a cell; one is the cell itself."""
    return cell if layers == 1 else Stacked(cell.hidden, cell, layers)
