"""The adding problem: two of T random values are marked; say their sum at the end.

Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", experiment 4. Several problems go by this name; each is
a variant here. Le, Jaitly & Hinton 2015 do not say where their markers fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.task import Batch, Random, Task, squared_error

TOLERANCE = 0.04  # an answer is right when it is nearer than this to the sum


@dataclass(frozen=True)
class Adding(Task):
    """Sum of two marked values.

    Input at each step: (value, marker), value uniform on [0, 1), marker 1 at two steps and 0 elsewhere.
    Target: the sum, asked at the last step; loss: squared error. Baseline: Var(U1 + U2) = 1/6.

    variant:
        halves: one marker uniform over the first half (steps 0 .. T//2 - 1), one over the second.
            Source: Arjovsky, Shah & Bengio 2016, section 4.2 (arXiv:1511.06464).
        anywhere: two different steps, uniform over all.
            Source: Bai, Kolter & Koltun 2018 (arXiv:1803.01271).
    length: T >= 2, in time steps.
    Raises ValueError if length < 2.

    Two examples with T = 6, (value marker) step by step, the second of `anywhere` only:
        .1 0 | .7 1 | .3 0 | .2 0 | .5 1 | .9 0  -> 1.2
        .4 1 | .2 1 | .8 0 | .6 0 | .1 0 | .3 0  -> 0.6
    """

    variants = ("halves", "anywhere")

    length: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 2:
            raise ValueError(f"length={self.length}: adding needs at least 2 steps, one for each marker")

    inputs = 2
    outputs = 1
    baseline_loss = 1 / 6
    chance_accuracy = 2 * TOLERANCE - TOLERANCE**2  # P(|U1 + U2 - 1| < TOLERANCE), the density is a triangle

    @property
    def steps(self) -> int:
        return self.length

    @property
    def scored(self) -> range:
        return range(self.length - 1, self.length)

    @property
    def probe_step(self) -> int:
        return self.length - 1

    @property
    def min_lag(self) -> int:
        return self.length - self.length // 2 if self.variant == "halves" else 1

    @property
    def mean_lag(self) -> float:
        mean_first = (self.length // 2 - 1) / 2 if self.variant == "halves" else (self.length - 2) / 3
        return self.length - 1 - mean_first

    def sample(self, random: Random, sequences: int) -> Batch:
        values = random.uniform(sequences, self.length)
        marked = self._marked(random, sequences)
        markers = torch.zeros_like(values).scatter_(-1, marked, 1.0)
        target = values.gather(-1, marked).sum(-1, keepdim=True)
        return Batch(torch.stack((values, markers), dim=-1), target)

    def _marked(self, random: Random, sequences: int) -> Tensor:
        """The two marked steps, [..., sequences, 2]."""
        if self.variant == "halves":
            half = self.length // 2
            first = random.integers(half, sequences, 1)
            second = half + random.integers(self.length - half, sequences, 1)
        else:
            first = random.integers(self.length, sequences, 1)
            second = random.integers(self.length - 1, sequences, 1)
            second = second + (second >= first)  # uniform over the steps that are left
        return torch.cat((first, second), dim=-1)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.squeeze(-1) - targets).abs() < TOLERANCE
