"""Temporal order: two or three relevant symbols come far apart among irrelevant ones; say which, in which order.

Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", experiments 6a and 6b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from tasks.task import Batch, Random, Task, one_hot

RELEVANT = ("X", "Y")
IRRELEVANT = ("a", "b", "c", "d")
BEGIN, END = "E", "B"  # first and last symbol of `hochreiter`, in the paper's letters


@dataclass(frozen=True)
class TemporalOrder(Task):
    """Classify the sequence of relevant symbols: 2^`symbols` classes, class = sum of 2^k [k-th symbol is Y].

    Input: one-hot. Loss: cross-entropy in nats at the last step. Baseline: `symbols` ln 2; chance 2^-`symbols`.

    variant:
        pascanu: T steps; the symbols fall uniformly into [.1, .2) T and [.5, .6) T, three of them into [.1, .2) T,
            [.3, .4) T and [.6, .7) T. Source: Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063), and their code.
        hochreiter: T + U{0 .. T//10} steps, of which the first shows E and the last B; the symbols fall into
            .1 T .. .2 T and .5 T .. .6 T, three of them into .1 T .. .2 T, .33 T .. .43 T and .66 T .. .76 T, both ends
            included (steps count from 0). Source: Hochreiter & Schmidhuber 1997, experiments 6a and 6b with T = 100.
    length: T, in time steps.
    symbols: how many are relevant.

    Examples with T = 10, of `pascanu` with 2 symbols, of `hochreiter` with 3:
        c X a d b Y b a a c  -> Y second only: class 2
        E Y c Y b b X d a B  -> YYX: class 3
    """

    variants = {
        "pascanu": "Pascanu et al. 2013",
        "hochreiter": "Hochreiter & Schmidhuber 1997, exp. 6",
    }
    symbolic = True

    length: Annotated[int, Ge(10)]
    symbols: Annotated[int, Ge(2), Le(3)]

    @property
    def channels(self) -> tuple[str, ...]:
        ends = (BEGIN, END) if self.variant == "hochreiter" else ()
        return (*RELEVANT, *IRRELEVANT, *ends)

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of time: class 1 is YX."""
        codes = range(2**self.symbols)
        return tuple("".join(RELEVANT[code >> k & 1] for k in range(self.symbols)) for code in codes)

    @property
    def inputs(self) -> int:
        return len(self.channels)

    @property
    def outputs(self) -> int:
        return 1 << self.symbols

    @property
    def least_steps(self) -> int:
        return self.length

    @property
    def steps(self) -> int:
        return self.length + (self.length // 10 if self.variant == "hochreiter" else 0)

    @property
    def baseline_loss(self) -> float:
        return self.symbols * math.log(2)

    @property
    def chance_accuracy(self) -> float:
        return 2.0**-self.symbols

    @property
    def min_lag(self) -> int:
        return self.length - 1 - self._places[0][-1]

    @property
    def mean_lag(self) -> float:
        first = self._places[0]
        return (self.least_steps + self.steps) / 2 - 1 - (first[0] + first[-1]) / 2

    @property
    def historical_accuracy(self) -> float | None:
        return 0.99 if self.variant == "pascanu" else None

    @property
    def _places(self) -> list[range]:
        """Where each relevant symbol may fall."""
        if self.variant == "pascanu":
            starts, width = ((10, 50) if self.symbols == 2 else (10, 30, 60)), self.length // 10
        else:
            starts, width = ((10, 50) if self.symbols == 2 else (10, 33, 66)), self.length // 10 + 1
        return [range(start * self.length // 100, start * self.length // 100 + width) for start in starts]

    def so_far(self, batch: Batch) -> Tensor:
        """The class of the relevant symbols seen so far, those still to come counting as X."""
        relevant = batch.inputs[..., : len(RELEVANT)]
        before = relevant.sum(-1).cumsum(-1).long() - 1  # how many came before the last one so far
        is_y = relevant[..., RELEVANT.index("Y")].long()
        return (is_y << before.clamp(min=0)).cumsum(-1)

    def sample(self, random: Random, sequences: int) -> Batch:
        shown = len(RELEVANT) + random.integers(len(IRRELEVANT), sequences, self.steps)
        codes = random.integers(self.outputs, sequences)
        for k, places in enumerate(self._places):
            place = places.start + random.integers(len(places), sequences, 1)
            shown.scatter_(-1, place, (codes >> k & 1)[..., None])
        if self.variant == "pascanu":
            return Batch(one_hot(shown, self.inputs, random.dtype), codes[..., None])
        lengths = self.length + random.integers(self.steps - self.length + 1, sequences)
        shown[..., 0] = self.channels.index(BEGIN)
        shown.scatter_(-1, lengths[..., None] - 1, self.channels.index(END))
        there = torch.arange(self.steps, device=shown.device) < lengths[..., None]
        inputs = one_hot(shown, self.inputs, random.dtype).mul_(there[..., None])
        return Batch(inputs, codes[..., None], lengths)
