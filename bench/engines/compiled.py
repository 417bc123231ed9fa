"""The whole time loop of a replica in C, from the cell's own `step`, built at first use: the fastest on a CPU.

`step` is traced to a graph, differentiated, and written as C around a fixed runtime (`engines/step`, `engines/kernel`).
A replica goes forward, gets its loss and goes back before the next one starts. The kernel knows the losses of a task,
squared error and cross-entropy; another one, which may be any torch code, is differentiated by torch between two calls
of the kernel, of which the second goes forward once more. What a cell prepares of its parameters stays in torch too.
Without a C compiler, or for a step that does what the tracer does not know, another engine serves.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engines import building
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.engines.kernels import Kernel, Pass, Way, kernel
from bench.engines.step.graph import Unsupported
from bench.methods.clipping import StateGradientClipping
from bench.nets.network import Network
from tasks.task import Batch, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiled(Engine):
    """Any cell whose step can be traced, on a CPU with a C compiler."""

    devices = ("cpu",)
    one_at_a_time = True

    def supports(self, network: Network, device: torch.device) -> bool:
        return device.type in self.devices and not network.cell.varies and available() and _traceable(network)

    def refusal(self, network: Network, device: torch.device, interventions: Interventions) -> str | None:
        if network.cell.varies:
            return f"cannot train {network.cell.name}, whose weights differ from step to step"
        rule = interventions.clipping
        if interventions.clips_state_gradient and not isinstance(rule, StateGradientClipping):
            return f"cannot clip the gradient on its way back as {type(rule).__name__} does"
        return super().refusal(network, device, interventions)

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return CompiledProgram(network, task, interventions)

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        return kernel(network, False).plan.kept_numbers(steps, sequences)


@functools.cache
def available() -> bool:
    """Whether C can be compiled here; if not, why not is logged once."""
    try:
        building.load("int answer(void) { return 42; }")
    except building.NoCompiler as reason:
        log.warning("no compiled engine, the torch engines serve: %s", reason)
        return False
    return True


@functools.cache
def _traceable(network: Network) -> bool:
    """Whether the step of a network's cell can be turned into C; if not, what stands against it is logged once."""
    try:
        kernel(network, False)
    except Unsupported as reason:
        log.warning("%s is not compiled, the torch engines serve: %s", type(network.cell).__name__, reason)
        return False
    return True


def _loss(task: Task, interventions: Interventions) -> str:
    """The kernel's name of the losses that are trained on; "given" if it has none and is given their gradient."""
    if type(task).losses is not Task.losses or interventions.losses(task) != task.losses:
        return "given"
    return "cross-entropy" if task.classes else "squared error"


class CompiledProgram(Program):
    """One call for the gradients of a pack; the buffers of each shape of batch are kept.

    march: the compiler's name of the instruction set, one that this CPU has.
    """

    def __init__(self, network: Network, task: Task, interventions: Interventions, march: str = "native") -> None:
        super().__init__(network, task, interventions)
        self.march = march
        self.loss = _loss(task, interventions)
        self.kernel: Kernel = kernel(network, interventions.clips_state_gradient)
        self._passes: dict[tuple[object, ...], Pass] = {}

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        """Raises ValueError if a target is no class of the task, or a length none of its lengths."""
        states = self.network.cell.states if trace else ()
        prepared = self.kernel.prepared(flat, gradient=True)
        d_outputs = None
        if self.loss == "given":
            loss, d_outputs = self._differentiated(prepared.rows, batch, masks)
        through_time = self._pass(flat, batch, keep=True)
        found, rows, norms = through_time.gradients(
            prepared.rows, batch, masks, len(states), self.interventions, d_outputs
        )
        gradient = prepared.gradient(rows)
        traces = {name: self.common(n, batch) for name, n in zip(states, norms, strict=True)}
        return Gradients(found if d_outputs is None else loss, gradient, traces)

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        rows = self.kernel.prepared(flat, gradient=False).rows
        outputs, alive = self._pass(flat, batch, keep=False).forward(rows, batch, NO_MASKS)
        return Answers(self._by_sequence(outputs, batch), alive)

    def _differentiated(self, rows: Tensor, batch: Batch, masks: Masks) -> tuple[Tensor, Tensor]:
        """The loss by torch, [R], and its gradient with respect to the outputs, [R, S, B, padded O]."""
        outputs, _ = self._pass(rows, batch, keep=False).forward(rows, batch, masks)
        outputs.requires_grad_()
        with torch.enable_grad():
            loss = self.training_loss(self._by_sequence(outputs, batch), batch.targets)
            (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
        return loss.detach(), d_outputs.contiguous()

    def _pass(self, flat: Tensor, batch: Batch, keep: bool) -> Pass:
        replicas, sequences, *step = batch.inputs.shape
        fits = len(flat) == replicas and flat.shape[1] in (self.network.flat_size, self.kernel.step.row)
        if step != [self.task.steps, self.network.inputs] or not fits:
            raise ValueError(f"inputs {[*batch.inputs.shape]} and parameters {[*flat.shape]} do not fit this program")
        key = (replicas, sequences, flat.dtype, keep, torch.get_num_threads())
        if key not in self._passes:
            way = Way(self.loss, len(self.task.scored), self.task.steps, self.read, keep)
            self._passes[key] = Pass(self.kernel, way, replicas, sequences, flat.dtype, self.march)
        return self._passes[key]

    def _by_sequence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs of all steps `read` [R, S, B, padded O] as those of the scored steps, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs].transpose(1, 2), batch)
