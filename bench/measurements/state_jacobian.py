"""Radius and norm of the state Jacobian: the ones that can be compared between cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.measurements.jacobian import jacobians
from bench.measurements.measurement import Columns, Measurement, Snapshot
from tasks.ranges import Count

QUANTILES = (0.5, 0.05, 0.95)


@dataclass(frozen=True)
class StateJacobian(Measurement):
    """rho(J_t) and ||J_t||_2 along held-out sequences: median and 5/95 % quantiles over states.

    J_t = ds_t/ds_{t-1}, s the whole state, for an LSTM h and c side by side: the cell path carries the memory. rho
    below 1 and a norm above is growth that does not last.

    sequences: how many held-out sequences. steps: at how many steps of each, evenly spaced over the sequence.
    """

    version = 2
    table = "state_jacobian"
    series = ()

    sequences: Count
    steps: Count

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        inputs, states = snapshot.heldout(self.sequences).inputs, snapshot.heldout_states(self.sequences)
        length = snapshot.task.least_steps
        chosen = np.unique(np.linspace(0, length - 1, min(self.steps, length)).round().astype(int))
        cell, weights = snapshot.cell, snapshot.weights
        matrices = [jacobians(cell, cell.at(weights, t), inputs[:, :, t], states[t]) for t in chosen]
        radii, norms = (
            np.quantile(torch.cat([of(part) for part in matrices], dim=1).cpu().numpy(), QUANTILES, axis=1)
            for of in (_radii, _norms)
        )
        return [
            {
                **dict(zip(("spectral_radius", "q05", "q95"), radii[:, r, None], strict=True)),
                **dict(zip(("spectral_norm", "norm_q05", "norm_q95"), norms[:, r, None], strict=True)),
            }
            for r in range(radii.shape[1])
        ]


def _radii(matrices: Tensor) -> Tensor:
    """[R, B, S, S] -> [R, B]; NaN where a matrix is not finite."""
    return _of_finite(matrices, lambda clean: torch.linalg.eigvals(clean).abs().amax(-1))


def _norms(matrices: Tensor) -> Tensor:
    """The largest singular values, likewise."""
    return _of_finite(matrices, lambda clean: torch.linalg.matrix_norm(clean, ord=2))


def _of_finite(matrices: Tensor, numbers: Callable[[Tensor], Tensor]) -> Tensor:
    finite = matrices.isfinite().all(-1).all(-1)
    found = numbers(matrices.where(finite[..., None, None], torch.zeros_like(matrices)))
    return found.where(finite, torch.full_like(found, torch.nan))
