"""The contract of an engine: loss, gradients and trace of a pack on a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bench.network import Network
from tasks.task import Batch, Task, own_last

MATHEMATICS = 1  # part of every run's identity: raised when a mended formula changes what engines answer


class Gradients(NamedTuple):
    """What one pass over a batch gives.

    loss: mean over the batch and the scored steps, [R].
    gradient: of each replica's loss, laid out like its parameters, [R, P].
    trace: per part of the state, ||dL^(b)/dh_t|| with L^(b) the loss of one sequence, float64 [R, B, T]; empty if not
        asked for. It is the total derivative: through the later steps and through the readout of step t itself.
        The norm is taken in float64, for its squares would underflow in float32 long before the gradient does.
        Where lengths vary, T are the steps that all sequences have, counted back from each one's own last.
    """

    loss: Tensor
    gradient: Tensor
    trace: dict[str, Tensor]


class Answers(NamedTuple):
    """What the nets of a pack say.

    outputs: of the scored steps, [R, B, A, O].
    alive: whether any unit was ever non-zero, bool [R].
    """

    outputs: Tensor
    alive: Tensor


class Program(ABC):
    """An engine set up for one network and task; it may keep buffers between calls.

    Where lengths vary, a sequence that has ended holds its state, and its answers are read at its own last steps.
    read: the steps at which some sequence of a batch is scored.
    """

    def __init__(self, network: Network, task: Task) -> None:
        self.network = network
        self.task = task
        self.read = range(task.scored.start - (task.steps - task.least_steps), task.scored.stop)

    @abstractmethod
    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False) -> Gradients:
        """Loss, gradient and, if asked, trace for parameters flat [R, P]; asking never changes the gradient's bits."""

    @abstractmethod
    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        """Forward only."""

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of the outputs at the steps `read` [R, B, S, O], those of each sequence's scored steps: [R, B, A, O]."""
        return own_last(outputs, batch.lengths, self.task.steps, len(self.task.scored))

    def common(self, trace: Tensor, batch: Batch) -> Tensor:
        """Of values at all steps [R, B, T], those at the last steps that all sequences have."""
        return own_last(trace[..., None], batch.lengths, self.task.steps, self.task.least_steps)[..., 0]

    def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over batch and scored steps of outputs [..., B, A, O]: [...]."""
        return self.task.losses(outputs, targets).flatten(-2).mean(-1)


@dataclass(frozen=True)
class Engine(ABC):
    """A way to compute gradients; all ways agree to rounding."""

    @abstractmethod
    def supports(self, network: Network, device: torch.device) -> bool:
        """Whether this engine can train this network there."""

    @abstractmethod
    def program(self, network: Network, task: Task) -> Program:
        """The engine set up for one network and task."""
