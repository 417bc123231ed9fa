"""Random permutation: the first of T symbols is to be named again at the end; all others are noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt

from tasks.task import Batch, Random, Task, one_hot

CUES = 2


@dataclass(frozen=True)
class Permutation(Task):
    """Repeat the first symbol, which is 0 or 1, after T - 1 others drawn from the remaining kinds.

    Input: one-hot over `kinds` symbols. Loss: cross-entropy over all kinds, in nats, at the last step, for the symbol
    that would come next. Baseline: ln 2; chance 1/2. Lag: T - 1.

    variant:
        pascanu: only the last step is scored, the one that can be predicted.
            Source: Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063), and their code.
    length: T, in time steps.
    kinds: of symbols; 100 in the source.

    Two examples with T = 6, kinds = 100:
        1 57 98 2 31 57  -> 1
        0 12 12 64 83 5  -> 0
    """

    variants = {"pascanu": "Pascanu et al. 2013"}
    symbolic = True
    baseline_loss = math.log(CUES)
    chance_accuracy = 1 / CUES
    historical_accuracy = 0.99

    length: Annotated[int, Ge(2)]
    kinds: Annotated[int, Gt(CUES)]

    @property
    def inputs(self) -> int:
        return self.kinds

    @property
    def outputs(self) -> int:
        return self.kinds

    @property
    def steps(self) -> int:
        return self.length

    @property
    def min_lag(self) -> int:
        return self.length - 1

    def sample(self, random: Random, sequences: int) -> Batch:
        cue = random.integers(CUES, sequences, 1)
        noise = CUES + random.integers(self.kinds - CUES, sequences, self.length - 1)
        return Batch(one_hot(torch.cat((cue, noise), dim=-1), self.kinds, random.dtype), cue)
