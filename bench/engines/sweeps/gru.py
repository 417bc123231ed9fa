"""The gated recurrent unit's step."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.engines.sweeps.sweep import Sweep, tanh_of_half
from bench.nets.network import Network


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
