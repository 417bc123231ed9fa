"""The step of long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.engines.sweeps.sweep import Sweep, tanh_of_half
from bench.nets.network import Network


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
