"""A start from the weights that another run ended with, in place of drawn ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.nets.network import Network


@dataclass(frozen=True)
class Start:
    """Weights by symbol, and where they come from.

    origin: the folder of the run, as it was given; no part of a run's identity, which rests on the digest.
    digest: of the weights. Raises ValueError if one of them is not finite.
    """

    origin: str = field(metadata={"identity": False})
    weights: Mapping[str, np.ndarray] = field(repr=False, compare=False, metadata={"identity": False})
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not np.isfinite(weight).all():
                raise ValueError(f"{name} is not finite there: the run has diverged")
        whole = hashlib.blake2b(digest_size=8)
        for name, weight in sorted(self.weights.items()):
            whole.update(f"{name} {weight.dtype} {weight.shape}".encode() + np.ascontiguousarray(weight).tobytes())
        object.__setattr__(self, "digest", whole.hexdigest())

    def misfit(self, network: Network) -> str | None:
        """What of the weights does not fit a network; None if all does."""
        expected = {name: network.shape(name) for name in network.parameters}
        if expected.keys() != self.weights.keys():
            return f"has {', '.join(self.weights)} where this net has {', '.join(expected)}"
        for name, shape in expected.items():
            if self.weights[name].shape != shape:
                return f"its {name} is {[*self.weights[name].shape]}, that of this net {[*shape]}"
        return None

    def row(self, network: Network) -> Tensor:
        """The weights as a replica's row, float64 [P]."""
        row = torch.zeros(network.flat_size, dtype=torch.float64)
        for name, view in network.views(row).items():
            view.copy_(torch.from_numpy(self.weights[name]))
        return row
