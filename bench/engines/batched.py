"""Backpropagation through time written by hand on pack tensors; ||dL/dh_t|| falls out of the loop.

At each step the state, the input and a constant 1 lie side by side in one row of K columns, [h | x | 1 | 0]. So one
product with [W_hh | W_xh | b] advances a whole pack, and one transposed product gathers the gradients of all three.
No allocation in the loop, no autograd but for the loss itself.

Every replica's numbers start on whole vector registers (`network.MULTIPLE`) and reductions stay within a replica, so
its bits do not depend on its neighbours. tanh is built from expm1: a third faster than torch.tanh and as exact near
0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.nets.cells.elman import Elman
from bench.nets.cells.gru import GRU
from bench.nets.cells.lstm import LSTM
from bench.nets.network import Network, padded
from tasks.task import Batch, Task

COLUMN_MULTIPLE = 8  # K is padded to it
SATURATED = 40.0  # e^40 is finite in both precisions, and tanh(20) is 1


@dataclass(frozen=True)
class Batched(Engine):
    """Hand-written backward pass for Elman, GRU and LSTM."""

    def supports(self, network: Network, device: torch.device) -> bool:
        return type(network.cell) in _SWEEPS and not network.masked

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return BatchedProgram(network, task, interventions)

    def activation_count(self, network: Network, steps: int, sequences: int) -> int:
        blocks = {LSTM: 6, GRU: 4}.get(type(network.cell), 0)  # the gates; c, tanh(c)
        rows = 2 if isinstance(network.cell, Elman) and network.cell.activation == "silu" else 1  # h; the sigmoid
        return steps * sequences * (blocks * network.padded_hidden + rows * _row(network))


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
        """Of all steps `read` [S, R, B, padded O] to those scored, [R, B, A, O]."""
        return self.scored(outputs[..., : self.network.outputs].permute(1, 2, 0, 3), batch)


class Sweep(ABC):
    """The buffers of a pack and one cell's step on them, forward and backward.

    G blocks of padded H rows: 1 for Elman, 4 for GRU and LSTM. `slots` steps are kept, the sequence length for training
    and 1 for answers alone.
    """

    blocks: int

    def __init__(self, network: Network, flat: Tensor, sequences: int, slots: int) -> None:
        replicas, hidden = len(flat), network.padded_hidden
        width = _row(network)
        self.slots = slots
        self.hidden = slice(0, hidden)
        self.input = slice(hidden, hidden + network.inputs)
        self.one = hidden + network.inputs
        self.columns = flat.new_zeros(slots + 1, replicas, sequences, width)
        self.columns[..., self.one] = 1
        self.rows = self.columns.unbind()  # views of one step each, made once: making them costs as much as using them
        self.states = self.columns[..., self.hidden].unbind()
        self.parts = [self.states]  # of the state, each a view per step
        self.weights = flat.new_zeros(replicas, self.blocks * hidden, width)
        self.d_weights = torch.zeros_like(self.weights)
        self.recurrent = self.weights[..., self.hidden]
        self.readout = flat.new_zeros(replicas, network.padded_outputs, width)
        self.d_readout = torch.zeros_like(self.readout)
        self.delta = flat.new_zeros(replicas, sequences, self.blocks * hidden)
        self.scratch = flat.new_zeros(2, replicas, sequences, hidden).unbind()
        self.d_states = {name: flat.new_zeros(replicas, sequences, hidden) for name in network.cell.states}
        self.alive = torch.zeros(replicas, dtype=torch.bool, device=flat.device)
        self.units = network.cell.hidden  # without the padding

    def load(self, parts: dict[str, Tensor]) -> None:
        """Take over the parameters and start from h_0 = 0."""
        self.load_recurrence(parts)
        self.readout[..., self.hidden] = parts["W_hy"]
        self.readout[..., self.one] = parts["b_y"]
        self.columns[0, ..., self.hidden] = 0
        self.alive.zero_()
        for buffer in (self.d_weights, self.d_readout, *self.d_states.values()):
            buffer.zero_()

    def load_recurrence(self, parts: dict[str, Tensor]) -> None:
        """Take over the cell's own parameters."""
        self.weights[..., self.hidden] = parts["W_hh"].flatten(1, -2)
        self.weights[..., self.input] = parts["W_xh"].flatten(1, -2)
        self.weights[..., self.one] = parts["b"].flatten(1)

    def store(self, gradients: dict[str, Tensor]) -> None:
        """Hand out the gradients of the parameters."""
        self.store_recurrence(gradients)
        gradients["W_hy"].copy_(self.d_readout[..., self.hidden])
        gradients["b_y"].copy_(self.d_readout[..., self.one])

    def store_recurrence(self, gradients: dict[str, Tensor]) -> None:
        """Hand out those of the cell's own."""
        for name, columns in (("W_hh", self.hidden), ("W_xh", self.input)):
            gradients[name].copy_(self.d_weights[..., columns].reshape(gradients[name].shape))
        gradients["b"].copy_(self.d_weights[..., self.one].reshape(gradients["b"].shape))

    def forward(self, t: int, x: Tensor, ended: Tensor | None) -> None:
        """Write the state after input x [R, B, I]; a sequence that has `ended` [R, B] holds the state before."""
        row, h = self.rows[t % (self.slots + 1)], self.states[(t + 1) % (self.slots + 1)]
        row[..., self.input] = x
        self.step(t, row, h)
        if ended is not None:
            for part in self.parts:
                before, after = part[t % (self.slots + 1)], part[(t + 1) % (self.slots + 1)]
                torch.where(ended[..., None], before, after, out=after)
        if self.slots == 1:
            self.alive |= (h != 0).flatten(1).any(-1)

    def read(self, t: int, out: Tensor) -> None:
        """Outputs of step t: y = W_hy h + b_y."""
        torch.bmm(self.rows[(t + 1) % (self.slots + 1)], self.readout.mT, out=out)

    def backward_readout(self, t: int, d_outputs: Tensor) -> None:
        """Add what step t's own outputs [R, B, O] want: to dL/dh_t and to the readout's gradient."""
        self.d_states["h"].baddbmm_(d_outputs, self.readout[..., self.hidden])
        self.d_readout.baddbmm_(d_outputs.mT, self.rows[t + 1])

    def backward_recurrence(self, t: int) -> None:
        """From the gradient of step t's pre-activations to the parameters and to dL/dh_{t-1}."""
        self.d_weights.baddbmm_(self.delta.mT, self.rows[t])
        torch.bmm(self.delta, self.recurrent, out=self.d_states["h"])

    @abstractmethod
    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        """Write h_t from row [h_{t-1} | x_t | 1], [R, B, K]."""

    def complete(self, t: int) -> None:  # noqa: B027 (cells without another part of the state have nothing to do)
        """Make `d_states` total derivatives, which dL/dh_t is already."""

    @abstractmethod
    def backward(self, t: int) -> None:
        """From the total derivatives `d_states` fill `delta`."""


class TanhSweep(Sweep):
    """h = tanh(a): delta = dh (1 - h^2)."""

    blocks = 1

    def load(self, parts: dict[str, Tensor]) -> None:
        super().load(parts)
        self.doubled = 2 * self.weights

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        a, denominator = self.scratch
        torch.bmm(row, self.doubled.mT, out=a)
        tanh_of_half(a, denominator, out=h)

    def backward(self, t: int) -> None:
        h = self.states[t + 1]
        torch.ops.aten.tanh_backward.grad_input(self.d_states["h"], h, grad_input=self.delta)


class ReLUSweep(Sweep):
    """h = max(a, 0): delta = dh where h > 0."""

    blocks = 1

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        a, _ = self.scratch
        torch.bmm(row, self.weights.mT, out=a)
        torch.clamp_min(a, 0, out=h)

    def backward(self, t: int) -> None:
        h = self.states[t + 1]
        torch.ops.aten.threshold_backward.grad_input(self.d_states["h"], h, 0, grad_input=self.delta)


class IdentitySweep(Sweep):
    """h = a: delta = dh."""

    blocks = 1

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        torch.bmm(row, self.weights.mT, out=h)

    def backward(self, t: int) -> None:
        self.delta.copy_(self.d_states["h"])


class SigmoidSweep(Sweep):
    """h = sigmoid(a): delta = dh h (1 - h)."""

    blocks = 1

    def load_recurrence(self, parts: dict[str, Tensor]) -> None:
        super().load_recurrence(parts)
        self.weights[:, self.units :, self.one] = -torch.inf  # else the padding would be at sigmoid(0) = 1/2

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        a, _ = self.scratch
        torch.bmm(row, self.weights.mT, out=a)
        torch.sigmoid(a, out=h)

    def backward(self, t: int) -> None:
        h = self.states[t + 1]
        torch.ops.aten.sigmoid_backward.grad_input(self.d_states["h"], h, grad_input=self.delta)


class HardSigmoidSweep(Sweep):
    """h = clip(a/6 + 1/2, 0, 1): delta = dh / 6 where 0 < h < 1."""

    blocks = 1

    def load_recurrence(self, parts: dict[str, Tensor]) -> None:
        super().load_recurrence(parts)
        self.weights[:, self.units :, self.one] = -torch.inf  # as in SigmoidSweep

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        a, _ = self.scratch
        torch.bmm(row, self.weights.mT, out=a)
        torch.clamp(a.div_(6).add_(0.5), 0, 1, out=h)

    def backward(self, t: int) -> None:
        h = self.states[t + 1]
        torch.ops.aten.hardtanh_backward.grad_input(self.d_states["h"], h, 0, 1, grad_input=self.delta)
        self.delta.div_(6)


class SiLUSweep(Sweep):
    """h = a s, s = sigmoid(a): delta = dh (s + h - h s)."""

    blocks = 1

    def __init__(self, network: Network, flat: Tensor, sequences: int, slots: int) -> None:
        super().__init__(network, flat, sequences, slots)
        # rows with a gap between them, like those of h: torch.sigmoid rounds otherwise in a tensor's last few places
        self.gate = flat.new_zeros(slots, *self.rows[0].shape)[..., self.hidden].unbind()

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        a, _ = self.scratch
        torch.bmm(row, self.weights.mT, out=a)
        s = self.gate[t % self.slots]
        torch.sigmoid(a, out=s)
        torch.mul(a, s, out=h)

    def backward(self, t: int) -> None:
        h, s = self.states[t + 1], self.gate[t]
        slope, product = self.scratch
        torch.mul(h, s, out=product)
        torch.add(h, s, out=slope).sub_(product)
        torch.mul(self.d_states["h"], slope, out=self.delta)


class GRUSweep(Sweep):
    """The GRU's step in four blocks: W_hn h + b_hn, which r multiplies, then r, z and W_xn x + b_n."""

    blocks = 4

    def __init__(self, network: Network, flat: Tensor, sequences: int, slots: int) -> None:
        super().__init__(network, flat, sequences, slots)
        replicas, hidden = len(flat), network.padded_hidden
        gates = flat.new_zeros(slots, replicas, sequences, 4 * hidden)
        self.gates = gates.unbind()
        self.from_h, self.r, self.z, self.n = (part.unbind() for part in gates.split(hidden, dim=-1))
        self.reset_and_update = gates[..., hidden : 3 * hidden].unbind()
        self.d_from_h, self.d_r, self.d_z, self.d_n = self.delta.split(hidden, dim=-1)
        self.kept = torch.zeros_like(self.d_states["h"])  # what reaches h_{t-1} through z * h_{t-1}
        self.rows_of_h = slice(0, 3 * hidden)  # n, r, z
        self.rows_of_x = slice(hidden, 4 * hidden)  # r, z, n

    def load_recurrence(self, parts: dict[str, Tensor]) -> None:
        self.weights[:, self.rows_of_h, self.hidden] = parts["W_hh"].roll(1, dims=1).flatten(1, -2)
        self.weights[:, self.rows_of_x, self.input] = parts["W_xh"].flatten(1, -2)
        self.weights[:, self.rows_of_x, self.one] = parts["b"].flatten(1)
        self.weights[:, self.hidden, self.one] = parts["b_hn"]

    def store_recurrence(self, gradients: dict[str, Tensor]) -> None:
        of_h, of_x = self.d_weights[:, self.rows_of_h, self.hidden], self.d_weights[:, self.rows_of_x]
        gradients["W_hh"].copy_(of_h.unflatten(1, (3, -1)).roll(-1, dims=1))
        gradients["W_xh"].copy_(of_x[..., self.input].unflatten(1, (3, -1)))
        gradients["b"].copy_(of_x[..., self.one].unflatten(1, (3, -1)))
        gradients["b_hn"].copy_(self.d_weights[:, self.hidden, self.one])

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        at, (a, scratch) = t % self.slots, self.scratch
        n, z = self.n[at], self.z[at]
        torch.bmm(row, self.weights.mT, out=self.gates[at])
        self.reset_and_update[at].sigmoid_()
        torch.mul(self.r[at], self.from_h[at], out=a)
        a.add_(n).mul_(2)
        tanh_of_half(a, scratch, out=n)
        torch.sub(row[..., self.hidden], n, out=a)  # h_t = n + z * (h_{t-1} - n)
        torch.add(n, a.mul_(z), out=h)

    def backward(self, t: int) -> None:
        from_h, r, z, n, dh = self.from_h[t], self.r[t], self.z[t], self.n[t], self.d_states["h"]
        _, product = self.scratch
        torch.mul(dh, z, out=self.kept)
        torch.sub(self.states[t], n, out=product).mul_(dh)
        torch.ops.aten.sigmoid_backward.grad_input(product, z, grad_input=self.d_z)
        torch.sub(dh, self.kept, out=product)
        torch.ops.aten.tanh_backward.grad_input(product, n, grad_input=self.d_n)
        torch.mul(self.d_n, r, out=self.d_from_h)
        torch.mul(self.d_n, from_h, out=product)
        torch.ops.aten.sigmoid_backward.grad_input(product, r, grad_input=self.d_r)

    def backward_recurrence(self, t: int) -> None:
        super().backward_recurrence(t)
        self.d_states["h"] += self.kept


class LSTMSweep(Sweep):
    """The LSTM's step; the gates lie in the order i, f, g, o."""

    blocks = 4

    def __init__(self, network: Network, flat: Tensor, sequences: int, slots: int) -> None:
        super().__init__(network, flat, sequences, slots)
        replicas, hidden = len(flat), network.padded_hidden
        gates = flat.new_zeros(slots, replicas, sequences, 4 * hidden)
        self.gates = gates.unbind()
        self.i, self.f, self.g, self.o = (part.unbind() for part in gates.split(hidden, dim=-1))
        self.input_and_forget = gates[..., : 2 * hidden].unbind()
        self.d_i, self.d_f, self.d_g, self.d_o = self.delta.split(hidden, dim=-1)
        self.c = flat.new_zeros(slots + 1, replicas, sequences, hidden).unbind()
        self.parts.append(self.c)
        self.squashed = flat.new_zeros(slots, replicas, sequences, hidden).unbind()  # tanh(c_t)
        self.candidate_rows = slice(2 * hidden, 3 * hidden)

    def load(self, parts: dict[str, Tensor]) -> None:
        super().load(parts)
        self.c[0].zero_()
        self.doubled = self.weights.clone()
        self.doubled[:, self.candidate_rows] *= 2

    def step(self, t: int, row: Tensor, h: Tensor) -> None:
        at, before, after = t % self.slots, t % (self.slots + 1), (t + 1) % (self.slots + 1)
        a, denominator = self.scratch
        torch.bmm(row, self.doubled.mT, out=self.gates[at])
        self.input_and_forget[at].sigmoid_()
        self.o[at].sigmoid_()
        a.copy_(self.g[at])
        tanh_of_half(a, denominator, out=self.g[at])
        c = self.c[after]
        torch.mul(self.f[at], self.c[before], out=c)
        c.addcmul_(self.i[at], self.g[at])
        torch.mul(c, 2, out=a)
        tanh_of_half(a, denominator, out=self.squashed[at])
        torch.mul(self.o[at], self.squashed[at], out=h)

    def complete(self, t: int) -> None:
        dh, dc = self.d_states["h"], self.d_states["c"]
        if t + 1 < self.slots:  # until now dc is dL/dc_{t+1}
            dc *= self.f[t + 1]
        through_h, product = self.scratch
        torch.mul(dh, self.o[t], out=product)
        torch.ops.aten.tanh_backward.grad_input(product, self.squashed[t], grad_input=through_h)
        dc += through_h

    def backward(self, t: int) -> None:
        i, f, g, o, squashed = self.i[t], self.f[t], self.g[t], self.o[t], self.squashed[t]
        dh, dc = self.d_states["h"], self.d_states["c"]
        _, product = self.scratch
        torch.mul(dc, g, out=product)
        torch.ops.aten.sigmoid_backward.grad_input(product, i, grad_input=self.d_i)
        torch.mul(dc, self.c[t], out=product)
        torch.ops.aten.sigmoid_backward.grad_input(product, f, grad_input=self.d_f)
        torch.mul(dc, i, out=product)
        torch.ops.aten.tanh_backward.grad_input(product, g, grad_input=self.d_g)
        torch.mul(dh, squashed, out=product)
        torch.ops.aten.sigmoid_backward.grad_input(product, o, grad_input=self.d_o)


def tanh_of_half(a: Tensor, denominator: Tensor, out: Tensor) -> None:
    """out = tanh(a / 2) = (e^a - 1) / (e^a - 1 + 2); a and denominator are overwritten. NaN stays NaN."""
    a.clamp_max_(SATURATED).expm1_()
    torch.add(a, 2, out=denominator)
    torch.div(a, denominator, out=out)


def _row(network: Network) -> int:
    """K, the columns of [h | x | 1 | 0]."""
    return padded(network.padded_hidden + network.inputs + 1, COLUMN_MULTIPLE)


def _elman_sweep(network: Network, flat: Tensor, sequences: int, slots: int) -> Sweep:
    assert isinstance(network.cell, Elman)
    return _ELMAN_SWEEPS[network.cell.activation](network, flat, sequences, slots)


_ELMAN_SWEEPS: dict[str, type[Sweep]] = {
    "tanh": TanhSweep,
    "relu": ReLUSweep,
    "sigmoid": SigmoidSweep,
    "silu": SiLUSweep,
    "hard_sigmoid": HardSigmoidSweep,
    "identity": IdentitySweep,
}
_SWEEPS = {Elman: _elman_sweep, GRU: GRUSweep, LSTM: LSTMSweep}
