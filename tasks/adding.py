"""The adding problem: two of T random values are marked; say their sum at the end.

Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", experiment 4. Several problems go by this name; each is
a variant here. Le, Jaitly & Hinton 2015 do not say where their markers fall.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tasks.marked_pair import MarkedPair
from tasks.task import Random


@dataclass(frozen=True)
class Adding(MarkedPair):
    """Sum of two marked values X1, X2 (`halves`, `anywhere`), their mean (`pascanu`), or .5 + (X1 + X2)/4.

    Values uniform on [0, 1), for `hochreiter` on [-1, 1). Layout, `length` and errors: `MarkedPair`.
    Loss: squared error. An answer is right when it is nearer than .04 (`pascanu`: squared error at most .04).
    Baseline: Var(U1 + U2) = 1/6; of the mean 1/24; `hochreiter` (Var X1 + 1/3)/16 = 19/480, for X1 is 0 once in ten.

    variant:
        halves: Arjovsky, Shah & Bengio 2016, section 4.2 (arXiv:1511.06464).
        anywhere: Bai, Kolter & Koltun 2018 (arXiv:1803.01271).
        pascanu: Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063), and their code.
        hochreiter: Hochreiter & Schmidhuber 1997, experiment 4.

    Examples with T = 6, (value marker) step by step, of `halves`, of `anywhere` only:
        .1 0 | .7 1 | .3 0 | .2 0 | .5 1 | .9 0  -> 1.2
        .4 1 | .2 1 | .8 0 | .6 0 | .1 0 | .3 0  -> 0.6
    and of `hochreiter` with T = 11:
        .1 -1 | .6 1 | -.3 0 | -.8 1 | .5 0 | 0 0 | .2 0 | .9 0 | -.4 0 | .7 0 | .2 -1  -> .45
    """

    variants = {
        "halves": "Arjovsky et al. 2016",
        "anywhere": "Bai et al. 2018",
        "pascanu": "Pascanu et al. 2013",
        "hochreiter": "Hochreiter & Schmidhuber 1997, exp. 4",
    }
    neutral = 0.0
    outputs = 1

    @property
    def tolerance(self) -> float:
        """Greatest error of a right answer."""
        return 0.2 if self.variant == "pascanu" else 0.04

    @property
    def baseline_loss(self) -> float:
        return {"pascanu": 1 / 24, "hochreiter": 19 / 480}.get(self.variant, 1 / 6)

    @property
    def chance_accuracy(self) -> float:
        if self.variant == "hochreiter":  # |X1 + X2| < 4 tolerance, X1 = 0 once in ten
            reach = 4 * self.tolerance / 2
            return 0.9 * _within(reach) + 0.1 * 2 * reach
        return _within(2 * self.tolerance if self.variant == "pascanu" else self.tolerance)

    @property
    def historical_accuracy(self) -> float | None:
        return {"pascanu": 0.99, "hochreiter": 1.0}.get(self.variant)

    def _values(self, random: Random, sequences: int) -> Tensor:
        values = super()._values(random, sequences)
        return 2 * values - 1 if self.variant == "hochreiter" else values

    def answer(self, first: Tensor, second: Tensor) -> Tensor:
        both = first + second
        return {"pascanu": both / 2, "hochreiter": 0.5 + both / 4}.get(self.variant, both)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.squeeze(-1) - targets).abs() < self.tolerance


def _within(reach: float) -> float:
    """P(|U1 + U2 - 1| < reach), U uniform on [0, 1): the density is a triangle."""
    return 2 * reach - reach**2
