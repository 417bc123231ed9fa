"""Singular values of J_T ... J_1: what a whole sequence does to a small change of the state at its beginning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.measurements.jacobian import Frame, pushed, summaries
from bench.measurements.measurement import Columns, Measurement, Snapshot
from tasks.ranges import Count

SWEEPS = 100  # at most: where singular values are nearly equal the last digits are slow to come
TOLERANCE = 1e-7  # of an entry beside the diagonal, which enters a singular value as its square


@dataclass(frozen=True)
class JacobianProduct(Measurement):
    """ln of all singular values of ds_T/ds_0 along held-out sequences, in nats over the whole sequence.

    s is the whole state, for an LSTM h and c side by side; T the steps that all sequences have. The largest is by how
    much a gradient can grow on its way through the sequence, and how many lie near it is in how many directions.

    Columns: index from 1, the largest; log_singular_value, q05, q95: mean and quantiles over the sequences in which it
    is not 0; lost: in how many it is 0; sequences, steps: how many.

    The product itself would underflow: .25^540 does in float64. By QR after every step it is Q (D U) Q_0^T with U unit
    upper triangular and the diagonal D kept as logarithms, and D U is made diagonal by QR of its transpose, again and
    again, which needs U and ratios of D alone.

    sequences: how many.
    Source: after Stewart 1995, "On graded QR decompositions of products of matrices".
    """

    table = "jacobian_product"

    sequences: Count

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        inputs, steps = snapshot.heldout(self.sequences).inputs, snapshot.task.least_steps
        state = snapshot.network.zero_state(snapshot.weights, inputs.shape[1])
        size = len(state) * snapshot.cell.hidden
        frame = Frame((*state[0].shape[:-1], size), size, state[0])
        log_diagonal = torch.zeros_like(frame.lost, dtype=state[0].dtype)
        upper = torch.eye(size, dtype=state[0].dtype, device=state[0].device).expand(*log_diagonal.shape, size)
        with torch.no_grad():
            for x in inputs[:, :, :steps].unbind(2):
                state, moved = pushed(snapshot.cell, snapshot.weights, x, state, frame.directions)
                triangle = frame.turn(moved)
                later = log_diagonal + triangle.diagonal(dim1=-2, dim2=-1).log()
                upper = _graded(triangle, log_diagonal, later) @ upper
                log_diagonal = later
            values = _log_singular_values(log_diagonal, upper)
        return [
            {
                "index": np.arange(1, size + 1, dtype=np.int32),
                "log_singular_value": found.pop("mean"),
                **found,
                "sequences": np.full(size, inputs.shape[1], np.int32),
                "steps": np.full(size, steps, np.int32),
            }
            for found in summaries(values.cpu().numpy(), torch.isneginf(values).cpu().numpy())
        ]


def _graded(triangle: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """D_after^-1 R D_before, unit upper triangular, from the logarithms of D; a row or column of D = 0 is that of I."""
    scale = (before[..., None, :] - after[..., None]).exp()
    there = ~(before.isneginf()[..., None, :] | after.isneginf()[..., None])
    above = (triangle * scale).where(there, torch.zeros_like(triangle)).triu(1)
    return above + torch.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)


def _log_singular_values(log_diagonal: Tensor, upper: Tensor) -> Tensor:
    """ln of the singular values of D U, falling: -inf for 0, NaN where anything is not finite."""
    sound = (upper.isfinite().all(-1).all(-1) & ~log_diagonal.isnan().any(-1))[..., None]
    log_diagonal = log_diagonal.where(sound, torch.zeros_like(log_diagonal))
    unit = torch.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device)
    upper = upper.where(sound[..., None], unit)
    for _ in range(SWEEPS):
        going = (upper - unit).abs().amax((-2, -1)) > TOLERANCE  # each for itself, whatever stands in the pack
        if not going.any():
            break
        triangle = torch.linalg.qr(upper.mT, mode="r").R  # (D U)^T = Q R D, which has the same singular values
        later = log_diagonal + triangle.diagonal(dim1=-2, dim2=-1).abs().log()
        signs = triangle.diagonal(dim1=-2, dim2=-1).sgn()
        graded = _graded(triangle * signs[..., None], log_diagonal, later)
        upper = graded.where(going[..., None, None], upper)
        log_diagonal = later.where(going[..., None], log_diagonal)
    values = log_diagonal.sort(dim=-1, descending=True).values
    return values.where(sound, torch.full_like(values, torch.nan))
