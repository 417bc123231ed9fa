"""Spectrum of the recurrent weight, one row per block: what W can do to a gradient in the long run and in one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.measurements.measurement import Columns, Measurement, Snapshot


@dataclass(frozen=True)
class Spectrum(Measurement):
    """Spectral radius, norm, smallest singular value, condition and non-normality of every recurrent block.

    spectral radius rho(W) = max |lambda_i|; spectral norm ||W||_2 = sigma_max; condition = sigma_max / sigma_min;
    Henrici's departure from normality sqrt(max(0, ||W||_F^2 - sum |lambda_i|^2)) / ||W||_F, 0 for W = 0.
    A gated cell has one row per gate block, for it has no single W.
    Source: Henrici 1962, "Bounds for iterates, inverses, spectral variation and fields of values of non-normal
    matrices" (departure from normality).
    """

    table = "spectrum"
    series = ("block",)

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        blocks = snapshot.cell.recurrent_blocks(snapshot.weights)
        columns = {name: _describe(block, snapshot.eigenvalues[name]).cpu().numpy() for name, block in blocks.items()}
        names = np.array(list(blocks))
        replicas = len(next(iter(blocks.values())))
        return [
            {
                "block": names,
                "spectral_radius": (rows := np.stack([columns[name][r] for name in blocks]))[:, 0],
                "spectral_norm": rows[:, 1],
                "smallest_singular_value": rows[:, 2],
                "condition": rows[:, 3],
                "henrici": rows[:, 4],
            }
            for r in range(replicas)
        ]


def _describe(block: Tensor, eigenvalues: Tensor) -> Tensor:
    """The five numbers of each replica's block [R, H, H]: [R, 5]."""
    finite = block.isfinite().all(-1).all(-1)
    singular = torch.linalg.svdvals(block.where(finite[:, None, None], torch.zeros_like(block)))
    singular = singular.where(finite[:, None], torch.full_like(singular, torch.nan))
    norm2 = singular.square().sum(-1)
    departure = (norm2 - eigenvalues.abs().square().sum(-1)).clamp_min(0)
    henrici = torch.where(norm2 > 0, (departure / norm2).sqrt(), departure)
    largest, smallest = singular[:, 0], singular[:, -1]
    return torch.stack((eigenvalues.abs().amax(-1), largest, smallest, largest / smallest, henrici), dim=-1)
