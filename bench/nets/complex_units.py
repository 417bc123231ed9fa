"""Complex units in a state of real numbers h [..., H]: its first half are real parts, its second the imaginary ones.

A diagonal recurrence c_t = lambda * c_{t-1} + ... multiplies h by lambda's real part and, with its halves exchanged, by
the imaginary one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.nets.cells.cell import Weights


def factors(real: Tensor, imaginary: Tensor) -> dict[str, Tensor]:
    """What h, and h with its halves exchanged, are multiplied by: lambda's parts [..., H/2] -> each [..., H]."""
    return {"real": torch.cat((real, real), dim=-1), "imaginary": torch.cat((-imaginary, imaginary), dim=-1)}


def turned(weights: Weights, h: Tensor) -> Tensor:
    """lambda * c for weights with `factors` among them, [..., B, H]."""
    exchanged = h.roll(h.shape[-1] // 2, dims=-1)
    return weights["real"][..., None, :] * h + weights["imaginary"][..., None, :] * exchanged


def as_matrix(weights: Weights) -> Tensor:
    """lambda as a real matrix [..., H, H] of four diagonal blocks, [[Re, -Im], [Im, Re]]."""
    real, imaginary = weights["real"], weights["imaginary"]
    hidden = real.shape[-1]
    unit = torch.eye(hidden, dtype=real.dtype, device=real.device)
    return real[..., None] * unit + imaginary[..., None] * unit.roll(hidden // 2, dims=0)
