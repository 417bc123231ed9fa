"""The derivative of one step, ds_t/ds_{t-1}: whole, or applied to a few directions; shared by measurements.

s is the whole state, all its parts side by side, for an LSTM h and c: the cell path carries the memory. S is its size,
the number of parts times H.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from bench.nets.cells.cell import Cell, State, Weights

_forward = threading.Lock()  # torch differentiates forward in one thread of a process at a time


def jacobians(cell: Cell, weights: Weights, x: Tensor, state: State) -> Tensor:
    """ds_t/ds_{t-1} at every state.

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
    matrices: Tensor = torch.cat(gradients, dim=-1).unflatten(1, (sequences, size))
    return matrices


def pushed(cell: Cell, weights: Weights, x: Tensor, state: State, directions: Tensor) -> Tensor:
    """J_t V for V [R, B, S, k], by forward differentiation; no Jacobian is formed."""
    return stepped(cell, weights, x, state, directions)[1]


def stepped(cell: Cell, weights: Weights, x: Tensor, state: State, directions: Tensor) -> tuple[State, Tensor]:
    """The next state, and J_t V."""
    sequences, count = directions.shape[1], directions.shape[-1]
    # every sequence stands there k times, and the k-th copy is pushed along the k-th direction
    copies = [part.repeat_interleave(count, dim=1) for part in state]
    along = directions.mT.flatten(1, 2).chunk(len(state), dim=-1)
    with _forward, forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what torch itself loads at the first call
        duals = tuple(forward_ad.make_dual(part, tangent) for part, tangent in zip(copies, along, strict=True))
        after = [forward_ad.unpack_dual(part) for part in cell.step(weights, x.repeat_interleave(count, dim=1), duals)]
    moved = torch.cat([torch.zeros_like(new) if tangent is None else tangent for new, tangent in after], dim=-1)
    return tuple(new[:, ::count] for new, _ in after), moved.unflatten(1, (sequences, count)).mT


def pulled(cell: Cell, weights: Weights, x: Tensor, state: State, directions: Tensor) -> Tensor:
    """J_t^T V for V [R, B, S, k], by backward differentiation."""
    sequences, count = directions.shape[1], directions.shape[-1]
    copies = [part.repeat_interleave(count, dim=1).requires_grad_() for part in state]
    with torch.enable_grad():
        after = torch.cat(cell.step(weights, x.repeat_interleave(count, dim=1), tuple(copies)), dim=-1)
        gradients = torch.autograd.grad(after, copies, directions.mT.flatten(1, 2), materialize_grads=True)
    products: Tensor = torch.cat(gradients, dim=-1).unflatten(1, (sequences, count))
    return products.mT


def random_directions(shape: tuple[int, int, int], count: int, like: Tensor) -> Tensor:
    """Orthonormal directions, uniform and each sequence's own, [R, B, S, k].

    They are generic, so that the first ones turn to where the net stretches most. shape: R, B, S. count: k.
    """
    replicas, sequences, size = shape
    normals = np.stack([np.random.default_rng(b).standard_normal((size, count)) for b in range(sequences)])
    directions: Tensor = torch.linalg.qr(torch.from_numpy(normals).to(like)).Q
    return directions.expand(replicas, sequences, size, count)


class Frame:
    """Directions that are carried along and made orthonormal after every step: J_t Q_{t-1} = Q_t R_t.

    A direction is lost once its R_ii is nothing but rounding, at most S eps times the longest column of J_t Q_{t-1};
    whatever takes its place in Q is not followed, and what is lost stays lost.

    directions: Q_0 [R, B, S, k].
    """

    def __init__(self, directions: Tensor) -> None:
        self.directions = directions
        self.lost = torch.zeros_like(directions[..., 0, :], dtype=torch.bool)

    def turn(self, moved: Tensor) -> Tensor:
        """From J_t Q_{t-1} to Q_t: R_t [R, B, k, k], with positive diagonal, and 0 there where a direction is lost.

        Where J_t Q_{t-1} is not finite R_t is NaN.
        """
        finite = moved.isfinite().all(-1).all(-1)[..., None, None]
        clean = moved.where(finite, torch.zeros_like(moved))
        rounding = moved.shape[-2] * torch.finfo(moved.dtype).eps * clean.norm(dim=-2).amax(-1, keepdim=True)
        if moved.shape[-1] == 1:
            triangle = clean.norm(dim=-2, keepdim=True)
            self.directions = clean / triangle.where(triangle > 0, torch.ones_like(triangle))
        else:
            self.directions, triangle = torch.linalg.qr(clean)
            signs = triangle.diagonal(dim1=-2, dim2=-1).sgn()
            signs = signs.where(signs != 0, torch.ones_like(signs))
            self.directions, triangle = self.directions * signs[..., None, :], triangle * signs[..., None]
        lengths = triangle.diagonal(dim1=-2, dim2=-1)
        self.lost = self.lost | ((lengths <= rounding) & finite[..., 0])
        kept: Tensor = torch.diag_embed(lengths.masked_fill(self.lost, 0.0) - lengths) + triangle
        return kept.where(finite, torch.full_like(kept, torch.nan))


def summaries(values: np.ndarray, lost: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Statistics of numbers [R, B, k], per replica: mean and 5/95 % over sequences, and how many lost them.

    A sequence that has lost a number is left out of the rest; NaN where all have, or where any is not finite.
    """
    for numbers, gone in zip(values, lost, strict=True):
        columns = [column[~missing] for column, missing in zip(numbers.T, gone.T, strict=True)]
        found = np.array([_described(column) for column in columns])
        yield {
            **dict(zip(("mean", "q05", "q95"), found.T, strict=True)),
            "lost": gone.sum(0).astype(np.int32),
        }


def _described(column: np.ndarray) -> tuple[float, float, float]:
    if column.size == 0 or not np.isfinite(column).all():
        return np.nan, np.nan, np.nan
    low, high = np.quantile(column, (0.05, 0.95))
    return float(column.mean()), float(low), float(high)
