"""The measurements of a pack: each runs when it is due, and what it finds becomes rows of the replicas' records.

On a GPU, measurements that need nothing but the weights run in the background: the weights are copied without waiting,
and threads on the host's spare cores find the eigenvalues, which are slow on a GPU and would stall it. LAPACK holds no
lock while it works.
"""

from __future__ import annotations

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
    population: a number of such as are trained on.
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
        self._probes: dict[int, Batch] = {}
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
        background = [name for name in names if self.threads and self.measurements[name].weights_only]
        if background:
            self._measure_in_background(update, background, flat, rows)
        found = self._found([name for name in names if name not in background], flat, gradients, trained)
        self._add(update, rows, {name: [columns[r] for r in rows] for name, columns in found.items()})

    def collect(self) -> None:
        """Add the rows of all background measurements; wait for those that are not done."""
        for begun in self._background:
            for rows, found in begun.parts:
                self._add(begun.update, rows, found.result())
        self._background.clear()

    def _found(
        self, names: Sequence[str], flat: Tensor, gradients: Gradients | None, trained: Task | None = None
    ) -> Found:
        trace, gradient = {}, None
        if gradients is not None:
            trace = {part: self._as_looked_at(norms) for part, norms in gradients.trace.items()}
            gradient = self._as_looked_at(gradients.gradient)
        snapshot = Snapshot(
            self.network, self.task, self._as_looked_at(flat), self._probed, trace, gradient, trained, self._population
        )
        return {name: self.measurements[name].measure(snapshot) for name in names}

    def _measure_in_background(self, update: int, names: Sequence[str], flat: Tensor, rows: Sequence[int]) -> None:
        copy = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=flat.is_cuda).copy_(flat, non_blocking=True)
        copied = torch.cuda.Event() if flat.is_cuda else None
        if copied:
            copied.record()

        def found(part: list[int]) -> Found:
            if copied:
                copied.synchronize()
            return self._found(names, copy[part], None)

        parts = [part.tolist() for part in np.array_split(rows, min(self.threads, len(rows)))]
        self._background.append(Background(update, [(part, self._pool.submit(found, part)) for part in parts]))

    def _add(self, update: int, rows: Sequence[int], found: Found) -> None:
        """Add what was found of these replicas, in their order; of copies after the last one nothing is kept."""
        for name, columns in found.items():
            at = np.full(len(next(iter(columns[0].values()))), update, np.int32)
            for r, new in zip(rows, columns, strict=False):
                self.records[r].tables[self.measurements[name].table].append({"update": at, **new})

    def _probed(self, count: int) -> Batch:
        """`count` held-out sequences of every replica, the same at every update, in float64."""
        if count not in self._probes:
            batch = self.probe(count)
            self._probes[count] = batch._replace(inputs=batch.inputs.double()).mapped(self._as_looked_at)
        return self._probes[count]

    def _population(self, count: int) -> Batch:
        """`count` training sequences of every replica, for statistics; the same at every update, in float64."""
        batch = self.population(count)
        return batch._replace(inputs=batch.inputs.double()).mapped(self._as_looked_at)

    def _as_looked_at(self, values: Tensor) -> Tensor:
        """Numbers of every replica [R, ...] as measurements see them, at times with copies of the last one's.

        What stands at the end of a tensor, and does not fill whole vector registers, is computed in another way than
        the rest, and so is the product of a single matrix: then that is a copy.
        """
        hidden, whole = self.network.cell.hidden, whole_registers(torch.float64)
        if hidden % whole == 0 and len(values) > 1:
            return values
        return torch.cat((values, *[values[-1:]] * math.ceil(whole / hidden)))
