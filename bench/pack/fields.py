"""Fields of components that may differ between the replicas of one pack."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from typing_extensions import TypeVar

from tasks.ranges import hints

PER_REPLICA = "per replica"

Number = TypeVar("Number", default=float)

# The type of a field in which replicas of a pack may differ: `size: PerReplica`, or with a range `PerReplica[Share]`.
# A component is made with a number; the component of a pack, made by `joined`, holds a float64 tensor [R] in its place.
# Code that computes with the field works for both: `column` gives it the shape and the type of what it meets.
PerReplica = Annotated[Number | Tensor, PER_REPLICA]

Component = TypeVar("Component")


def per_replica_fields(component: object) -> list[str]:
    """Names of the fields annotated `PerReplica`."""
    kind: Any = type(component)
    return [name for name, hint in hints(kind).items() if PER_REPLICA in getattr(hint, "__metadata__", ())]


def column(value: float | Tensor, like: Tensor) -> Tensor:
    """A `PerReplica` value as it multiplies `like` [R, ...]: [R, 1 ... 1], [1, 1 ... 1] for a number, in its dtype."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, *[1] * (like.ndim - 1))


def indexed(component: Component, rows: Any) -> Component:
    """The component of some replicas of a pack: its `PerReplica` fields indexed; one that all share stays as it is."""
    result = copy.copy(component)
    for name in per_replica_fields(result):
        value = getattr(result, name)
        object.__setattr__(result, name, value[rows] if isinstance(value, Tensor) else value)
    return result


def joined(components: Sequence[Component], device: torch.device | str = "cpu") -> Component:
    """One component for a pack: equal to the first, its `PerReplica` fields those of all as a float64 tensor [R]."""
    result = copy.copy(components[0])
    for name in per_replica_fields(result):
        values = torch.tensor([getattr(c, name) for c in components], dtype=torch.float64, device=device)
        object.__setattr__(result, name, values)  # frozen, and each value was checked when its component was made
    return result
