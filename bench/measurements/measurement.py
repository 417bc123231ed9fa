"""The contract of a measurement: from a look at a pack in training to rows of a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.nets.cells.cell import Cell, State, Weights, held
from bench.nets.network import Network
from tasks.ranges import Checked, Count, CountOrZero
from tasks.task import Batch, Task

Columns = Mapping[str, np.ndarray]  # one replica's new rows of a table, column by column


@dataclass(frozen=True)
class Snapshot:
    """A pack at one moment, as measurements see it: they may look and not touch.

    parameters: as they are trained, [R, P].
    heldout: so many sequences of every replica that are never trained on, inputs in float64 [R, B, T, I]; fewer where
        a task's own collection ends.
    trace: per part of the state, ||dL^(b)/dh_t|| on this update's training batch, [R, B, T]; where lengths vary, at
        the last steps that all sequences have.
    gradient: of the loss on this update's training batch with its penalties, before clipping, [R, P]; None where no
        measurement of this moment `needs_gradient`.
    population: draws so many training sequences, inputs in float64, for cells that take statistics from them; None:
        those held out serve.
    trained: the task that trace and gradient are of, where training is on another than `task`, say a shorter one.
    """

    network: Network
    task: Task
    parameters: Tensor
    heldout: Callable[[int], Batch]
    trace: Mapping[str, Tensor]
    gradient: Tensor | None = None
    trained: Task | None = None
    population: Callable[[int], Batch] | None = None

    @property
    def cell(self) -> Cell:
        return self.network.cell

    @cached_property
    def weights(self) -> Weights:
        """In float64, by symbol, each [R, ...], as the cell has `prepared` them."""
        prepared = self.cell.prepared(self.network.views(self.parameters.double()))
        if not self.cell.population_size:
            return prepared
        return self.cell.with_population(prepared, (self.population or self.heldout)(self.cell.population_size).inputs)

    @cached_property
    def eigenvalues(self) -> dict[str, Tensor]:
        """Eigenvalues of every recurrent block, complex [R, H]; NaN where a weight is not finite."""
        return {name: _eigenvalues(block) for name, block in self.cell.recurrent_blocks(self.weights).items()}

    @cached_property
    def _heldout_states(self) -> dict[int, list[State]]:
        return {}

    def heldout_states(self, count: int) -> list[State]:
        """`states` of `heldout(count)`; measurements that look at as many sequences share them."""
        if count not in self._heldout_states:
            self._heldout_states[count] = self.states(self.heldout(count))
        return self._heldout_states[count]

    def states(self, batch: Batch) -> list[State]:
        """h_0, h_1 ... h_T; a sequence that has ended holds its state."""
        state = self.network.zero_state(self.weights, batch.inputs.shape[1])
        states = [state]
        with torch.no_grad():
            for t, x in enumerate(batch.inputs.unbind(2)):
                after = self.cell.step(self.cell.at(self.weights, t), x, state)
                state = after if batch.lengths is None else held(after, state, batch.lengths <= t)
                states.append(state)
        return states


def _eigenvalues(matrices: Tensor) -> Tensor:
    finite = matrices.isfinite().all(-1).all(-1)
    values: Tensor = torch.linalg.eigvals(matrices.where(finite[..., None, None], torch.zeros_like(matrices)))
    return values.where(finite[..., None], torch.full_like(values, torch.nan))


@dataclass(frozen=True)
class Measurement(Checked, ABC):
    """Something to watch.

    It is measured at update 0, at the last, and between them

    every: at its multiples, 1 is every update; 0 is never; null for
    points_per_decade: at round(10^(j / points_per_decade)), j = 0, 1, ...
    """

    version: ClassVar[int] = 1  # raised whenever the numbers change
    table: ClassVar[str]  # where its rows go
    # columns that tell the rows of one update apart, where each of the others is worth a curve over updates in another
    # program (`bench.exports`); None where they are too many
    series: ClassVar[tuple[str, ...] | None] = None
    needs_gradient: ClassVar[bool] = False  # whether it looks at the training gradient
    needs_trace: ClassVar[bool] = False  # whether it looks at the training gradient through time

    every: CountOrZero | None
    points_per_decade: Count

    def moments(self, last: int) -> set[int]:
        """When to measure in a run of `last` updates."""
        if self.every is not None:
            return {*range(0, last, self.every or last), last}
        count = int(np.log10(max(last, 1)) * self.points_per_decade) + 1
        points = {round(10 ** (j / self.points_per_decade)) for j in range(count)}
        return {0, last} | {point for point in points if point <= last}

    @abstractmethod
    def measure(self, snapshot: Snapshot) -> list[Columns]:
        """The new rows of every replica, in their order."""
