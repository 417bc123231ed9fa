"""Pascanu's Omega: the gradient is asked to keep its length on its way back through time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.methods.remedies.remedy import PackView, Remedy
from bench.nets.cells.cell import State, held
from bench.pack.fields import PerReplica, column
from tasks.ranges import NonNegative
from tasks.task import own_last


@dataclass(frozen=True)
class OmegaPenalty(Remedy):
    """L <- L + strength Omega, Omega = mean over sequences of sum_t (||g_t J_t|| / ||g_t|| - 1)^2.

    g_t = dL/ds_t of the loss so far, s the whole state (h, for an LSTM h and c side by side), J_t = ds_t/ds_{t-1}.
    As in the paper only the immediate derivative is taken: g_t and s_{t-1} count as constants, so a step's term moves
    the weights through J_t alone. Steps where g_t or g_t J_t is 0 have no term. Any cell, by
    autograd: costs several passes of `eager` in float64, many times what a compiled update takes.

    strength: alpha.
    Source: Pascanu, Mikolov & Bengio 2013, section 3.3, equations 9 and 10 (arXiv:1211.5063).
    Differs from the paper: J_t is taken between states, not between their pre-activations, and its slope phi'(a_t)
    moves with the weights too.
    """

    strength: PerReplica[NonNegative]

    def penalty(self, view: PackView) -> Tensor:
        # in float64: a gradient that vanishes is what this is about, and squares of 1e-23 are 0 in float32
        precise = view.batch._replace(inputs=view.batch.inputs.double())
        view, dtype = replace(view, flat=view.flat.double(), batch=precise), view.flat.dtype
        states = _states(view)
        flat = view.flat.detach().requires_grad_()
        omega = torch.zeros(len(flat), dtype=flat.dtype, device=flat.device)
        cell = view.network.cell
        with torch.enable_grad():
            weights = view.network.prepared(flat)
            for t, adjoint in _adjoints(view, states):
                before = tuple(part.detach().requires_grad_() for part in states[t])
                after = cell.step(cell.at(weights, t), view.batch.inputs[..., t, :], before)
                pulled = torch.autograd.grad(after, before, adjoint, create_graph=True)
                length, shorter = _length(adjoint), _length(pulled)
                counted = (length > 0) & (shorter > 0)
                ratio = shorter.where(counted, torch.ones_like(shorter)) / length.where(
                    counted, torch.ones_like(length)
                )
                omega = omega + (ratio - 1).square().sum(-1) / length.shape[-1]
            (gradient,) = torch.autograd.grad(omega.sum(), flat)
        return (column(self.strength, gradient) * gradient).to(dtype)


def _states(view: PackView) -> list[State]:
    """s_0, s_1 ... s_T, in float64; a sequence that has ended holds its state."""
    cell, weights = view.network.cell, view.network.prepared(view.flat)
    state = view.network.zero_state(weights, view.batch.inputs.shape[-3])
    states = [state]
    with torch.no_grad():
        for t, x in enumerate(view.batch.inputs.unbind(-2)):
            after = cell.step(cell.at(weights, t), x, state)
            state = after if view.batch.lengths is None else held(after, state, view.batch.lengths <= t)
            states.append(state)
    return states


def _adjoints(view: PackView, states: list[State]) -> Iterator[tuple[int, State]]:
    """t, and dL/ds after step t of each sequence's own loss, from the last step to the first but one."""
    task, batch = view.task, view.batch
    cell, weights = view.network.cell, view.network.prepared(view.flat)
    read = range(task.scored.start - (task.steps - task.least_steps), task.scored.stop)
    hidden = {t: states[t + 1][0].detach().requires_grad_() for t in read}
    with torch.enable_grad():
        outputs = torch.stack([view.network.readout(weights, h) for h in hidden.values()], dim=-2)
        scored = own_last(outputs, batch.lengths, task.steps, len(task.scored))
        loss = view.losses(scored, batch.targets).mean(-1).sum()
        wanted = dict(zip(read, torch.autograd.grad(loss, list(hidden.values())), strict=True))
    adjoint = tuple(torch.zeros_like(part) for part in states[0])
    for t in reversed(range(1, task.steps)):
        if t in wanted:
            adjoint = (adjoint[0] + wanted[t], *adjoint[1:])
        yield t, adjoint
        before = tuple(part.detach().requires_grad_() for part in states[t])
        with torch.enable_grad():
            after = cell.step(cell.at(weights, t), batch.inputs[..., t, :], before)
            adjoint = torch.autograd.grad(after, before, adjoint)


def _length(parts: State) -> Tensor:
    length: Tensor = torch.cat(parts, dim=-1).norm(dim=-1)
    return length
