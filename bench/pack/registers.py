"""How many numbers torch's vector loops take at a time; what is left beyond a multiple is computed in another way."""

from __future__ import annotations

import torch

BYTES = 128  # two of the longest registers there are, those of AVX-512


def whole_registers(dtype: torch.dtype) -> int:
    """Numbers of this precision in one turn of a vector loop: 32 in float32, 16 in float64."""
    return BYTES // dtype.itemsize
