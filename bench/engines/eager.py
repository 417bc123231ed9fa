"""Autograd over the unrolled pack: works for any cell that has `step`. Slow and obvious: the oracle of the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cells.cell import State, held
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
            loss, gradient, traces = self._gradients(flat[rows], batch.at(rows), trace)
            parts.append(Gradients(loss[:width], gradient[:width], {n: norms[:width] for n, norms in traces.items()}))
        joined_traces = {name: torch.cat([part.trace[name] for part in parts]) for name in parts[0].trace}
        return Gradients(
            torch.cat([part.loss for part in parts]), torch.cat([part.gradient for part in parts]), joined_traces
        )

    def _gradients(self, flat: Tensor, batch: Batch, trace: bool) -> Gradients:
        flat = flat.detach().requires_grad_()
        with torch.enable_grad():
            states, outputs = self._unroll(flat, batch)
            if trace:
                for part in (part for state in states for part in state):
                    part.retain_grad()
            loss = self.mean_loss(outputs, batch.targets)
            loss.sum().backward()
        assert flat.grad is not None
        return Gradients(loss.detach(), flat.grad, self._trace(states, batch) if trace else {})

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        with torch.no_grad():
            states, outputs = self._unroll(flat, batch)
        active = torch.stack([(state[0] != 0).any(-1) for state in states], dim=-1)  # [R, B, T]
        if batch.lengths is not None:
            active &= torch.arange(active.shape[-1], device=active.device) < batch.lengths[..., None]
        return Answers(outputs, active.flatten(1).any(-1))

    def _unroll(self, flat: Tensor, batch: Batch) -> tuple[list[State], Tensor]:
        """States after each step, and the outputs of the scored ones [R, B, A, O].

        What a sequence that has ended would have gone on to is among the states, but nothing comes of it.
        """
        weights = self.network.views(flat)
        before = self.network.zero_state(weights, batch.inputs.shape[-3])
        states = []
        for t, x in enumerate(batch.inputs.unbind(-2)):
            states.append(self.network.cell.step(weights, x, before))
            before = states[t] if batch.lengths is None else held(states[t], before, batch.lengths <= t)
        outputs = [self.network.readout(weights, states[t][0]) for t in self.read]
        return states, self.scored(torch.stack(outputs, dim=-2), batch)

    def _trace(self, states: list[State], batch: Batch) -> dict[str, Tensor]:
        """||dL^(b)/dh_t||: the pack's loss is a mean over B sequences, so a sequence's own is B times its share."""
        traces = {}
        for name, parts in zip(self.network.cell.states, zip(*states, strict=True), strict=True):
            # the last cell state after an unscored end has no gradient: nothing comes after it
            gradients = [torch.zeros_like(part) if part.grad is None else part.grad for part in parts]
            norms = [torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float64) for gradient in gradients]
            traces[name] = self.common(torch.stack(norms, dim=-1), batch) * parts[0].shape[-2]
        return traces
