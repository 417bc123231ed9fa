"""Cells as a user might write them, each with something that the cells of the suite do not have."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from bench.nets.cells.cell import Cell, Parameter
from bench.nets.cells.wrapped import WrappedCell
from bench.pack.axes import H, I
from bench.speed.user_cells import Leaky

PLAIN = {
    "W_hh": Parameter("recurrent", (H, H)),
    "W_xh": Parameter("input", (H, I)),
    "b": Parameter("bias", (H,)),
}


class Plain(Cell):
    """The parameters of an Elman net, unless a cell says otherwise."""

    @property
    def parameters(self):
        return PLAIN

    def recurrent_blocks(self, weights):
        return {"W_hh": weights["W_hh"]}

    def sum_of(self, weights, x, h):
        return h @ weights["W_hh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]


@dataclass(frozen=True)
class Oscillating(Plain):
    """Two parts, a sine, and two products in one sum."""

    states = ("y", "z")

    @property
    def parameters(self):
        return {**PLAIN, "V_hh": Parameter("recurrent", (H, H))}

    def step(self, weights, x, state):
        y, z = state
        force = torch.sin(self.sum_of(weights, x, y) + z @ weights["V_hh"].mT)
        z = z + 0.1 * (force - 1.5 * y - 0.8 * z)
        return y + 0.1 * z, z


@dataclass(frozen=True)
class Normalized(Plain):
    """Layer normalisation of the sum of all inputs."""

    def step(self, weights, x, state):
        (h,) = state
        a = h @ weights["W_hh"].mT + x @ weights["W_xh"].mT
        return (torch.tanh(functional.layer_norm(a, (self.hidden,)) + weights["b"][..., None, :]),)


@dataclass(frozen=True)
class Learnt(Plain):
    """A learnt scalar and a learnt rate of decay for each unit, both through functions of parameters alone."""

    @property
    def parameters(self):
        scalar = Parameter("bias", (1,), lambda random: random.uniform(1).double() - 0.5)
        return {**PLAIN, "gain": scalar, "decay": Parameter("bias", (H,))}

    def step(self, weights, x, state):
        (h,) = state
        gain, decay = torch.exp(weights["gain"])[..., None, :], torch.sigmoid(weights["decay"])[..., None, :]
        return (decay * h + gain * torch.tanh(self.sum_of(weights, x, h)),)


@dataclass(frozen=True)
class InputGate(Plain):
    """A gate that sees the input alone, and functions that no cell of the suite has."""

    @property
    def parameters(self):
        return {**PLAIN, "W_g": Parameter("input", (H, I))}

    def step(self, weights, x, state):
        (h,) = state
        gate = torch.sigmoid(x @ weights["W_g"].mT)
        a = functional.softplus(self.sum_of(weights, x, h))
        return ((1 - gate) * h + gate * a - 0.1 * torch.log1p(h.square()),)


@dataclass(frozen=True)
class Moved(Plain):
    """Units change their places; all units see one of them."""

    def step(self, weights, x, state):
        (h,) = state
        first, second = h.tensor_split(2, dim=-1)
        turned = torch.cat((second, 2 * first), dim=-1)
        a = self.sum_of(weights, x, h.flip(-1))
        return (torch.tanh(0.5 * turned + a) + h[..., -1:],)


@dataclass(frozen=True)
class Crossed(Plain):
    """A weight as it lies and transposed, two layers in a step, a channel of the input, a norm over units."""

    def step(self, weights, x, state):
        (h,) = state
        a = torch.relu(h @ weights["W_hh"]) + x @ weights["W_xh"].mT + x[..., 0:1] * weights["b"][..., None, :]
        s = functional.leaky_relu(a, 0.2)
        upper = torch.maximum(torch.tanh(s @ weights["W_hh"].mT), 0.3 * s)
        return (upper / (1 + a.abs().sum(-1, keepdim=True)),)


@dataclass(frozen=True)
class Delayed(Plain):
    """Three parts: one is handed on as it is, one is bounded."""

    states = ("h", "before", "mean")

    def step(self, weights, x, state):
        h, before, mean = state
        new = torch.tanh(self.sum_of(weights, x, h) + 0.3 * before @ weights["W_hh"])
        return new, h, (0.5 * mean + new).clamp(-0.4, 0.3)


@dataclass(frozen=True)
class Stacked(Plain):
    """Two products one after the other with nothing between them, and none after."""

    def step(self, weights, x, state):
        (h,) = state
        return (0.1 * ((h @ weights["W_hh"].mT) @ weights["W_hh"]) + x @ weights["W_xh"].mT,)


@dataclass(frozen=True)
class Wide(Plain):
    """Gates as one wide product that is cut; weights that follow from others in the step itself."""

    def step(self, weights, x, state):
        (h,) = state
        W = torch.cat((weights["W_hh"], weights["W_hh"].mT - weights["W_hh"]), dim=-2)
        gate, candidate = (h @ W.mT).chunk(2, dim=-1)
        return (torch.sigmoid(gate) * h + torch.tanh(candidate + x @ weights["W_xh"].mT + weights["b"][..., None, :]),)


@dataclass(frozen=True)
class Residual(Plain):
    """A sum that two functions see, and nothing else."""

    def step(self, weights, x, state):
        (h,) = state
        a = self.sum_of(weights, x, h)
        return (0.5 * h + torch.tanh(a) * torch.sigmoid(a),)


@dataclass(frozen=True)
class Sum(Plain):
    """A sum that functions see and that is added to them; the way back needs nothing of itself."""

    def step(self, weights, x, state):
        (h,) = state
        a = self.sum_of(weights, x, h)
        return (0.1 * a + torch.tanh(a) + torch.tanh(0.5 * a + h),)


@dataclass(frozen=True)
class Normalizing(WrappedCell):
    """Another cell, which sees its state normalised: a cell made from a cell, as remedies make one."""

    def step(self, weights, x, state):
        h, *others = state
        centred = h - h.mean(-1, keepdim=True)
        seen = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
        return self.inner.step(weights, x, (seen, *others))


OWN = (
    *(Leaky, Oscillating, Normalized, Learnt, InputGate),
    *(Moved, Crossed, Delayed, Stacked, Wide, Residual, Sum),
)
