"""Singular values of a product of Jacobians, ds_T/ds_0 = J_T ... J_1, as logarithms: they may be below float64.

By QR after every step J_T ... J_1 Q_0 = Q (D U), with U unit upper triangular and the diagonal D kept as logarithms.
The singular values of D U are found without ever forming it.

Source: after Stewart 1995, "On graded QR decompositions of products of matrices", and Demmel & Veselic 1992, "Jacobi's
method is more accurate than QR": rotations that make rows orthogonal keep the relative accuracy of the small ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from bench.measurements.jacobian import Frame, pulled, pushed, random_directions
from bench.measurements.measurement import Snapshot

QR_SWEEPS = 2  # they bring D in order and U nearer to the identity
SWEEPS = 30  # of rotations, at most; they converge quadratically, in 3 to 6
TOLERANCE = 1e-9  # of the cosine between two rows: a singular value is off by about that, in nats
SPARE = 8  # directions beside those that are wanted
PASSES = 40  # at most; most nets need 3
SETTLED = 1e-6  # nats per step: what a value may change by in a pass and count as converged
AT_ONCE = 4  # steps that a few directions are taken through before they are made orthonormal


def leading(snapshot: Snapshot, sequences: int, steps: range, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """ln of the largest singular values of the product of Jacobians over some steps of held-out sequences, falling.

    [R, B, k], -inf for 0 and NaN where anything is not finite; and whether each has converged. count: k; None for all.

    All come from one pass with a whole basis of directions. For fewer, some more directions than are wanted go through
    the steps, back through their transposes and so on until nothing changes: subspace iteration. What a pass adds
    shrinks by (sigma_(k + 8) / sigma_k)^2. Where these nearly coincide that is slow, but then so do all between them:
    a value that changes by d nats in a pass is off by at most about sqrt(d / 2).
    Source: Halko, Martinsson & Tropp 2011, algorithm 4.4 (arXiv:0909.4061).
    """
    states = snapshot.heldout_states(sequences)
    like, size = states[0][0], len(states[0]) * snapshot.cell.hidden
    count = min(count or size, size)
    width = min(count + SPARE, size)
    directions = random_directions((*like.shape[:-1], size), width, like)
    with torch.no_grad():
        if width == size:
            values, settled = product(Frame(directions), _applied(snapshot, sequences, steps, 1))
            return values[..., :count], settled[..., :count]
        values, settled = np.full((*like.shape[:-1], count), np.inf), np.zeros((*like.shape[:-1], count), dtype=bool)
        for turn in range(PASSES):
            frame = Frame(directions)
            there = _applied(snapshot, sequences, steps if turn % 2 == 0 else steps[::-1], AT_ONCE)
            found, exact = (of[..., :count] for of in product(frame, there))
            with np.errstate(invalid="ignore"):
                same = (found == values) | (np.abs(found - values) <= SETTLED * len(steps)) | np.isnan(found)
            done = settled.all(-1, keepdims=True)  # each sequence for itself, whatever stands in the pack
            values, settled = np.where(done, values, found), np.where(done, settled, same & exact)
            if settled.all():
                break
            directions = frame.directions
    return values, settled


def _applied(snapshot: Snapshot, sequences: int, steps: range, at_once: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """V -> J_t V for one stretch of steps after the other, and V -> J_t^T V where they run backwards."""
    inputs, states = snapshot.heldout(sequences).inputs, snapshot.heldout_states(sequences)
    move = pushed if steps.step > 0 else pulled

    def through(stretch: range, directions: Tensor) -> Tensor:
        for t in stretch:
            weights = snapshot.cell.at(snapshot.weights, t)
            directions = move(snapshot.cell, weights, inputs[:, :, t], states[t], directions)
        return directions

    for first in range(0, len(steps), at_once):
        yield functools.partial(through, steps[first : first + at_once])


def product(frame: Frame, steps: Iterable[Callable[[Tensor], Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """ln of the singular values of J_T ... J_1 Q_0, falling, and whether they have converged: each [R, B, k].

    -inf for 0; NaN where anything is not finite. frame: Q_0, which is turned to Q. steps: V -> J_t V, in turn.
    """
    like = frame.directions
    log_diagonal = torch.zeros_like(frame.lost, dtype=like.dtype)
    upper = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device).expand(*log_diagonal.shape, -1)
    for step in steps:
        triangle = frame.turn(step(frame.directions))
        later = log_diagonal + triangle.diagonal(dim1=-2, dim2=-1).log()
        upper = _graded(triangle, log_diagonal, later) @ upper
        log_diagonal = later
    return log_singular_values(log_diagonal, upper)


def _graded(triangle: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """D_after^-1 R D_before, unit upper triangular, from the logarithms of D; a row or column of D = 0 is that of I."""
    scale = (before[..., None, :] - after[..., None]).exp()
    there = ~(before.isneginf()[..., None, :] | after.isneginf()[..., None])
    above = (triangle * scale).where(there, torch.zeros_like(triangle)).triu(1)
    return above + torch.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)


def log_singular_values(log_diagonal: Tensor, upper: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """ln of the singular values of D U, falling: -inf for 0, NaN where anything is not finite; and what has converged.

    log_diagonal: ln of D [R, B, k]. upper: U [R, B, k, k].
    """
    sound = upper.isfinite().all(-1).all(-1) & ~log_diagonal.isnan().any(-1)
    log_diagonal = log_diagonal.where(sound[..., None], torch.zeros_like(log_diagonal))
    unit = torch.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device)
    upper = upper.where(sound[..., None, None], unit)
    for _ in range(QR_SWEEPS):
        triangle = torch.linalg.qr(upper.mT, mode="r").R  # (D U)^T = Q R D, which has the same singular values
        later = log_diagonal + triangle.diagonal(dim1=-2, dim2=-1).abs().log()
        signs = triangle.diagonal(dim1=-2, dim2=-1).sgn()
        upper, log_diagonal = _graded(triangle * signs[..., None], log_diagonal, later), later
    logs, converged = _orthogonal_rows(log_diagonal.cpu().numpy(), upper.cpu().numpy())
    values = np.where(sound.cpu().numpy()[..., None], -np.sort(-logs, axis=-1), np.nan)
    return values, np.broadcast_to(converged[..., None], values.shape)


def _orthogonal_rows(logs: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln of the lengths of the rows of D U once rotations of two of them at a time have made all orthogonal.

    A row is kept as a unit vector u and the logarithm of its length. Of a pair with cosine c, the second r <= 1 times
    as long as the first, the rotation by arctan(r tau) gives rows along u + r^2 tau v and v - tau u, where
    tau = 2c / (1 - r^2 + sqrt((1 - r^2)^2 + 4 c^2 r^2)). Each matrix stops for itself, whatever stands in the pack.
    """
    shape, size = logs.shape, rows.shape[-1]
    logs, rows = logs.reshape(-1, size).copy(), rows.reshape(-1, size, size)
    lengths = np.linalg.norm(rows, axis=-1)
    logs, rows = logs + np.log(lengths), rows / lengths[..., None]
    there = np.isfinite(logs)  # a row of D = 0 has no length, and turns with none
    pairs = there[:, :, None] & there[:, None, :]
    converged = np.zeros(len(logs), dtype=bool)
    for _ in range(SWEEPS):
        far = (np.abs(rows @ rows.swapaxes(-2, -1)) > TOLERANCE) & pairs
        far[:, np.arange(size), np.arange(size)] = False
        converged = ~far.any((-2, -1))
        if converged.all():
            break
        for first, second in _tournament(size):
            which, place = np.nonzero(far[:, first, second])
            if len(which):
                _rotate(logs, rows, which, first[place], second[place])
    return logs.reshape(shape), converged.reshape(shape[:-1])


def _tournament(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rounds in which every one of `size` meets every other once, each at most once a round."""
    even = size + size % 2
    around, rounds = np.arange(1, even), []
    for _ in range(even - 1):
        seats = np.concatenate(([0], around))
        first, second = seats[: even // 2], seats[::-1][: even // 2]
        present = (first < size) & (second < size)
        rounds.append((first[present], second[present]))
        around = np.roll(around, 1)
    return rounds


def _rotate(logs: np.ndarray, rows: np.ndarray, which: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    """Make row `one` orthogonal to row `other`, in each of the matrices `which`; in place."""
    longer = np.where(logs[which, one] >= logs[which, other], one, other)
    shorter = one + other - longer
    u, v = rows[which, longer], rows[which, shorter]
    cosine = (u * v).sum(-1)
    ratio2 = np.exp(2 * (logs[which, shorter] - logs[which, longer]))
    root = np.sqrt((1 - ratio2) ** 2 + 4 * cosine**2 * ratio2)
    apart = 1 - ratio2 + root
    tau = 2 * cosine / np.where(apart > 0, apart, 1)
    shrink = np.log1p(ratio2 * tau**2) / 2
    for place, turned in ((longer, u + (ratio2 * tau)[:, None] * v), (shorter, v - tau[:, None] * u)):
        length = np.linalg.norm(turned, axis=-1)
        rows[which, place] = turned / length[:, None]
        logs[which, place] += np.log(length) - shrink
