"""The measurements of a pack: each runs when it is due, and what it finds becomes rows of the replicas' records.

On a GPU, all measurements but those of the training gradient run in the background: the weights are copied without
waiting, and threads on the host's cores look at them with sequences of the host's own. Many small steps, and the
eigenvalues of many small matrices, are slow on a GPU and would stall it. LAPACK holds no lock while it works.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bench.engines.engine import Gradients
from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.nets.network import Network
from bench.pack.registers import whole_registers
from bench.training.record import Record
from tasks.task import Batch, Task

Found = Mapping[str, list[Columns]]  # by measurement the new rows of every replica


@dataclass
class Background:
    """Measurements in other threads: their update, and per part of the pack its replicas and coming result."""

    update: int
    parts: list[tuple[list[int], Future[Found]]]


@dataclass
class Monitor:
    """Measures one pack while it trains.

    records: one per replica; they gain the rows. probe: draws a number of sequences that are never trained on.
    population: a number of such as are trained on. Both lie on the host where threads measure.
    threads: how many measure in the background; 0 measures everything at once.
    """

    measurements: Mapping[str, Measurement]
    network: Network
    task: Task
    records: Sequence[Record]
    probe: Callable[[int], Batch]
    population: Callable[[int], Batch]
    updates: int
    threads: int

    def __post_init__(self) -> None:
        self._moments = {name: measurement.moments(self.updates) for name, measurement in self.measurements.items()}
        self._sequences: dict[tuple[Callable[[int], Batch], int], Batch] = {}
        self._background: list[Background] = []

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))

    def due(self, update: int) -> list[str]:
        """The names of the measurements that are due after `update` updates."""
        return [name for name, updates in self._moments.items() if update in updates]

    def needs_gradient(self, names: Sequence[str]) -> bool:
        """Whether one of these measurements needs the training gradient, through time or not."""
        return self.needs_trace(names) or any(self.measurements[name].needs_gradient for name in names)

    def needs_trace(self, names: Sequence[str]) -> bool:
        """Whether one of these measurements needs the training gradient through time."""
        return any(self.measurements[name].needs_trace for name in names)

    def measure(
        self,
        update: int,
        names: Sequence[str],
        flat: Tensor,
        gradients: Gradients | None,
        rows: Sequence[int],
        trained: Task | None = None,
    ) -> None:
        """Measure the pack with parameters flat [R, P]; add what is found to the records of the replicas in `rows`.

        gradients: those of training, where one of these measurements `needs_gradient`. trained: the task that
        they are of; None is that of the pack.
        """
        if not rows:
            return
        of_gradient = [name for name in names if self.needs_gradient([name])]
        others = [name for name in names if name not in of_gradient]
        if self.threads and others:
            self._measure_in_background(update, others, flat, rows)
        at_once = of_gradient if self.threads else [*of_gradient, *others]
        found = self._found(at_once, flat, gradients, trained)
        self._add(update, rows, {name: [columns[r] for r in rows] for name, columns in found.items()})

    def collect(self) -> None:
        """Add the rows of all background measurements in their places; wait for those that are not done."""
        for begun in self._background:
            for rows, found in begun.parts:
                self._add(begun.update, rows, found.result())
        self._background.clear()
        for record, measurement in itertools.product(self.records, self.measurements.values()):
            record.tables[measurement.table].sort(key=lambda block: block["update"].min(initial=self.updates))

    def _found(
        self,
        names: Sequence[str],
        flat: Tensor,
        gradients: Gradients | None = None,
        trained: Task | None = None,
        rows: Sequence[int] | None = None,
    ) -> Found:
        """What the measurements find of the replicas in `rows`, whose parameters `flat` are; None is all."""
        trace, gradient = {}, None
        if gradients is not None:
            trace = {part: self._as_looked_at(norms) for part, norms in gradients.trace.items()}
            gradient = self._as_looked_at(gradients.gradient)
        heldout, population = (functools.partial(self._drawn, draw, rows) for draw in (self.probe, self.population))
        parameters = self._as_looked_at(flat)
        snapshot = Snapshot(self.network, self.task, parameters, heldout, trace, gradient, trained, population)
        return {name: self.measurements[name].measure(snapshot) for name in names}

    def _measure_in_background(self, update: int, names: Sequence[str], flat: Tensor, rows: Sequence[int]) -> None:
        copy = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=flat.is_cuda).copy_(flat, non_blocking=True)
        copied = torch.cuda.Event() if flat.is_cuda else None
        if copied:
            copied.record()

        def found(part: list[int]) -> Found:
            if copied:
                copied.synchronize()
            return self._found(names, copy[part], rows=part)

        parts = [part.tolist() for part in np.array_split(rows, min(self.threads, len(rows)))]
        self._background.append(Background(update, [(part, self._pool.submit(found, part)) for part in parts]))

    def _add(self, update: int, rows: Sequence[int], found: Found) -> None:
        """Add what was found of these replicas, in their order; of copies after the last one nothing is kept."""
        for name, columns in found.items():
            at = np.full(len(next(iter(columns[0].values()))), update, np.int32)
            for r, new in zip(rows, columns, strict=False):
                self.records[r].tables[self.measurements[name].table].append({"update": at, **new})

    def _drawn(self, draw: Callable[[int], Batch], rows: Sequence[int] | None, count: int) -> Batch:
        """`count` sequences of every replica, or of those in `rows`, the same at every update, in float64."""
        if (draw, count) not in self._sequences:
            batch = draw(count)
            self._sequences[draw, count] = batch._replace(inputs=batch.inputs.double())
        batch = self._sequences[draw, count]
        return (batch if rows is None else batch.at(rows)).mapped(self._as_looked_at)

    def _as_looked_at(self, values: Tensor) -> Tensor:
        """Numbers of every replica [R, ...] as measurements see them, at times with copies of the last one's.

        What stands at the end of a tensor, and does not fill whole vector registers, is computed in another way than
        the rest, and so is the product of a single matrix: then that is a copy.
        """
        hidden, whole = self.network.cell.hidden, whole_registers(torch.float64)
        if hidden % whole == 0 and len(values) > 1:
            return values
        return torch.cat((values, *[values[-1:]] * math.ceil(whole / hidden)))
