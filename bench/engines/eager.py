"""Autograd over the unrolled pack: works for any cell that has `step`. Slow and obvious: the oracle of the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cells.cell import State
from bench.engines.engine import Answers, Engine, Gradients, Program
from bench.network import Network
from tasks.task import Batch, Task


@dataclass(frozen=True)
class Eager(Engine):
    """Unroll, then differentiate."""

    def supports(self, network: Network, device: torch.device) -> bool:
        return True

    def program(self, network: Network, task: Task) -> Program:
        return EagerProgram(network, task)


class EagerProgram(Program):
    """dL/dh_t is read off the graph, where h_t keeps the gradient of all that comes after it: the total derivative.

    A replica's bits must depend neither on its place in a vector register nor on how torch multiplies a single matrix.
    So a pack runs as one program where H fills whole registers and else replica by replica, and never alone: next to a
    single replica runs its own copy.
    """

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False) -> Gradients:
        width = len(flat) if self.network.cell.hidden == self.network.padded_hidden else 1
        parts = []
        for first in range(0, len(flat), width):
            rows = [first, first] if width == 1 else list(range(width))
            loss, gradient, traces = self._gradients(flat[rows], Batch(*(part[rows] for part in batch)), trace)
            parts.append(Gradients(loss[:width], gradient[:width], {n: norms[:width] for n, norms in traces.items()}))
        joined_traces = {name: torch.cat([part.trace[name] for part in parts]) for name in parts[0].trace}
        return Gradients(
            torch.cat([part.loss for part in parts]), torch.cat([part.gradient for part in parts]), joined_traces
        )

    def _gradients(self, flat: Tensor, batch: Batch, trace: bool) -> Gradients:
        flat = flat.detach().requires_grad_()
        with torch.enable_grad():
            states, outputs = self._unroll(flat, batch.inputs)
            if trace:
                for part in (part for state in states for part in state):
                    part.retain_grad()
            loss = self.mean_loss(outputs, batch.targets)
            loss.sum().backward()
        assert flat.grad is not None
        return Gradients(loss.detach(), flat.grad, self._trace(states) if trace else {})

    def answers(self, flat: Tensor, inputs: Tensor) -> Answers:
        with torch.no_grad():
            states, outputs = self._unroll(flat, inputs)
        largest = torch.stack([state[0].abs().amax((-2, -1)) for state in states]).amax(0)
        return Answers(outputs, largest != 0)

    def _unroll(self, flat: Tensor, inputs: Tensor) -> tuple[list[State], Tensor]:
        """States of all steps, and the outputs of the scored ones [R, B, A, O]."""
        weights = self.network.views(flat)
        state = self.network.zero_state(weights, inputs.shape[-3])
        states = []
        for x in inputs.unbind(-2):
            state = self.network.cell.step(weights, x, state)
            states.append(state)
        outputs = [self.network.readout(weights, states[t][0]) for t in self.task.scored]
        return states, torch.stack(outputs, dim=-2)

    def _trace(self, states: list[State]) -> dict[str, Tensor]:
        """||dL^(b)/dh_t||: the pack's loss is a mean over B sequences, so a sequence's own is B times its share."""
        traces = {}
        for name, parts in zip(self.network.cell.states, zip(*states, strict=True), strict=True):
            # the last cell state after an unscored end has no gradient: nothing comes after it
            gradients = [torch.zeros_like(part) if part.grad is None else part.grad for part in parts]
            norms = [torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float64) for gradient in gradients]
            traces[name] = torch.stack(norms, dim=-1) * parts[0].shape[-2]
        return traces
