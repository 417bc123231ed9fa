"""Norms, sums and cosines of the rows of a pack, in bits that no other row has a part in."""

from __future__ import annotations

import torch
from torch import Tensor

SMALL, LARGE = 1e-15, 1e18  # of a norm in float32 whose squares neither underflow nor overflow


def everywhere(condition: Tensor) -> bool:
    """Whether it holds everywhere, where asking is free; no on a GPU, for which one would have to wait."""
    return condition.is_cpu and bool(condition.all())


def sum_of_rows(values: Tensor) -> Tensor:
    """Sum over the last axis, [..., N] -> [...], in bits that do not depend on how many rows there are.

    On a GPU torch's own sum shares the threads of a block among the rows, and adds in another order where there are
    more of them. There one half is added to the other until one number is left.
    """
    return values.sum(-1) if values.is_cpu else _sum_of_halves(values)


def _sum_of_halves(values: Tensor) -> Tensor:
    power = 1 << (values.shape[-1] - 1).bit_length()
    values = torch.nn.functional.pad(values, (0, power - values.shape[-1]))
    while values.shape[-1] > 1:
        first, second = values.chunk(2, dim=-1)
        values = first + second
    return values[..., 0]


def _length(rows: Tensor) -> Tensor:
    """L2 norm, [..., N] -> float64 [...], of what can be squared; on a GPU squares are in float64."""
    if rows.is_cpu:
        norm: Tensor = torch.linalg.vector_norm(rows, dim=-1)
        return norm.double()
    return sum_of_rows(rows.double().square()).sqrt()


def gradient_norm(gradient: Tensor) -> Tensor:
    """L2 norm of every replica's gradient without overflow: m ||g / m||, m = max |g|; [..., P] -> float64 [...].

    0 for g = 0; for a float32 gradient non-finite only where an entry is. Rows whose squares neither overflow nor
    underflow are taken as they are: m is 1.
    """
    norm = _length(gradient)
    as_it_is = (norm > SMALL) & (norm < LARGE)
    always = gradient.dtype == torch.float32 and not gradient.is_cpu
    if always or everywhere(as_it_is):
        return norm
    scale = _largest(gradient)
    return torch.where(as_it_is, norm, scale.double()[..., 0] * _length(gradient / scale))


def cosine(gradient: Tensor, clipped: Tensor) -> Tensor:
    """<g, c> / (||g|| ||c||) of every replica's gradient before and after clipping, [..., P] -> float64 [...].

    Scaled before they are squared, as in `gradient_norm`. 1 where they are equal, and where one of them is 0.
    """
    first, second = gradient / _largest(gradient), clipped / _largest(clipped)
    lengths = _length(first) * _length(second)
    turned = (gradient != clipped).any(-1) & (lengths > 0)
    return torch.where(turned, (sum_of_rows(first * second).double() / lengths).clamp(-1, 1), torch.ones_like(lengths))


def _largest(gradient: Tensor) -> Tensor:
    """max |g| of each row, [..., P] -> [..., 1]; 1 for a row of zeros."""
    largest = gradient.abs().amax(-1, keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def scaled(gradient: Tensor, norm: Tensor, threshold: Tensor | float) -> Tensor:
    """Gradients [..., P] whose norm [...] is above `threshold` [...] scaled down to it; the others keep their bits."""
    if everywhere(norm <= threshold):
        return gradient
    factor = torch.where(norm > threshold, threshold / norm, torch.ones_like(norm))
    root = factor.sqrt().to(gradient.dtype)[..., None]  # of an exploding net the factor itself may underflow in float32
    return (gradient * root).mul_(root)
