"""What adding, multiplication and delayed XOR share: two of many values are marked, and the last step asks for both.

Where the two markers fall, and how long a sequence is, differs from paper to paper; each such layout is a variant.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from tasks.task import Batch, Random, Task

FIRST_PAIRS = 10  # `hochreiter` marks one of so many first


@dataclass(frozen=True)
class MarkedPair(Task):
    """A function of two marked values, asked at the last step.

    Input at each step: (value, marker), marker 1 at two steps. Layouts, l the steps of a sequence:
        halves: l = T; one marker uniform over the first half (steps 0 .. T//2 - 1), one over the second.
        anywhere: l = T; two different steps, uniform over all.
        pascanu: l = T + U{0 .. T//10 - 1}, one for the batch; one marker uniform over the first tenth (l//10 steps),
            one over the next 4l//10 steps. The marker is the first channel.
        hochreiter: l = T + U{0 .. T//10} per sequence; one marker uniform over the first ten steps, then one over the
            first T//2 - 1 steps that are still unmarked. The first and the last step carry the marker -1 unless
            marked; if the first draw marks the first step, its value is set to `neutral`.

    length: T, in time steps; at least 2, for `pascanu` 10, for `hochreiter` 11.
    """

    neutral: ClassVar[float]

    length: Annotated[int, Ge(2)]

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"pascanu": 10, "hochreiter": FIRST_PAIRS + 1}.get(self.variant, 2)
        if self.length < least:
            raise ValueError(f"length={self.length}: must be >= {least} for {self.name} as {self.variant}")

    @property
    def channels(self) -> tuple[str, ...]:
        return ("marker", "value") if self.variant == "pascanu" else ("value", "marker")

    @property
    def inputs(self) -> int:
        return 2

    @property
    def least_steps(self) -> int:
        return self.length

    @property
    def steps(self) -> int:
        return self.length + {"pascanu": self.length // 10 - 1, "hochreiter": self.length // 10}.get(self.variant, 0)

    @property
    def min_lag(self) -> int:
        return min(steps - 1 - self._earliest_marker(steps)[1] for steps in range(self.length, self.steps + 1))

    @property
    def mean_lag(self) -> float:
        lags = [steps - 1 - self._earliest_marker(steps)[0] for steps in range(self.length, self.steps + 1)]
        return sum(lags) / len(lags)

    def _earliest_marker(self, steps: int) -> tuple[float, int]:
        """Mean and greatest step of the earlier marker in a sequence of so many steps."""
        if self.variant == "anywhere":
            return (steps - 2) / 3, steps - 2
        if self.variant == "hochreiter":
            draws = [(first, second) for first in range(FIRST_PAIRS) for second in range(self.length // 2 - 1)]
            earliest = [min(first, second + (second >= first)) for first, second in draws]
            return sum(earliest) / len(earliest), max(earliest)
        first_marks = steps // 2 if self.variant == "halves" else steps // 10
        return (first_marks - 1) / 2, first_marks - 1

    def sample(self, random: Random, sequences: int) -> Batch:
        values = self._values(random, sequences)
        lengths = self._lengths(random, sequences)
        first, second = self._marked(random, sequences, lengths)
        markers = torch.zeros_like(values)
        if lengths is not None:
            values *= torch.arange(self.steps, device=values.device) < lengths[..., None]
        if self.variant == "hochreiter":
            assert lengths is not None
            values[..., :1] = torch.where(first == 0, self.neutral, values[..., :1])
            markers[..., 0] = -1.0
            markers.scatter_(-1, lengths[..., None] - 1, -1.0)
        marked = torch.cat((first, second), dim=-1)
        markers.scatter_(-1, marked, 1.0)
        channels = {"value": values, "marker": markers}
        inputs = torch.stack([channels[name] for name in self.channels], dim=-1)
        return Batch(inputs, self.answer(*values.gather(-1, marked).unbind(-1))[..., None], lengths)

    def _values(self, random: Random, sequences: int) -> Tensor:
        """[..., sequences, T], uniform on [0, 1) if a task does not say otherwise."""
        return random.uniform(sequences, self.steps)

    def _lengths(self, random: Random, sequences: int) -> Tensor | None:
        """[..., sequences], or None where all have `length` steps."""
        if self.steps == self.length:
            return None
        draws = random.integers(self.steps - self.length + 1, 1 if self.variant == "pascanu" else sequences)
        return self.length + draws.expand(*draws.shape[:-1], sequences)

    def _marked(self, random: Random, sequences: int, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """The two marked steps, each [..., sequences, 1]."""
        if self.variant == "halves":
            half = self.length // 2
            first = random.integers(half, sequences, 1)
            return first, half + random.integers(self.length - half, sequences, 1)
        if self.variant == "pascanu":
            steps = self.length if lengths is None else lengths[..., None]
            first = random.integers(steps // 10, sequences, 1)
            return first, steps // 10 + random.integers(4 * steps // 10, sequences, 1)
        firsts, seconds = (
            (FIRST_PAIRS, self.length // 2 - 1) if self.variant == "hochreiter" else (self.length, self.length - 1)
        )
        first = random.integers(firsts, sequences, 1)
        second = random.integers(seconds, sequences, 1)
        return first, second + (second >= first)  # uniform over the steps that are left

    def so_far(self, batch: Batch) -> Tensor:
        """The answer from the marked values seen so far; one that is still to come counts as `neutral`."""
        values, marked = (batch.inputs[..., self.channels.index(name)] for name in ("value", "marker"))
        marked = marked == 1
        count = marked.cumsum(-1)
        first, second = (
            torch.where(
                count > k, values[marked & (count == k + 1)].unflatten(0, values.shape[:-1])[..., None], self.neutral
            )
            for k in range(2)
        )
        return self.answer(first, second)

    @abstractmethod
    def answer(self, first: Tensor, second: Tensor) -> Tensor:
        """What is asked about the two marked values: [...] and [...] -> [...]."""
