"""The norm of the gradient parameter by parameter: which weight explodes, which one no longer learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.measurements.measurement import Columns, Measurement, Snapshot
from bench.pack.sums import gradient_norm


@dataclass(frozen=True)
class BlockNorms(Measurement):
    """||dL/dp|| for each parameter p of a net (W_hh, W_xh, b ...), those of all gates together.

    L: the loss on this update's training batch, with penalties; the gradient is that before clipping, whose norm over
    all parameters the table `clipping` holds: its square is the sum of these squares.

    Columns: parameter, its symbol; norm, L2, in units of the gradient, float64.
    """

    table = "block_norms"
    series = ("parameter",)
    needs_gradient = True

    def measure(self, snapshot: Snapshot) -> list[Columns]:
        assert snapshot.gradient is not None
        parts = snapshot.network.views(snapshot.gradient)
        norms = torch.stack([gradient_norm(part.flatten(1)) for part in parts.values()], dim=-1)  # [R, parameters]
        return [{"parameter": np.array(list(parts)), "norm": row} for row in norms.cpu().numpy()]
