"""The contract of a task: what it shows a net, what it asks for, and what an answer without memory would score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Random(Protocol):
    """Where a task's random numbers come from; each draw is [..., *shape], the leading axes belong to the stream."""

    dtype: torch.dtype

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1)."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high)."""


class Batch(NamedTuple):
    """Sequences and their answers: inputs [..., B, T, I]; targets [..., B, A], A scored steps."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Task(ABC):
    """A source of sequences with known answers.

    Letters: B sequences, T time steps (`steps`), I `inputs`, O `outputs`, A scored steps. Steps count from 0.
    The lag of a cue is the step of its answer minus its own step, over the earliest cue that matters.

    variant: one of `variants`. Raises ValueError if it is not.
    """

    version: ClassVar[int] = 1  # raised whenever the numbers that the task produces change
    variants: ClassVar[tuple[str, ...]]  # the forms in which the literature knows it, the default first

    variant: str

    def __post_init__(self) -> None:
        if self.variant not in self.variants:
            name = type(self).__name__.lower()
            raise ValueError(f"variant={self.variant}: {name} has the variants {', '.join(self.variants)}")

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
    @abstractmethod
    def scored(self) -> range:
        """The steps whose outputs enter the loss."""

    @property
    @abstractmethod
    def probe_step(self) -> int:
        """The one step from which the gradient probe starts: the first step that needs memory."""

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
    @abstractmethod
    def mean_lag(self) -> float:
        """Mean lag, in time steps."""

    @abstractmethod
    def sample(self, random: Random, sequences: int) -> Batch:
        """Draw `sequences` sequences for every leading axis of `random`."""

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of every scored step: outputs [..., B, A, O], targets [..., B, A] -> [..., B, A]."""

    @abstractmethod
    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether each answer that needs memory is right: [..., B, number of such answers], bool."""


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(y - target)^2 of a single output channel: [..., 1] and [...] -> [...]."""
    return (outputs.squeeze(-1) - targets).square()


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-ln softmax(y)[target], in nats: [..., O] and integer [...] -> [...]."""
    return -functional.log_softmax(outputs, dim=-1).gather(-1, targets[..., None]).squeeze(-1)
