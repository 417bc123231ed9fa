"""Cells of two state parts as a user would write them: only `step`, so that they are trained by the eager engine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.extending import Cell, H, I, Parameter


@dataclass(frozen=True)
class CoRNN(Cell):
    """z_t = z + dt (tanh(W_hh h + W_zh z + W_xh x_t + b) - gamma h - epsilon z),    h_t = h + dt z_t.

    h, z: the state before. dt: > 0, time of a step. gamma: frequency, epsilon: damping, both > 0.
    Source: Rusch & Mishra 2021, with the damping at the step before (arXiv:2010.00951).
    """

    states = ("h", "z")

    dt: float
    gamma: float
    epsilon: float

    @property
    def parameters(self):
        return {
            "W_hh": Parameter("recurrent", (H, H)),
            "W_zh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (H, I)),
            "b": Parameter("bias", (H,)),
        }

    def step(self, weights, x, state):
        h, z = state
        a = h @ weights["W_hh"].mT + z @ weights["W_zh"].mT + x @ weights["W_xh"].mT + weights["b"][..., None, :]
        z = z + self.dt * (torch.tanh(a) - self.gamma * h - self.epsilon * z)
        return h + self.dt * z, z

    def recurrent_blocks(self, weights):
        return {name: weights[name] for name in ("W_hh", "W_zh")}


@dataclass(frozen=True)
class LEM(Cell):
    """Long expressive memory: two time steps that are gates.

    s, t = dt sigmoid(W_h* h + W_x* x_t + b_*)
    z_t = (1 - s) * z + s * tanh(W_hz h + W_xz x_t + b_z)
    h_t = (1 - t) * h + t * tanh(W_zh z_t + W_xh x_t + b_h)

    dt: > 0, the longest time of a step.
    Source: Rusch, Mishra, Erichson & Mahoney 2022 (arXiv:2110.04744).
    """

    states = ("h", "z")
    gates = ("s", "t", "z")

    dt: float

    @property
    def parameters(self):
        return {
            "W_hh": Parameter("recurrent", (3, H, H)),
            "W_zh": Parameter("recurrent", (H, H)),
            "W_xh": Parameter("input", (3, H, I)),
            "W_xy": Parameter("input", (H, I)),
            "b": Parameter("bias", (3, H)),
            "b_h": Parameter("bias", (H,)),
        }

    def step(self, weights, x, state):
        h, z = state
        a = h[..., None, :, :] @ weights["W_hh"].mT + x[..., None, :, :] @ weights["W_xh"].mT
        s, t, candidate = (a + weights["b"][..., None, :]).unbind(-3)
        s, t = self.dt * torch.sigmoid(s), self.dt * torch.sigmoid(t)
        z = (1 - s) * z + s * torch.tanh(candidate)
        shown = torch.tanh(z @ weights["W_zh"].mT + x @ weights["W_xy"].mT + weights["b_h"][..., None, :])
        return (1 - t) * h + t * shown, z

    def recurrent_blocks(self, weights):
        blocks = zip(self.gates, weights["W_hh"].unbind(-3), strict=True)
        return {**{f"W_h{gate}": block for gate, block in blocks}, "W_zh": weights["W_zh"]}
