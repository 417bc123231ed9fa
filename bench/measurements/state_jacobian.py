"""Spectral radius of the state Jacobian: the one radius that can be compared between cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.cells.cell import Cell, State, Weights
from bench.measurements.measurement import Columns, Measurement, Snapshot


def jacobians(cell: Cell, weights: Weights, x: Tensor, state: State) -> Tensor:
    """ds_t/ds_{t-1} at every state, s all parts of the state side by side; S = parts x H.

    x [R, B, I], each part of the state [R, B, H] -> [R, B, S, S], row i the gradient of the i-th new component.
    """
    sequences, hidden = state[0].shape[-2:]
    size = len(state) * hidden
    # every sequence stands there S times, and the k-th copy is asked for the gradient of the k-th component
    copies = [part.repeat_interleave(size, dim=1).requires_grad_() for part in state]
    with torch.enable_grad():
        after = torch.cat(cell.step(weights, x.repeat_interleave(size, dim=1), tuple(copies)), dim=-1)
        unit = torch.eye(size, dtype=after.dtype, device=after.device).repeat(sequences, 1)
        gradients = torch.autograd.grad(after, copies, unit.expand_as(after))
    return torch.cat(gradients, dim=-1).unflatten(1, (sequences, size))


@dataclass(frozen=True)
class StateJacobian(Measurement):
    """rho(ds_t/ds_{t-1}) along held-out sequences: median and 5/95 % quantiles over states.

    s is the whole state, for an LSTM h and c side by side: the cell path carries the memory.

    sequences: how many held-out sequences. steps: at how many steps of each, evenly spaced over the sequence.
    Raises ValueError if either is < 1.
    """

    table = "state_jacobian"

    sequences: int
    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequences < 1 or self.steps < 1:
            raise ValueError(f"sequences={self.sequences}, steps={self.steps}: each is at least 1")

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        batch = snapshot.heldout(self.sequences)
        inputs, states, length = batch.inputs, snapshot.states(batch), snapshot.task.least_steps
        chosen = np.unique(np.linspace(0, length - 1, min(self.steps, length)).round().astype(int))
        radii = torch.cat([self._radii(snapshot, inputs[:, :, t], states[t]) for t in chosen], dim=1)
        low, median, high = np.quantile(radii.cpu().numpy(), (0.05, 0.5, 0.95), axis=1)
        columns = zip(median[:, None], low[:, None], high[:, None], strict=True)
        return [{"spectral_radius": m, "q05": q05, "q95": q95} for m, q05, q95 in columns]

    def _radii(self, snapshot: Snapshot, x: Tensor, state: State) -> Tensor:
        """[R, B]; NaN where the Jacobian is not finite."""
        matrices = jacobians(snapshot.cell, snapshot.weights, x, state)
        finite = matrices.isfinite().all(-1).all(-1)
        values = torch.linalg.eigvals(matrices.where(finite[..., None, None], torch.zeros_like(matrices)))
        radii = values.abs().amax(-1)
        return radii.where(finite, torch.full_like(radii, torch.nan))
