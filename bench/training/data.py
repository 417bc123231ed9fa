"""The sequences that a pack is trained on, judged by and looked at with; each purpose has its own streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from bench.engines.engine import Interventions
from bench.pack.streams import Stream
from tasks.task import Batch, Task

CHUNK = 64  # sequences that the pack is judged by at a time; each chunk has its own stream, so this is part of the data
NUMBERS_AHEAD = 2**20  # training data is drawn for so many updates at once that it has about this many numbers,
NUMBERS_AHEAD_ON_GPU = 2**26  # where it takes longer to ask for them than to draw them


def numbers_ahead(device: torch.device) -> int:
    """How many numbers of training data are drawn at once, or those of one update where these are more."""
    return NUMBERS_AHEAD if device.type == "cpu" else NUMBERS_AHEAD_ON_GPU


@dataclass(frozen=True)
class Sequences:
    """Draws the sequences of every replica from its own seed; a task's own collection is the same for all replicas.

    Those to train on are the task's, all others as the net sees them with its remedies.
    """

    task: Task
    interventions: Interventions
    seeds: Sequence[int]
    dtype: torch.dtype
    device: torch.device

    def stream(self, purpose: str, updates: Sequence[int] | int | None = None) -> Stream:
        """The random numbers of every replica for one purpose."""
        return Stream(self.seeds, purpose, updates, self.dtype, self.device)

    def training(self, size: int, updates: range, task_at: Callable[[int], Task]) -> Iterator[Batch]:
        """The batch of each of these updates, `size` sequences of the task at that update."""
        at_once = numbers_ahead(self.device)
        start = updates.start
        while start < updates.stop:
            task = task_at(start)
            ahead = max(1, at_once // (task.steps * (task.inputs + 1) * size * len(self.seeds)))
            likely = range(start, min(start + ahead, updates.stop))
            drawn = range(start, next((update for update in likely if task_at(update) != task), likely.stop))
            batches = task.sample(self.stream("train", drawn), size)
            yield from map(batches.at, range(len(drawn)))
            start = drawn.stop

    def latest(self, size: int, update: int) -> Batch | None:
        """The last sequences trained on before `update`, up to `CHUNK` of them, drawn once more; None before the first.

        They are those of the task that is judged: in a curriculum as long as there.
        size: of a batch, of which there is at least one.
        """
        updates = range(max(0, update - max(1, CHUNK // size)), update)
        if not updates:
            return None
        drawn = self.task.sample(self.stream("train", updates), size)
        return self._shown(drawn.mapped(lambda part: part.transpose(0, 1).flatten(1, 2)))

    def trained_on(self, count: int) -> list[Batch]:
        """The first `count` sequences of a task's collection to train on, in chunks; none where it has none."""
        collection = self._collection("train", count)
        return [] if collection is None else list(_chunks(collection))

    def judged(self, purpose: str, count: int) -> Iterator[Batch]:
        """`count` sequences for one purpose, in chunks; of a collection its first ones."""
        collection = self._collection(purpose, count)
        if collection is not None:
            yield from _chunks(collection)
            return
        for k, start in enumerate(range(0, count, CHUNK)):
            yield self._shown(self.task.sample(self.stream(purpose, [k]), min(CHUNK, count - start)).at(0))

    def probe(self, count: int) -> Batch:
        """`count` sequences for measurements, the same at every update."""
        return self._collection("heldout", count) or self._shown(self.task.sample(self.stream("probe"), count))

    def _shown(self, batch: Batch) -> Batch:
        return self.interventions.shown(batch, self.task)

    def population(self, count: int) -> Batch:
        """`count` sequences like those trained on, for statistics to judge with; the same at every update."""
        return self._shown(self.task.sample(self.stream("population"), count))

    def _collection(self, purpose: str, count: int) -> Batch | None:
        """The first `count` of a task's own collection, for every replica; None where it has none."""
        collection = self.task.collection(purpose)
        if collection is None:
            return None
        first = collection.at(slice(count))
        first = self._shown(first._replace(inputs=first.inputs.to(self.dtype)))
        return first.mapped(lambda part: part.to(self.device).expand(len(self.seeds), *part.shape))


def _chunks(collection: Batch) -> Iterator[Batch]:
    """All of a collection [R, N, ...], up to 64 sequences at a time."""
    for start in range(0, collection.inputs.shape[1], CHUNK):
        yield collection.at((slice(None), slice(start, start + CHUNK)))
