"""The measurements of a pack: each looks when it is due, and what it finds becomes rows of the replicas' records.

On a GPU, what looks at the weights alone is done aside: they are copied without waiting, and threads on the host's
spare cores find the eigenvalues, which are slow on a GPU and would stall it. LAPACK holds no lock while it works.
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

from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.nets.network import Network
from bench.training.record import Record
from tasks.task import Batch, Task

WHOLE_REGISTERS = 16  # torch's vector loops take two registers at a time, on AVX512 16 numbers in float64
Found = Mapping[str, list[Columns]]  # by measurement the new rows of every replica


@dataclass
class Aside:
    """What was asked of other threads: the update, and for each part of the pack the replicas to have rows of it."""

    update: int
    parts: list[tuple[list[int], Future[Found]]]


@dataclass
class Monitor:
    """Watches one pack.

    records: of its replicas, to which rows are added. probe: so many sequences of every replica, never trained on.
    threads: that measure aside; 0 for none, and all is done at once.
    """

    measurements: Mapping[str, Measurement]
    network: Network
    task: Task
    records: Sequence[Record]
    probe: Callable[[int], Batch]
    updates: int
    threads: int

    def __post_init__(self) -> None:
        self._moments = {name: measurement.moments(self.updates) for name, measurement in self.measurements.items()}
        self._probes: dict[int, Batch] = {}
        self._asked: list[Aside] = []

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))

    def due(self, update: int) -> list[str]:
        """The measurements that are to look after so many updates."""
        return [name for name, updates in self._moments.items() if update in updates]

    def needs_trace(self, names: Sequence[str]) -> bool:
        """Whether one of them looks at the training gradient."""
        return any(self.measurements[name].needs_trace for name in names)

    def look(
        self, update: int, names: Sequence[str], flat: Tensor, trace: Mapping[str, Tensor], rows: Sequence[int]
    ) -> None:
        """Measure the pack with parameters flat [R, P]; add what is found to the records of the replicas in `rows`."""
        if not rows:
            return
        aside = [name for name in names if self.threads and self.measurements[name].weights_only]
        if aside:
            self._ask(update, aside, flat, rows)
        found = self._found([name for name in names if name not in aside], flat, trace)
        self._add(update, rows, {name: [columns[r] for r in rows] for name, columns in found.items()})

    def collect(self) -> None:
        """Add what was found aside; wait for what is still being looked for."""
        for asked in self._asked:
            for rows, found in asked.parts:
                self._add(asked.update, rows, found.result())
        self._asked.clear()

    def _found(self, names: Sequence[str], flat: Tensor, trace: Mapping[str, Tensor]) -> Found:
        seen = {part: self._as_looked_at(norms) for part, norms in trace.items()}
        snapshot = Snapshot(self.network, self.task, self._as_looked_at(flat), self._probed, seen)
        return {name: self.measurements[name].measure(snapshot) for name in names}

    def _ask(self, update: int, names: Sequence[str], flat: Tensor, rows: Sequence[int]) -> None:
        copy = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=flat.is_cuda).copy_(flat, non_blocking=True)
        copied = torch.cuda.Event() if flat.is_cuda else None
        if copied:
            copied.record()

        def found(part: list[int]) -> Found:
            if copied:
                copied.synchronize()
            return self._found(names, copy[part], {})

        parts = [part.tolist() for part in np.array_split(rows, min(self.threads, len(rows)))]
        self._asked.append(Aside(update, [(part, self._pool.submit(found, part)) for part in parts]))

    def _add(self, update: int, rows: Sequence[int], found: Found) -> None:
        """Add what was found of these replicas, in their order; of copies after the last one nothing is kept."""
        for name, columns in found.items():
            at = np.full(len(next(iter(columns[0].values()))), update, np.int32)
            for r, new in zip(rows, columns, strict=False):
                self.records[r].tables[self.measurements[name].table].append({"update": at, **new})

    def _probed(self, count: int) -> Batch:
        """The same at every update."""
        if count not in self._probes:
            batch = self.probe(count)
            self._probes[count] = batch._replace(inputs=batch.inputs.double()).mapped(self._as_looked_at)
        return self._probes[count]

    def _as_looked_at(self, values: Tensor) -> Tensor:
        """Numbers of every replica [R, ...] as measurements see them, at times with copies of the last one's.

        What stands at the end of a tensor, and does not fill whole vector registers, is computed in another way than
        the rest, and so is the product of a single matrix: then that is a copy.
        """
        hidden = self.network.cell.hidden
        if hidden % WHOLE_REGISTERS == 0 and len(values) > 1:
            return values
        return torch.cat((values, *[values[-1:]] * math.ceil(WHOLE_REGISTERS / hidden)))
