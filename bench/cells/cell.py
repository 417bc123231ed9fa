"""The contract of a recurrent cell: its parameters and one step of its recurrence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

Role = Literal["recurrent", "input", "bias", "readout", "readout_bias"]
Weights = Mapping[str, Tensor]  # by the symbols of the cell's equation, leading axes are batch axes
State = tuple[Tensor, ...]  # each [..., B, H]


class Parameter(NamedTuple):
    """One parameter: the role that chooses its initialiser, and its shape in axis letters.

    The shape of a gated cell's parameter begins with the number of its gates.
    """

    role: Role
    shape: tuple[str | int, ...]

    @property
    def gated(self) -> bool:
        """Whether there is one block per gate."""
        return isinstance(self.shape[0], int)


@dataclass(frozen=True)
class Cell(ABC):
    """A recurrence (x_t, state) -> state.

    hidden: number of units H >= 1.
    Raises ValueError if hidden < 1.

    `states` names the parts of the state, the hidden state `h` (which the readout sees) first. `gates` names the
    blocks of a gated cell's parameters, in the order of their leading axis; an ungated cell has none.
    """

    version: ClassVar[int] = 1  # raised whenever the equation changes
    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[tuple[str, ...]] = ()

    hidden: int

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"hidden={self.hidden}: a cell needs at least 1 unit")

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Parameter]:
        """The cell's parameters by symbol."""

    @abstractmethod
    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        """The state after input x [..., B, I]; weights [..., *shape], each state [..., B, H]."""

    @abstractmethod
    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        """The square recurrent weights by label, each [..., H, H]: one for an ungated cell, one a gate else."""


def held(after: State, before: State, ended: Tensor) -> State:
    """The state `after` a step, but `before` it for sequences that have ended; ended [..., B], bool."""
    return tuple(torch.where(ended[..., None], old, new) for new, old in zip(after, before, strict=True))
