"""A task that is asked at every step what would be right so far; for training, never to judge by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from tasks.task import Batch, Random, Task, own_last


def offers_steps(task: Task) -> bool:
    """Whether a task says what would be right at each step."""
    return type(task).so_far is not Task.so_far


@dataclass(frozen=True)
class Stepwise(Task):
    """`inner` with the same sequences, scored at every step by `so_far`; at the steps that all have where lengths vary.

    inner: a task that offers targets of its steps, and asks for one answer, at the last.
    """

    inner: Task

    @property
    def variants(self) -> Mapping[str, str]:  # type: ignore[override]
        return self.inner.variants

    @property
    def inputs(self) -> int:
        return self.inner.inputs

    @property
    def outputs(self) -> int:
        return self.inner.outputs

    @property
    def steps(self) -> int:
        return self.inner.steps

    @property
    def least_steps(self) -> int:
        return self.inner.least_steps

    @property
    def length(self) -> int | None:
        return getattr(self.inner, "length", None)

    def of_length(self, length: int) -> Task:
        return replace(self, inner=self.inner.of_length(length))

    @property
    def scored(self) -> range:
        return range(self.steps - self.least_steps, self.steps)

    @property
    def probe_step(self) -> int:
        return self.inner.probe_step

    @property
    def baseline_loss(self) -> float:
        return self.inner.baseline_loss

    @property
    def chance_accuracy(self) -> float:
        return self.inner.chance_accuracy

    @property
    def min_lag(self) -> int:
        return self.inner.min_lag

    @property
    def classes(self) -> tuple[str, ...]:
        return self.inner.classes

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.inner.losses(outputs, targets)

    def sample(self, random: Random, sequences: int) -> Batch:
        batch = self.inner.sample(random, sequences)
        targets = own_last(self.inner.so_far(batch)[..., None], batch.lengths, self.steps, self.least_steps)
        return batch._replace(targets=targets[..., 0])
