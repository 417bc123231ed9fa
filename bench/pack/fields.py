"""Fields of components that may differ between the replicas of one pack."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_type_hints

import torch

PerReplica = Annotated[float, "per replica"]  # a float in one component, a tensor [R] in the component of a pack

Component = TypeVar("Component")


def per_replica_fields(component: object) -> list[str]:
    """Names of the fields annotated `PerReplica`."""
    hints = get_type_hints(type(component), include_extras=True)
    return [field.name for field in dataclasses.fields(component) if hints[field.name] == PerReplica]  # type: ignore[arg-type]


def indexed(component: Component, rows: Any) -> Component:
    """The component of some replicas of a pack: its `PerReplica` fields indexed; one that all share stays as it is."""
    result = copy.copy(component)
    for name in per_replica_fields(result):
        value = getattr(result, name)
        object.__setattr__(result, name, value[rows] if isinstance(value, torch.Tensor) else value)
    return result


def joined(components: Sequence[Component], device: torch.device | str = "cpu") -> Component:
    """One component for a pack: equal to the first, its `PerReplica` fields those of all as a float64 tensor [R]."""
    result = copy.copy(components[0])
    for name in per_replica_fields(result):
        values = torch.tensor([getattr(c, name) for c in components], dtype=torch.float64, device=device)
        object.__setattr__(result, name, values)  # frozen, and each value was checked when its component was made
    return result
