"""Backpropagation through time written by hand on pack tensors; ||dL/dh_t|| falls out of the loop.

At each step the state, the input and a constant 1 lie side by side in one row of K columns, [h | x | 1 | 0]. So one
product with [W_hh | W_xh | b] advances a whole pack, and one transposed product gathers the gradients of all three.
No allocation in the loop, no autograd but for the loss itself.

Every replica's numbers start on whole vector registers (`network.MULTIPLE`) and reductions stay within a replica, so
its bits do not depend on its neighbours. tanh is built from expm1: a third faster than torch.tanh and as exact near
0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.engines.sweeps.elman import ELMAN_SWEEPS, elman_sweep
from bench.engines.sweeps.gru import GRUSweep
from bench.engines.sweeps.lstm import LSTMSweep
from bench.engines.sweeps.sweep import Sweep, row_width
from bench.nets.cells.elman import Elman
from bench.nets.cells.gru import GRU
from bench.nets.cells.lstm import LSTM
from bench.nets.network import Network
from tasks.task import Batch, Task


@dataclass(frozen=True)
class Batched(Engine):
    """Hand-written backward pass for Elman, GRU and LSTM."""

    def supports(self, network: Network, device: torch.device) -> bool:
        cell = network.cell
        by_hand = cell.activation in ELMAN_SWEEPS if type(cell) is Elman else type(cell) in _SWEEPS
        return by_hand and not network.masked

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return BatchedProgram(network, task, interventions)

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        blocks = {LSTM: 6, GRU: 4}.get(type(network.cell), 0)  # the gates; c, tanh(c)
        rows = 2 if isinstance(network.cell, Elman) and network.cell.activation == "silu" else 1  # h; the sigmoid
        return steps * sequences * (blocks * network.padded_hidden + rows * row_width(network))


class BatchedProgram(Program):
    """The loops over time; what a step does is the `Sweep` of the cell."""

    def __init__(self, network: Network, task: Task, interventions: Interventions) -> None:
        super().__init__(network, task, interventions)
        self._sweeps: dict[tuple[object, ...], Sweep] = {}

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        gradient = torch.zeros_like(flat)
        with torch.no_grad():
            sweep = self._sweep(flat, batch.inputs, slots=self.task.steps)
            outputs = self._forward(sweep, batch).requires_grad_()
            with torch.enable_grad():
                loss = self.training_loss(self._by_sequence(outputs, batch), batch.targets)
                (d_outputs,) = torch.autograd.grad(loss.sum(), outputs)
            norms = self._backward(sweep, d_outputs, trace)
            sweep.store(self.network.padded_views(gradient))
        # L^(b) is the loss of one sequence, the pack's loss the mean over B of them
        sequences = batch.inputs.shape[1]
        traces = {name: self.common(norm.permute(1, 2, 0), batch) * sequences for name, norm in norms.items()}
        return Gradients(loss.detach(), gradient, traces)

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        with torch.no_grad():
            sweep = self._sweep(flat, batch.inputs, slots=1)
            outputs = self._forward(sweep, batch)
            return Answers(self._by_sequence(outputs, batch), sweep.alive)

    def _sweep(self, flat: Tensor, inputs: Tensor, slots: int) -> Sweep:
        """The buffers for inputs of this shape, loaded with the parameters; `slots` steps are kept."""
        key = (slots, inputs.shape, flat.dtype, flat.device)
        if key not in self._sweeps:
            self._sweeps[key] = _SWEEPS[type(self.network.cell)](self.network, flat, inputs.shape[1], slots)
        self._sweeps[key].load(self.network.padded_views(flat))
        return self._sweeps[key]

    def _forward(self, sweep: Sweep, batch: Batch) -> Tensor:
        """Run through time; the outputs of the steps `read`, [S, R, B, padded O]."""
        inputs, lengths = batch.inputs, batch.lengths
        outputs = inputs.new_empty(len(self.read), *inputs.shape[:2], self.network.padded_outputs)
        for t, x in enumerate(inputs.unbind(2)):
            sweep.forward(t, x, ended=None if lengths is None or t < self.task.least_steps else lengths <= t)
            if t in self.read:
                sweep.read(t, out=outputs[t - self.read.start])
        return outputs

    def _backward(self, sweep: Sweep, d_outputs: Tensor, trace: bool) -> dict[str, Tensor]:
        """Run back through time; if asked, the norms of the state's gradients, each [T, R, B].

        Nothing is asked of a sequence that has ended, so its gradients are 0 there and no step need know of its end.
        """
        steps = self.task.steps
        states = self.network.cell.states if trace else ()
        # in float64: the squares in a float32 norm underflow at 1e-23, long before the gradient does at 1e-45
        shape = (steps, *d_outputs.shape[1:3])
        norms = {name: d_outputs.new_empty(shape, dtype=torch.float64) for name in states}
        for t in reversed(range(steps)):
            if t in self.read:
                sweep.backward_readout(t, d_outputs[t - self.read.start])
            self._repair(sweep, first=True)
            sweep.complete(t)
            self._repair(sweep, first=False)
            sweep.backward(t)
            for name in states:
                torch.linalg.vector_norm(sweep.d_states[name], dim=-1, dtype=torch.float64, out=norms[name][t])
            sweep.backward_recurrence(t)
        return norms

    def _repair(self, sweep: Sweep, first: bool) -> None:
        """Clip dL/dh_t, or after it the derivatives by the other parts of the state, where the rule clips them."""
        if self.interventions.clips_state_gradient:
            for name in list(sweep.d_states)[:1] if first else list(sweep.d_states)[1:]:
                sweep.d_states[name].copy_(self.interventions.clipped_state_gradient(sweep.d_states[name]))

    def _by_sequence(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs of all steps `read` [S, R, B, padded O] as those of the scored steps, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs].permute(1, 2, 0, 3), batch)


_SWEEPS = {Elman: elman_sweep, GRU: GRUSweep, LSTM: LSTMSweep}
