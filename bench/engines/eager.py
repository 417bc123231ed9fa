"""Autograd over the unrolled pack: works for any cell that has `step`. Slow and obvious: the oracle of the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.methods.remedies.remedy import Truncation
from bench.nets.cells.cell import State, Weights, held
from bench.nets.network import Network
from bench.pack.registers import whole_registers
from tasks.task import Batch, Task


@dataclass(frozen=True)
class Eager(Engine):
    """Unroll, then differentiate."""

    truncates = True

    def supports(self, network: Network, device: torch.device) -> bool:
        return True

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return EagerProgram(network, task, interventions)


class EagerProgram(Program):
    """dL/dh_t is read off the graph, where h_t keeps the gradient of all that comes after it: the total derivative.

    A replica's bits must depend neither on its place in a vector register nor on how torch multiplies a single matrix.
    So a pack runs as one program where each replica's state [B, H] fills whole registers, with a copy of the last
    replica at its end: what torch does number by number at the end of a tensor, where no register is full, it does to
    the copy. Where that does not reach, a replica runs by itself, next to its own copy.
    """

    def _programs(self, replicas: int, sequences: int) -> Iterator[tuple[list[int], int]]:
        """Rows of the replicas that run as one program, a copy at the end, and how many of them are no copy."""
        sizes = [math.prod(self.network.shape(name)) for name in self.network.cell.parameters]
        turn = whole_registers(torch.float32)  # in float64 twice what is needed
        fills = sequences * self.network.cell.hidden % turn == 0 and min(sizes) >= turn
        width = replicas if fills else 1
        for first in range(0, replicas, width):
            yield [*range(first, first + width), first + width - 1], width

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        parts = []
        for rows, width in self._programs(*batch.inputs.shape[:2]):
            chosen = Masks(*(mask if mask is None else mask[rows] for mask in masks))
            chosen_program = EagerProgram(self.network, self.task, self.interventions.at(rows))
            loss, gradient, traces = chosen_program._gradients(flat[rows], batch.at(rows), trace, chosen)
            parts.append(Gradients(loss[:width], gradient[:width], {n: norms[:width] for n, norms in traces.items()}))
        joined_traces = {name: torch.cat([part.trace[name] for part in parts]) for name in parts[0].trace}
        return Gradients(
            torch.cat([part.loss for part in parts]), torch.cat([part.gradient for part in parts]), joined_traces
        )

    def _gradients(self, flat: Tensor, batch: Batch, trace: bool, masks: Masks) -> Gradients:
        flat = flat.detach().requires_grad_()
        if self.interventions.truncation:
            return self._truncated(flat, batch, trace, masks, self.interventions.truncation)
        with torch.enable_grad():
            states, outputs = self._unroll(self.network.prepared(flat), batch, masks)
            self._watched(states, trace)
            loss = self.training_loss(outputs, batch.targets)
            loss.sum().backward()
        assert flat.grad is not None
        return Gradients(loss.detach(), flat.grad, self._trace(states, batch) if trace else {})

    def _truncated(self, flat: Tensor, batch: Batch, trace: bool, masks: Masks, cut: Truncation) -> Gradients:
        """The errors of each stretch of `every` steps go back through the last `span` steps, unrolled once more.

        What they are at the states themselves does not depend on how far back they go, so it is found first.
        """
        steps = batch.inputs.shape[-2]
        with torch.no_grad():
            weights = self.network.prepared(flat)
            before = self._first(weights, batch)
            whole = list(self._steps(weights, before, batch, masks, range(steps)))
            carried = [before, *(held_on for _, held_on in whole)]
        hidden = {t: whole[t][0][0].detach().requires_grad_() for t in self.read}
        with torch.enable_grad():
            outputs = self._outputs(self.network.prepared(flat), list(hidden.values()), batch, masks)
            loss = self.training_loss(outputs, batch.targets)
            loss.sum().backward()
        totals = [[torch.zeros_like(part) for part in after] for after, _ in whole]
        for start in range(0, steps, cut.every):
            stretch = range(start, min(start + cut.every, steps))
            window = range(max(0, stretch.stop - cut.span), stretch.stop)
            felt = [t for t in stretch if t in hidden]
            if not felt:
                continue
            with torch.enable_grad():
                before = tuple(part.detach().requires_grad_() for part in carried[window.start])
                states = [after for after, _ in self._steps(self.network.prepared(flat), before, batch, masks, window)]
                self._watched(states, trace)
                seen = [states[t - window.start][0] for t in felt]
                torch.autograd.backward(seen, [hidden[t].grad for t in felt])
            for t, state in zip(window, states, strict=True) if trace else ():
                for total, part in zip(totals[t], state, strict=True):
                    if part.grad is not None:
                        total += part.grad
        assert flat.grad is not None
        return Gradients(loss.detach(), flat.grad, self._norms(totals, batch) if trace else {})

    def _watched(self, states: list[State], trace: bool) -> None:
        """Clip the gradient of each part of the states on its way back, and keep it for the trace."""
        for part in (part for state in states for part in state):
            if self.interventions.clips_state_gradient:
                part.register_hook(self.interventions.clipped_state_gradient)
            if trace:
                part.retain_grad()

    def loss_alone(self, flat: Tensor, batch: Batch, masks: Masks = NO_MASKS) -> Tensor:
        """Forward only, and all replicas at once, whatever H is."""
        with torch.no_grad():
            return self.training_loss(self._unroll(self.network.prepared(flat), batch, masks)[1], batch.targets)

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        parts = []
        for rows, width in self._programs(*batch.inputs.shape[:2]):
            outputs, alive = self._answers(flat[rows], batch.at(rows), (self.population or batch).at(rows).inputs)
            parts.append(Answers(outputs[:width], alive[:width]))
        return Answers(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _answers(self, flat: Tensor, batch: Batch, population: Tensor) -> Answers:
        with torch.no_grad():
            weights = self.network.prepared(flat)
            if self.network.cell.population_size:
                weights = self.network.cell.with_population(weights, population)
            states, outputs = self._unroll(weights, batch)
        active = torch.stack([(state[0] != 0).any(-1) for state in states], dim=-1)  # [R, B, T]
        if batch.lengths is not None:
            active &= torch.arange(active.shape[-1], device=active.device) < batch.lengths[..., None]
        return Answers(outputs, active.flatten(1).any(-1))

    def _unroll(self, weights: Weights, batch: Batch, masks: Masks = NO_MASKS) -> tuple[list[State], Tensor]:
        """States after each step, and the outputs of the scored ones [R, B, A, O].

        What a sequence that has ended would have gone on to is among the states, but nothing comes of it.
        """
        whole = self._steps(weights, self._first(weights, batch), batch, masks, range(batch.inputs.shape[-2]))
        states = [after for after, _ in whole]
        return states, self._outputs(weights, [states[t][0] for t in self.read], batch, masks)

    def _first(self, weights: Weights, batch: Batch) -> State:
        """The state before the first step."""
        before = self.network.zero_state(weights, batch.inputs.shape[-3])
        if torch.is_grad_enabled():  # a part of the state that no parameter leads to has a gradient like any other
            before = tuple(part.clone().requires_grad_() for part in before)
        return before

    def _steps(
        self, weights: Weights, before: State, batch: Batch, masks: Masks, steps: range
    ) -> Iterator[tuple[State, State]]:
        """The state after each of some steps, and the one that is carried on: a sequence that is over holds its own."""
        cell = self.network.cell
        for t in steps:
            seen = before if masks.recurrent is None else (before[0] * masks.recurrent, *before[1:])
            after = cell.step(cell.at(weights, t), batch.inputs[..., t, :], seen)
            # a part that is handed on as it is gets a gradient of its own: that of its later use alone
            state = tuple(part.clone() if any(part is old for old in seen) else part for part in after)
            before = state if batch.lengths is None else held(state, before, batch.lengths <= t)
            yield state, before

    def _outputs(self, weights: Weights, hidden: list[Tensor], batch: Batch, masks: Masks) -> Tensor:
        """The outputs of the scored steps [R, B, A, O] from h at the steps that are `read`."""
        shown = torch.stack(hidden, dim=-2)
        if masks.readout is not None:
            shown = shown * masks.readout
        outputs = [self.network.readout(weights, h) for h in shown.unbind(-2)]
        return self.scored(torch.stack(outputs, dim=-2), batch)

    def _trace(self, states: list[State], batch: Batch) -> dict[str, Tensor]:
        """||dL^(b)/dh_t|| from the gradients that the states have kept."""
        # the last cell state after an unscored end has no gradient: nothing comes after it
        gradients = [[torch.zeros_like(part) if part.grad is None else part.grad for part in state] for state in states]
        return self._norms(gradients, batch)

    def _norms(self, gradients: Sequence[Sequence[Tensor]], batch: Batch) -> dict[str, Tensor]:
        """||dL^(b)/dh_t||: the pack's loss is a mean over B sequences, so a sequence's own is B times its share."""
        traces = {}
        for name, parts in zip(self.network.cell.states, zip(*gradients, strict=True), strict=True):
            norms = [torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float64) for gradient in parts]
            traces[name] = self.common(torch.stack(norms, dim=-1), batch) * parts[0].shape[-2]
        return traces
