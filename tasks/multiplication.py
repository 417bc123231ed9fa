"""The multiplication problem: two of T random values are marked; say their product at the end.

Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", experiment 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tasks.marked_pair import MarkedPair


@dataclass(frozen=True)
class Multiplication(MarkedPair):
    """Product of two marked values X1, X2, uniform on [0, 1).

    Layout, `length` and errors: `MarkedPair`. Loss: squared error. An answer is right when it is nearer than .04
    (`pascanu`: squared error at most .04). Baseline: Var(X1 X2) = 1/9 - 1/16 = 7/144; for `hochreiter` 277/4800, for
    X1 is 1 once in ten.

    variant:
        halves: markers as in adding's `halves`, so that the two problems compare; of no paper.
        pascanu: Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063), and their code.
        hochreiter: Hochreiter & Schmidhuber 1997, experiment 5.

    Examples with T = 6, (value marker) step by step, of `halves`:
        .1 0 | .7 1 | .3 0 | .2 0 | .5 1 | .9 0  -> .35
        .4 1 | .2 0 | .8 0 | .6 0 | .1 0 | .3 1  -> .12
    """

    variants = {
        "halves": "markers of Arjovsky et al. 2016",
        "pascanu": "Pascanu et al. 2013",
        "hochreiter": "Hochreiter & Schmidhuber 1997, exp. 5",
    }
    neutral = 1.0
    outputs = 1

    @property
    def tolerance(self) -> float:
        """Greatest error of a right answer."""
        return 0.2 if self.variant == "pascanu" else 0.04

    @property
    def baseline_loss(self) -> float:
        return 277 / 4800 if self.variant == "hochreiter" else 7 / 144

    @property
    def chance_accuracy(self) -> float:
        if self.variant == "hochreiter":  # the mean is .9 / 4 + .1 / 2
            return 0.9 * _between(0.275, self.tolerance) + 0.1 * 2 * self.tolerance
        return _between(0.25, self.tolerance)

    @property
    def historical_accuracy(self) -> float | None:
        return 0.99 if self.variant == "pascanu" else None

    def answer(self, first: Tensor, second: Tensor) -> Tensor:
        return first * second

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.squeeze(-1) - targets).abs() < self.tolerance


def _between(middle: float, reach: float) -> float:
    """P(|U1 U2 - middle| < reach), U uniform on [0, 1): P(U1 U2 < z) = z - z ln z."""
    low, high = ((z - z * math.log(z)) for z in (middle - reach, middle + reach))
    return high - low
