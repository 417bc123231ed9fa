"""The simple recurrent net's step under each activation."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.engines.sweeps.sweep import Sweep, tanh_of_half
from bench.nets.cells.elman import Elman
from bench.nets.network import Network


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


def elman_sweep(network: Network, flat: Tensor, sequences: int, slots: int) -> Sweep:
    assert isinstance(network.cell, Elman)
    return ELMAN_SWEEPS[network.cell.activation](network, flat, sequences, slots)


ELMAN_SWEEPS: dict[str, type[Sweep]] = {
    "tanh": TanhSweep,
    "relu": ReLUSweep,
    "sigmoid": SigmoidSweep,
    "silu": SiLUSweep,
    "hard_sigmoid": HardSigmoidSweep,
    "identity": IdentitySweep,
}
