"""Layer normalisation, without gain and bias: for cells and for remedies of cells.

Source: Ba, Kiros & Hinton 2016, equations 3 and 4 (arXiv:1607.06450).
"""

from __future__ import annotations

import torch
from torch import Tensor


def layer_normalized(values: Tensor, eps: float) -> Tensor:
    """(v - mean) / sqrt(var + eps), mean and variance over the last axis: [..., N] -> [..., N]."""
    centred = values - values.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
