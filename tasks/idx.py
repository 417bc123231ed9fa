"""IDX files, the format of MNIST: a magic number, the sizes of the axes, then the numbers.

Big-endian: two zero bytes, a type code, the number of axes, each size as a 32-bit integer, then the array in C order.
Source: the description at the data's own site (LeCun, Cortes & Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


class NotIDX(ValueError):
    """What is wrong with a file, to be read after its name."""


def read_idx(path: Path) -> Tensor:
    """The array of unsigned bytes in a plain or gzipped IDX file, uint8.

    Raises NotIDX if it is no such file, or torn.
    """
    data = path.read_bytes()
    if data[:2] == GZIP_MAGIC:
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error):
            raise NotIDX("is a torn gzip file") from None
    if len(data) < 4 or data[:2] != b"\0\0":
        raise NotIDX("is no IDX file (it does not begin with two zero bytes, a type and a number of axes)")
    kind, axes = data[2], data[3]
    if kind != UNSIGNED_BYTE:
        raise NotIDX(f"holds type 0x{kind:02x}; read are unsigned bytes (0x08)")
    start = 4 + 4 * axes
    if len(data) < start:
        raise NotIDX("is truncated in its head")
    sizes = struct.unpack(f">{axes}I", data[4:start])
    if len(data) - start != math.prod(sizes):
        raise NotIDX(f"holds {len(data) - start} bytes where {' x '.join(map(str, sizes))} were announced")
    return torch.frombuffer(bytearray(data[start:]), dtype=torch.uint8).reshape(sizes)
