"""A task of random numbers: what an engine is tried on before it trains anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tasks.ranges import Count
from tasks.task import Batch, Random, Task


@dataclass(frozen=True)
class Rehearsal(Task):
    """Random inputs, and random answers at the last two steps: classes, or a number where there is one output.

    Inputs are uniform on [-1, 1), classes uniform, numbers uniform on [0, 1). Nothing can be learnt.

    channels_in, answers: I and O. longest, shortest: T and the steps of the shortest sequence, 2 or more; lengths are
    uniform between them.
    """

    variants = {"random": "this suite"}

    channels_in: Count
    answers: Count
    longest: Count
    shortest: Count

    @property
    def inputs(self) -> int:
        return self.channels_in

    @property
    def outputs(self) -> int:
        return self.answers

    @property
    def steps(self) -> int:
        return self.longest

    @property
    def least_steps(self) -> int:
        return self.shortest

    @property
    def scored(self) -> range:
        return range(self.longest - 2, self.longest)

    @property
    def baseline_loss(self) -> float:
        return math.log(self.answers) if self.classes else 1 / 12

    @property
    def chance_accuracy(self) -> float:
        return 1 / self.answers

    @property
    def min_lag(self) -> int:
        return 1

    def sample(self, random: Random, sequences: int) -> Batch:
        inputs = 2 * random.uniform(sequences, self.longest, self.inputs) - 1
        asked = (sequences, len(self.scored))
        targets = random.integers(self.outputs, *asked) if self.classes else random.uniform(*asked)
        if self.shortest == self.longest:
            return Batch(inputs, targets)
        lengths = self.shortest + random.integers(self.longest - self.shortest + 1, sequences)
        there = torch.arange(self.longest, device=inputs.device) < lengths[..., None]
        return Batch(inputs * there[..., None], targets, lengths)
