"""Delayed XOR: two of T random bits are marked; say at the end whether they differ.

A problem that needs memory and a nonlinear answer: no linear function of the two bits is better than chance.
Source: Martens & Sutskever 2011, "Learning recurrent neural networks with Hessian-free optimization", the XOR problem
of their supplement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from tasks.marked_pair import MarkedPair
from tasks.task import Random


@dataclass(frozen=True)
class DelayedXOR(MarkedPair):
    """Exclusive or of two marked bits.

    Values 0 or 1, equally likely. Layout, `length` and errors: `MarkedPair`. Classes: equal (0), different (1).
    Loss: cross-entropy in nats. Baseline: ln 2; chance 1/2.

    variant:
        halves: markers as in adding's `halves`.
        pascanu: markers as in the adding of Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063).

    Examples with T = 6, (bit marker) step by step, of `halves`:
        0 0 | 1 1 | 1 0 | 0 0 | 1 1 | 0 0  -> 0
        1 1 | 0 0 | 1 0 | 1 0 | 0 0 | 0 1  -> 1
    """

    variants = {
        "halves": "Martens & Sutskever 2011, markers of Arjovsky et al. 2016",
        "pascanu": "Martens & Sutskever 2011, markers of Pascanu et al. 2013",
    }
    neutral = 0.0
    outputs = 2
    classes = ("equal", "different")
    baseline_loss = math.log(2)
    chance_accuracy = 0.5

    def _values(self, random: Random, sequences: int) -> Tensor:
        return random.integers(2, sequences, self.steps).to(random.dtype)

    def answer(self, first: Tensor, second: Tensor) -> Tensor:
        return (first != second).long()
