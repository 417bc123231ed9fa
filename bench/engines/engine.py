"""The contract of an engine: loss, gradients and trace of a pack on a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bench.methods.clipping import Clipping
from bench.methods.remedies.remedy import Losses, Remedy, Truncation
from bench.nets.network import Network
from bench.pack.fields import indexed
from bench.pack.streams import Stream
from tasks.naming import Named
from tasks.task import Batch, Task, own_last

MATHEMATICS = 1  # part of every run's identity: raised when a mended formula changes what engines answer


class Gradients(NamedTuple):
    """What one pass over a batch gives.

    loss: mean over the batch and the scored steps, [R].
    gradient: of each replica's loss, laid out like its parameters, [R, P].
    trace: per part of the state, ||dL^(b)/dh_t|| with L^(b) the loss of one sequence, float64 [R, B, T]; empty if not
        asked for. It is the total derivative: through the later steps and through the readout of step t itself.
        Squares that float32 cannot hold are taken in float64: they would underflow long before the gradient does.
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


class Masks(NamedTuple):
    """Factors for parts of the state: `recurrent` [R, B, H] for the h that the cell sees, `readout` [R, B, S, H]."""

    recurrent: Tensor | None = None
    readout: Tensor | None = None


@dataclass(frozen=True)
class Interventions:
    """What the clipping rule and the remedies of a pack, by name, do within a pass."""

    clipping: Clipping | None = None
    remedies: Mapping[str, Remedy] = field(default_factory=dict)

    def at(self, rows: list[int]) -> Interventions:
        """For some replicas of the pack."""
        clipping = None if self.clipping is None else indexed(self.clipping, rows)
        return Interventions(clipping, {name: indexed(remedy, rows) for name, remedy in self.remedies.items()})

    def losses(self, task: Task) -> Losses:
        """The losses to train on: the task's own, as the remedies change them."""
        losses: Losses = task.losses
        for remedy in self.remedies.values():
            losses = remedy.losses(losses)
        return losses

    def shown(self, batch: Batch, task: Task) -> Batch:
        """A task's batch as the net sees it."""
        for remedy in self.remedies.values():
            batch = batch._replace(inputs=remedy.shown(batch.inputs, task))
        return batch

    @property
    def truncation(self) -> Truncation | None:
        """Where an error's way back through time ends, by the first remedy that says so."""
        return next((r.truncation for r in self.remedies.values() if r.truncation), None)

    @property
    def within_a_pass(self) -> bool:
        """Whether any of them has to do with what happens within a pass."""
        return self.clips_state_gradient or bool(self.remedies)

    @property
    def clips_state_gradient(self) -> bool:
        """Whether the gradient is clipped on its way back through time."""
        return self.clipping is not None and self.clipping.clips_state_gradient

    def clipped_state_gradient(self, d_state: Tensor) -> Tensor:
        """dL/dh_t (or dL/dc_t) of the mean over B sequences, [R, B, H], clipped as that of each one's own loss."""
        assert self.clipping is not None
        sequences = d_state.shape[-2]
        return self.clipping.clipped_state_gradient(d_state * sequences) / sequences


NO_MASKS = Masks()
NO_INTERVENTIONS = Interventions()


class Program(ABC):
    """An engine set up for one network and task; it may keep buffers between calls.

    Where lengths vary, a sequence that has ended holds its state, and its answers are read at its own last steps.
    population: training sequences for a cell's `with_population`; None, and those that are judged serve.
    judged: the task by which a net is judged, where it trains on another.
    read: the steps at which some sequence of a batch is scored. capturable: whether a pass waits for nobody, so that a
    GPU can record it as part of a whole update, and memory: what such a recording may share with its own.
    """

    capturable: ClassVar[bool] = False
    memory: Any = None

    def __init__(self, network: Network, task: Task, interventions: Interventions) -> None:
        self.network = network
        self.task = task
        self.interventions = interventions
        self.population: Batch | None = None
        self.judged = task
        self.read = range(task.scored.start - (task.steps - task.least_steps), task.scored.stop)

    def prepared(self, batch: Batch, stream: Callable[[str], Stream]) -> tuple[Batch, Masks]:
        """The batch as the remedies want it trained on, and what they mask; `stream` is a remedy's own, by its name."""
        masks = {}
        for name, remedy in self.interventions.remedies.items():
            batch = batch._replace(inputs=remedy.inputs(batch.inputs, self.task, stream(name)))
            for part in remedy.masks:
                steps = {"recurrent": (), "readout": (len(self.read),)}[part]
                masks[part] = remedy.mask((batch.inputs.shape[1], *steps, self.network.cell.hidden), stream(name))
        return self.interventions.shown(batch, self.judged), Masks(**masks)

    @abstractmethod
    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        """Loss, gradient and, if asked, trace for parameters flat [R, P]; asking never changes the gradient's bits.

        masks: for a network that is `masked`.
        """

    def loss_alone(self, flat: Tensor, batch: Batch, masks: Masks = NO_MASKS) -> Tensor:
        """The loss of `gradients` alone, [R]; its last bits may depend on the width of the pack."""
        return self.gradients(flat, batch, masks=masks).loss

    @abstractmethod
    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        """Forward only."""

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs at each sequence's scored steps [R, B, A, O], from those at the steps `read` [R, B, S, O]."""
        return own_last(outputs, batch.lengths, self.task.steps, len(self.task.scored))

    def common(self, trace: Tensor, batch: Batch) -> Tensor:
        """Values at the last steps that all sequences have, from those at all steps [R, B, T]."""
        return own_last(trace[..., None], batch.lengths, self.task.steps, self.task.least_steps)[..., 0]

    def mean_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The task's loss, mean over batch and scored steps of outputs [..., B, A, O]: [...]."""
        return self.task.losses(outputs, targets).flatten(-2).mean(-1)

    def training_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that is trained on, mean over batch and scored steps of outputs [..., B, A, O]: [...]."""
        return self.interventions.losses(self.task)(outputs, targets).flatten(-2).mean(-1)


@dataclass(frozen=True)
class Engine(Named, ABC):
    """A way to compute gradients; all ways agree to rounding.

    devices: the kinds of device that it is made for.
    intervenes: whether it can do what a clipping rule or a remedy does within a pass.
    clips_state_gradient: whether it can clip the gradient on its way back through time.
    truncates: whether it can end an error's way back before the first step.
    one_at_a_time: whether a replica's way back is done before the next one's way forward, so that the activations take
        the memory of one replica, whatever the width of the pack.
    """

    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    intervenes: ClassVar[bool] = True
    clips_state_gradient: ClassVar[bool] = True
    truncates: ClassVar[bool] = False
    one_at_a_time: ClassVar[bool] = False

    @abstractmethod
    def supports(self, network: Network, device: torch.device) -> bool:
        """Whether this engine can train this network there."""

    def refusal(self, network: Network, device: torch.device, interventions: Interventions) -> str | None:
        """Why it cannot train this network there with these interventions; None if it can."""
        if not self.supports(network, device):
            return f"cannot train {network.cell.name} on {device.type}"
        if interventions.within_a_pass and not self.intervenes:
            return "takes no remedies and no clipping on the way back"
        if interventions.clips_state_gradient and not self.clips_state_gradient:
            return "cannot clip the gradient on its way back"
        if interventions.truncation and not self.truncates:
            return "cannot truncate backpropagation through time"
        return None

    @abstractmethod
    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        """The engine set up for one network and task."""

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        """Numbers that the way back through `steps` steps needs of one replica, its parameters aside.

        Where an engine does not say, what an autograd graph is seen to take: with gates 8 numbers for each of their
        blocks, 4 without, in each layer.
        """
        cell = network.cell
        layers = len(cell.states) // len(cell.core.states)
        return layers * (8 * len(cell.gates) or 4) * steps * sequences * network.padded_hidden

    def judging_count(self, network: Network, read: int, sequences: int) -> int:
        """Numbers that answers at `read` steps need of one replica, beside them: none where states are read at once."""
        return 0
