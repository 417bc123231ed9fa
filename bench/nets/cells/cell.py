"""The contract of a recurrent cell: its parameters and one step of its recurrence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from bench.pack.streams import Stream
from tasks.naming import Named
from tasks.ranges import Checked, Count
from tasks.task import Task

Role = Literal["recurrent", "input", "bias", "readout", "readout_bias"]
Weights = Mapping[str, Tensor]  # by the symbols of the cell's equation, leading axes are batch axes
State = tuple[Tensor, ...]  # each [..., B, H]


class Parameter(NamedTuple):
    """One parameter: the role that chooses its initialiser, and its shape in axis letters.

    The shape of a gated cell's parameter begins with the number of its gates.

    start: draws its start, float64 [*shape], where it is no weight that an initialiser could fill, say an eigenvalue;
        None leaves it to the initialiser of its role.
    torch_biases: how many biases of the torch.nn module with the same equation add up to it, for each gate where gates
        differ in that; 1 where there is no such module.
    """

    role: Role
    shape: tuple[str | int, ...]
    start: Callable[[Stream], Tensor] | None = None
    torch_biases: int | tuple[int, ...] = 1

    @property
    def gated(self) -> bool:
        """Whether an initialiser fills one block per gate."""
        return self.start is None and isinstance(self.shape[0], int)

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector, or one for each gate: a bias."""
        return len(self.shape) - self.gated == 1


@dataclass(frozen=True)
class Cell(Named, Checked, ABC):
    """A recurrence (x_t, state) -> state.

    hidden: number of units H, a multiple of `hidden_multiple`.

    `states` names the parts of the state, the hidden state `h` (which the readout sees) first. `gates` names the
    blocks of a gated cell's parameters, in the order of their leading axis; an ungated cell has none.
    """

    version: ClassVar[int] = 1  # raised whenever the equation changes
    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[tuple[str, ...]] = ()
    squashed: ClassVar[tuple[str, ...]] = ()  # parts of the state that the others see through a tanh
    hidden_multiple: ClassVar[int] = 1  # 2 where units come in pairs

    hidden: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.hidden_multiple:
            raise ValueError(f"hidden={self.hidden}: must be a multiple of {self.hidden_multiple}")

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Parameter]:
        """The cell's parameters by symbol."""

    def refusal(self, task: Task) -> str | None:
        """Why it cannot be trained on a task, beginning with the key that is to blame; None if it can."""
        return None

    @property
    def core(self) -> Cell:
        """The cell of one layer."""
        return self

    def layerwise(self, change: Callable[[Cell], Cell]) -> Cell:
        """The cell with `change` made to that of each layer."""
        return change(self)

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """The least and the greatest value of parts of the state, infinite for none; of a `squashed` part, of its tanh.

        A part that is not there has neither.
        """
        return {}

    @property
    def surrogate_gradient(self) -> bool:
        """Whether it trains by something else than the derivative of its step."""
        return False

    def prepared(self, weights: Weights) -> Weights:
        """The parameters [..., *shape] with whatever else `step` needs that follows from them alone, say W = exp(A).

        Called once before a pass through time; most cells need nothing more than their parameters.
        """
        return weights

    @property
    def population_size(self) -> int:
        """From how many training sequences a net takes what it is judged with (`with_population`); mostly none."""
        return 0

    def with_population(self, weights: Weights, inputs: Tensor) -> Weights:
        """The prepared weights with what a net is judged with: from training sequences, inputs [..., N, T, I].

        Called before a net is judged or measured, and not in training, where `step` takes the batch that it sees.
        """
        return weights

    @property
    def varies(self) -> bool:
        """Whether its weights differ from step to step."""
        return type(self).at is not Cell.at

    def at(self, weights: Weights, t: int) -> Weights:
        """The weights of step t, counted from 0, from those `prepared`; of most cells they are the same at every step.

        A cell that overrides this is trained by the engine `eager` alone.
        """
        return weights

    @abstractmethod
    def step(self, weights: Weights, x: Tensor, state: State) -> State:
        """The state after input x [..., B, I]; weights as `prepared`, of this step (`at`), each state [..., B, H]."""

    @abstractmethod
    def recurrent_blocks(self, weights: Weights) -> dict[str, Tensor]:
        """The square recurrent weights by label, each [..., H, H]: in each layer one, or one for each gate or part.

        A cell without one gives the matrix that its state is multiplied by where the input is 0.

        weights: as `prepared`.
        """


def held(after: State, before: State, ended: Tensor) -> State:
    """The state `after` a step, but `before` it for sequences that have ended; ended [..., B], bool."""
    return tuple(torch.where(ended[..., None], old, new) for new, old in zip(after, before, strict=True))
