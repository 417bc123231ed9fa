"""The copying memory problem: read K symbols, wait, and say them again in order.

Source: Hochreiter & Schmidhuber 1997, section 5.1; variant `arjovsky` is that of Arjovsky, Shah & Bengio 2016,
section 4.1 (arXiv:1511.06464), as also used by Henaff, Szlam & LeCun 2016 and Vorontsov et al. 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.task import Batch, Random, Task, cross_entropy


@dataclass(frozen=True)
class Copying(Task):
    """Recall of K symbols after a delay.

    Variant `arjovsky`: K symbols, `length` - 1 blanks, one go marker, K blanks: length + 2K steps, one-hot over
    S symbols, blank, marker. Target: blank everywhere, the K symbols in the last K steps (the marker comes one step
    before the first answer); one of S + 1 classes. Loss: cross-entropy over all steps. Every lag is length + K.
    Baseline: K ln S / (length + 2K) nats per step. Accuracy counts the K answers only.

    length: delay >= 1, in time steps.
    symbols: K >= 1, how many to recall.
    kinds: S >= 2, how many different ones there are.
    variant: `arjovsky`.
    Raises ValueError on smaller values or an unknown variant.

    Two examples with length 4, K = 3, S = 8 (symbols 0-7, `_` blank, `!` marker), input over target:
        5 1 5 _ _ _ ! _ _ _        0 7 2 _ _ _ ! _ _ _
        _ _ _ _ _ _ _ 5 1 5        _ _ _ _ _ _ _ 0 7 2
    """

    length: int
    symbols: int
    kinds: int
    variant: str

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length={self.length}: copying needs a delay of at least 1 step")
        if self.symbols < 1:
            raise ValueError(f"symbols={self.symbols}: copying needs at least 1 symbol to recall")
        if self.kinds < 2:
            raise ValueError(f"kinds={self.kinds}: copying needs at least 2 kinds of symbol")
        if self.variant != "arjovsky":
            raise ValueError(f"variant={self.variant}: copying has the variant arjovsky")

    @property
    def inputs(self) -> int:
        return self.kinds + 2

    @property
    def outputs(self) -> int:
        return self.kinds + 1

    @property
    def steps(self) -> int:
        return self.length + 2 * self.symbols

    @property
    def scored(self) -> range:
        return range(self.steps)

    @property
    def probe_step(self) -> int:
        return self.length + self.symbols

    @property
    def baseline_loss(self) -> float:
        return self.symbols * math.log(self.kinds) / self.steps

    @property
    def chance_accuracy(self) -> float:
        return 1 / self.kinds

    @property
    def min_lag(self) -> int:
        return self.length + self.symbols

    @property
    def mean_lag(self) -> float:
        return float(self.min_lag)

    def sample(self, random: Random, sequences: int) -> Batch:
        blank, marker = self.kinds, self.kinds + 1
        recalled = random.integers(self.kinds, sequences, self.symbols)
        shown = recalled.new_full((*recalled.shape[:-1], self.steps), blank)
        targets = shown.clone()
        shown[..., : self.symbols] = recalled
        shown[..., self.probe_step - 1] = marker
        targets[..., self.probe_step :] = recalled
        one_hot = shown[..., None] == torch.arange(self.inputs, device=shown.device)
        return Batch(one_hot.to(random.dtype), targets)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        answers = slice(self.probe_step, self.steps)
        return outputs[..., answers, :].argmax(-1) == targets[..., answers]
