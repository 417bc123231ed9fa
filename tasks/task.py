"""The contract of a task: what it shows a net, what it asks for, and what an answer without memory would score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from tasks.naming import Named
from tasks.ranges import Checked, OneOf


class Random(Protocol):
    """Where a task's random numbers come from; each draw is [..., *shape], the leading axes belong to the stream."""

    dtype: torch.dtype

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1)."""

    def integers(self, high: int | Tensor, *shape: int) -> Tensor:
        """Integers in [0, high); `high` may be a tensor that broadcasts."""


class Batch(NamedTuple):
    """Sequences and their answers.

    inputs [..., B, T, I]; targets [..., B, A], A scored steps. lengths [..., B] in time steps, where they vary: a
    shorter sequence is padded with zeros at its end, and its scored steps lie as far from its own end as those of the
    longest from T. None: all have T steps.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `function` applied to each of its tensors."""
        lengths = None if self.lengths is None else function(self.lengths)
        return Batch(function(self.inputs), function(self.targets), lengths)

    def at(self, index: object) -> Batch:
        """The batch with each of its tensors indexed."""
        return self.mapped(lambda part: part[index])  # type: ignore[index]


@dataclass(frozen=True)
class Task(Named, Checked, ABC):
    """A source of sequences with known answers.

    Letters: B sequences, T time steps (`steps`), I `inputs`, O `outputs`, A scored steps. Steps count from 0.
    The lag of a cue is the step of its answer minus its own step, over the earliest cue that matters.
    Where lengths vary, `steps` are those of the longest sequence, `least_steps` those of the shortest, and `scored`
    and `probe_step` are told for the longest.

    variant: one of `variants`. Raises ValueError if it is not.
    """

    version: ClassVar[int] = 1  # raised whenever the numbers that the task produces change
    variants: ClassVar[Mapping[str, str]]  # the forms in which the literature knows it, and where each comes from

    variant: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in self.variants:
            raise ValueError(f"variant={self.variant}: must be {OneOf(tuple(self.variants))} for {self.name}")

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Channels of the input, I."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Channels of the readout, O."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Time steps of a sequence, T."""

    @property
    def least_steps(self) -> int:
        """Time steps of the shortest sequence."""
        return self.steps

    @property
    def scored(self) -> range:
        """The steps whose outputs enter the loss; the last one, if a task does not say otherwise."""
        return range(self.steps - 1, self.steps)

    @property
    def probe_step(self) -> int:
        """The one step from which the gradient probe starts: the first step that needs memory."""
        return self.scored.start

    @property
    @abstractmethod
    def baseline_loss(self) -> float:
        """Least expected loss of a predictor that knows the step but no input."""

    @property
    @abstractmethod
    def chance_accuracy(self) -> float:
        """Expected accuracy of that predictor."""

    @property
    @abstractmethod
    def min_lag(self) -> int:
        """Least lag, in time steps."""

    @property
    def mean_lag(self) -> float:
        """Mean lag, in time steps."""
        return float(self.min_lag)

    @property
    def historical_accuracy(self) -> float | None:
        """Share of right answers at which the variant's source calls the task solved; None if it names none."""
        return None

    @property
    def symbolic(self) -> bool:
        """Whether the input channels are symbols, of which each step shows one."""
        return False

    @property
    def channels(self) -> tuple[str, ...]:
        """What the input channels show, a word for each."""
        return tuple(map(str, range(self.inputs)))

    @property
    def classes(self) -> tuple[str, ...]:
        """What the output channels stand for, a word for each; empty where the answer is a number."""
        return tuple(map(str, range(self.outputs))) if self.outputs > 1 else ()

    @property
    def fingerprint(self) -> str | None:
        """Digest of data that lie outside the suite; None where all is made from the fields."""
        return None

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Rows and columns of the image that each sequence shows; None where it shows none."""
        return None

    def as_images(self, inputs: Tensor) -> Tensor:
        """The images that inputs [..., T, I] show, [..., rows, columns]; only where there is an `image_shape`."""
        raise NotImplementedError

    def as_sequences(self, images: Tensor) -> Tensor:
        """The inputs [..., T, I] that show images [..., rows, columns]; only where there is an `image_shape`."""
        raise NotImplementedError

    @abstractmethod
    def sample(self, random: Random, sequences: int) -> Batch:
        """Draw `sequences` training sequences for every leading axis of `random`."""

    def collection(self, purpose: str) -> Batch | None:
        """All sequences there are to judge by, [N, ...]: `heldout` while training, `final` after it.

        `train`: as many that are trained on, to be judged beside those held out.
        None where `sample` makes new ones without end.
        """
        return None

    def so_far(self, batch: Batch) -> Tensor:
        """What would be right at each step, were the sequence to end there: targets [..., B, T].

        For a task that asks for one answer, at the last step, where its targets are those of `batch`; a task that does
        not override it offers none.
        """
        raise NotImplementedError

    def of_length(self, length: int) -> Task:
        """The task with another `length`, for tasks that have one. Raises ValueError where that is too short."""
        sized: Any = self
        other: Task = replace(sized, length=length)
        return other

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of every scored step: outputs [..., B, A, O], targets [..., B, A] -> [..., B, A].

        Cross-entropy in nats where the answer is a class, squared error where it is a number.
        """
        return cross_entropy(outputs, targets) if self.classes else squared_error(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether each answer that needs memory is right: [..., B, number of such answers], bool.

        The most likely class is the answer; a task whose answer is a number says how near is right.
        """
        return outputs.argmax(-1) == targets


def own_last(values: Tensor, lengths: Tensor | None, steps: int, count: int) -> Tensor:
    """The `count` values up to each sequence's own last step.

    values [..., B, S, X] of the last S of `steps` steps, lengths [..., B] -> [..., B, count, X].
    """
    if lengths is None:
        return values[..., values.shape[-2] - count :, :]
    first = values.shape[-2] - count - (steps - lengths)
    index = first[..., None] + torch.arange(count, device=lengths.device)
    return values.take_along_dim(index[..., None], dim=-2)


def one_hot(symbols: Tensor, kinds: int, dtype: torch.dtype) -> Tensor:
    """Integers [...] -> [..., kinds]."""
    return torch.zeros(*symbols.shape, kinds, dtype=dtype, device=symbols.device).scatter_(-1, symbols[..., None], 1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(y - target)^2 of a single output channel: [..., 1] and [...] -> [...]."""
    return (outputs.squeeze(-1) - targets).square()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-ln softmax(y)[target], in nats: [..., O] and integer [...] -> [...]."""
    return -functional.log_softmax(outputs, dim=-1).gather(-1, targets[..., None]).squeeze(-1)
