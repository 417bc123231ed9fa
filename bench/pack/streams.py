"""Random numbers that do not depend on who else is drawing: one stream per (seed, purpose).

Counter-based generator Philox-4x32-10 in integer operations on whole tensors: the key is a digest of (seed, purpose),
the counter is (position, update). The same bits come out whatever the pack, the worker, the device or the resumption,
and all replicas (and several updates ahead) are drawn in one call.

Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> list[Tensor]:
    """Four 32-bit words for each counter (four words) and key (two words); all int64 tensors in [0, 2^32)."""
    words = [*torch.broadcast_tensors(*counter, *key)[:4], *key]
    if words[0].device.type != "cpu":
        return mixed(*words)
    return [torch.from_numpy(word) for word in mixed(*(word.numpy() for word in words))]  # in half the time


def mixed(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> list[Any]:
    """Philox of counters of one shape and keys that broadcast to it, tensors or arrays of NumPy alike."""
    for _ in range(_ROUNDS):
        low0, low1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # wraps modulo 2^64, as it should
        high0, high1 = low0 >> 32, low1 >> 32
        for word in (low0, low1, high0, high1):
            word &= _WORD
        high1 ^= c1
        high1 ^= k0
        high0 ^= c3
        high0 ^= k1
        c0, c1, c2, c3 = high1, low1, high0, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return [c0, c1, c2, c3]


class Stream:
    """Random numbers for R replicas, each from its own seed, for one purpose (`train`, `heldout`, `init/W_hh`...).

    seeds: one per replica; a single number for one replica without the axis R.
    purpose: names what the numbers are for; other purposes are independent.
    updates: one update (None for update 0) for shape [R, ...], or U updates at once for shape [U, R, ...].
    dtype: of the floating point numbers. Both precisions get the same values.

    Every draw returns `[*lead, *shape]` with lead (R) or (U, R) and moves the position on.
    """

    def __init__(
        self,
        seeds: Sequence[int] | int,
        purpose: str,
        updates: Sequence[int] | int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        replicas = [seeds] if isinstance(seeds, int) else seeds
        digests = [hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest() for seed in replicas]
        words = [(int.from_bytes(d[:4], "little"), int.from_bytes(d[4:], "little")) for d in digests]
        self.dtype = dtype
        self.device = torch.device(device)
        self.lead: tuple[int, ...] = () if isinstance(seeds, int) else (len(seeds),)
        self._key = torch.tensor(words, device=device)[..., None]  # [R, 2, 1]
        self._update = torch.tensor(updates if isinstance(updates, int) else 0, device=device)
        if updates is not None and not isinstance(updates, int):
            self.lead = (len(updates), *self.lead)
            self._update = torch.tensor(list(updates), device=device)[:, None, None]  # [U, 1, 1]
        self._position = 0

    def bits(self, *shape: int) -> Tensor:
        """Uniform integers in [0, 2^32), int64 [*lead, *shape]."""
        count = math.prod(shape)
        blocks = -(-count // 4)
        position = torch.arange(self._position, self._position + blocks, device=self.device)
        self._position += blocks
        zero = torch.zeros_like(self._update)
        words = philox((position, self._update, zero, zero), (self._key[:, 0], self._key[:, 1]))
        return torch.stack(words, dim=-1).flatten(-2)[..., :count].reshape(*self.lead, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) with 24 bits, exact in both precisions: [*lead, *shape]."""
        return (self.bits(*shape) >> 8).to(self.dtype).mul_(2.0**-24)

    def integers(self, high: int | Tensor, *shape: int) -> Tensor:
        """Uniform integers in [0, high), int64 [*lead, *shape]; `high` may be a tensor that broadcasts."""
        return (self.bits(*shape) * high) >> 32

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers in float64 (Box & Muller 1958): [*lead, *shape]."""
        radius, angle = ((self.bits(2, *shape).double() + 0.5) * 2.0**-32).unbind(len(self.lead))
        return (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()
