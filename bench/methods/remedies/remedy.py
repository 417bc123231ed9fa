"""The contract of a remedy: where it may put its hand in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from bench.nets.cells.cell import Cell
from bench.nets.network import Network
from bench.pack.streams import Stream
from tasks.ranges import Checked
from tasks.task import Batch, Task

Losses = Callable[[Tensor, Tensor], Tensor]  # outputs [..., A, O], targets [..., A] -> [..., A]


@dataclass(frozen=True)
class PackView:
    """A pack at one update, before its step.

    flat: parameters [R, P]. trained: which entries of a row are parameters, [P], bool. batch: that is trained on.
    losses: those that are trained on. update: of `updates`, from 0.
    """

    network: Network
    task: Task
    flat: Tensor
    trained: Tensor
    batch: Batch
    losses: Losses
    update: int
    updates: int


class Truncation(NamedTuple):
    """After every `every` steps, and the last, the errors of these steps go back through the last `span` steps."""

    every: int
    span: int


@dataclass(frozen=True)
class Remedy(Checked):
    """Something that is to make learning easier, or its result better; each method is one place to put a hand in.

    A remedy overrides what it needs; the others leave things as they are. In training only, but for `cell` and
    `shown`. Random numbers come from a stream of the remedy's own, [R, ...].
    """

    version: ClassVar[int] = 1  # raised whenever the remedy changes
    masks: ClassVar[tuple[str, ...]] = ()  # which parts of `Masks` it draws

    def refusal(self, task: Task) -> str | None:
        """Why it makes no sense for a task; None if it does."""
        return None

    def cell(self, cell: Cell) -> Cell:
        """The cell to train in a cell's stead; where there are several layers, in that of each."""
        return cell

    def task(self, task: Task, update: int, updates: int) -> Task:
        """The task to train on in a task's stead at one update of so many, with the same inputs and outputs."""
        return task

    @property
    def truncation(self) -> Truncation | None:
        """Where an error's way back through time ends; None, and it goes back to the first step."""
        return None

    def inputs(self, inputs: Tensor, task: Task, random: Stream) -> Tensor:
        """The inputs [R, B, T, I] to train on in place of those of a task."""
        return inputs

    def shown(self, inputs: Tensor, task: Task) -> Tensor:
        """What the net sees of inputs [..., T, I], in judging and measuring as in training, there after `inputs`."""
        return inputs

    def mask(self, shape: tuple[int, ...], random: Stream) -> Tensor:
        """Factors for a part of the state, [R, *shape]."""
        raise NotImplementedError

    def losses(self, losses: Losses) -> Losses:
        """The losses to train on instead."""
        return losses

    def price(self, view: PackView) -> Tensor | None:
        """A term added to the loss, [R]; None if there is none, or if `penalty` is not its gradient."""
        return None

    def penalty(self, view: PackView) -> Tensor | None:
        """A term added to the gradient before clipping, [R, P]; None if there is none."""
        return None

    def noise(self, view: PackView, random: Stream) -> Tensor | None:
        """Noise added to the clipped gradient, [R, P]; None if there is none."""
        return None

    def after(self, view: PackView, weights: Tensor) -> Tensor:
        """The weights to go on with, [R, P], in place of those after the step; padding stays zero.

        Replicas that make no step, or no more, keep their weights, whatever this says.
        """
        return weights
