"""The copying memory problem: read K symbols, wait, and say them again in order.

After Hochreiter & Schmidhuber 1997, "Long short-term memory". Several problems go by this name; each is a variant here,
and their losses do not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.task import Batch, Random, Task, cross_entropy


@dataclass(frozen=True)
class Copying(Task):
    """Recall of K symbols after a delay: K symbols, blanks, a marker, K answers, in length + 2K steps.

    Input: one-hot over S symbols, blank, marker. Target: blank, and the K symbols in the last K steps. Loss:
    cross-entropy in nats. Every lag is length + K. Accuracy counts the K answers only.
    Baseline: K ln S / (length + 2K) nats per step where all steps are scored, ln S per answer where only they are.

    variant:
        arjovsky: length - 1 blanks, one marker one step before the first answer, then blanks; S + 1 classes.
            Source: Arjovsky, Shah & Bengio 2016, section 4.1 (arXiv:1511.06464); Henaff 2016, Vorontsov 2017.
        exprnn: length blanks, one marker at the step of the first answer, then blanks; S + 1 classes.
            Source: Lezcano-Casado & Martinez-Rubio 2019 (arXiv:1901.08428).
        tcn: length - 1 blanks, then K + 1 markers; the input is one number (blank 0, symbols 1 .. S, marker S + 1);
            S + 2 classes. Source: Bai, Kolter & Koltun 2018 (arXiv:1803.01271).
        recall: length blanks, then K markers, one at every answer; S + 2 classes; only the answers are scored.
            Source: the copying task in the code of Gu, Goel & Re 2022 (arXiv:2111.00396).
    length: delay >= 1, in time steps.
    symbols: K >= 1, how many to recall.
    kinds: S >= 2, how many different ones there are.
    Raises ValueError on smaller values.

    Examples with length 4, K = 3, S = 8 (symbols 0-7, `_` blank, `!` marker), input over target, `arjovsky` and
    `recall`:
        5 1 5 _ _ _ ! _ _ _        0 7 2 _ _ _ _ ! ! !
        _ _ _ _ _ _ _ 5 1 5                      0 7 2
    """

    variants = ("arjovsky", "exprnn", "tcn", "recall")

    length: int
    symbols: int
    kinds: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 1:
            raise ValueError(f"length={self.length}: copying needs a delay of at least 1 step")
        if self.symbols < 1:
            raise ValueError(f"symbols={self.symbols}: copying needs at least 1 symbol to recall")
        if self.kinds < 2:
            raise ValueError(f"kinds={self.kinds}: copying needs at least 2 kinds of symbol")

    @property
    def inputs(self) -> int:
        return 1 if self.variant == "tcn" else self.kinds + 2

    @property
    def outputs(self) -> int:
        return self.kinds + (2 if self.variant in ("tcn", "recall") else 1)

    @property
    def steps(self) -> int:
        return self.length + 2 * self.symbols

    @property
    def scored(self) -> range:
        return range(self.probe_step if self.variant == "recall" else 0, self.steps)

    @property
    def probe_step(self) -> int:
        return self.length + self.symbols

    @property
    def baseline_loss(self) -> float:
        return self.symbols * math.log(self.kinds) / len(self.scored)

    @property
    def chance_accuracy(self) -> float:
        return 1 / self.kinds

    @property
    def min_lag(self) -> int:
        return self.length + self.symbols

    @property
    def mean_lag(self) -> float:
        return float(self.min_lag)

    @property
    def _marked(self) -> slice:
        """The steps that show the marker."""
        first = self.probe_step - (1 if self.variant in ("arjovsky", "tcn") else 0)
        return slice(first, first + 1 if self.variant in ("arjovsky", "exprnn") else self.steps)

    def sample(self, random: Random, sequences: int) -> Batch:
        blank, marker = self.kinds, self.kinds + 1
        recalled = random.integers(self.kinds, sequences, self.symbols)
        shown = recalled.new_full((*recalled.shape[:-1], self.steps), blank)
        targets = shown.clone()
        shown[..., : self.symbols] = recalled
        shown[..., self._marked] = marker
        targets[..., self.probe_step :] = recalled
        scored = targets[..., self.scored.start : self.scored.stop]
        return Batch(self._encoded(shown).to(random.dtype), scored)

    def _encoded(self, shown: Tensor) -> Tensor:
        """[..., T] -> [..., T, I]."""
        if self.variant == "tcn":  # blank 0, symbols 1 .. S, marker S + 1
            return torch.where(shown == self.kinds, 0, shown + (shown < self.kinds))[..., None]
        return shown[..., None] == torch.arange(self.inputs, device=shown.device)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        answers = slice(-self.symbols, None)
        return outputs[..., answers, :].argmax(-1) == targets[..., answers]
