"""The copying memory problem: read K symbols, wait, and say them again in order.

After Hochreiter & Schmidhuber 1997, "Long short-term memory". Several problems go by this name; each is a variant here,
and their losses do not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from tasks.ranges import Count
from tasks.task import Batch, Random, Task, one_hot

BLANK, MARKER = "_", "!"
ONLY_ANSWERS = ("recall", "selective")  # variants in which nothing else is scored


@dataclass(frozen=True)
class Copying(Task):
    """Recall of K symbols after a delay: K symbols, blanks, a marker, K answers, in length + 2K steps.

    Input: one-hot over S symbols, blank, marker. Target: blank, and the K symbols in the last K steps. Loss:
    cross-entropy in nats. Every lag is length + K, but for `selective`. Accuracy counts the K answers only.
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
        selective: as recall, but the symbols are scattered: at K different steps, uniform over the first length + K.
            Source: Jing et al. 2019, the denoise task (arXiv:1706.02761); Gu & Dao 2023 (arXiv:2312.00752).
        memorization: as exprnn, and an answer is right only if all K symbols are (noiseless memorization, K = 10,
            S = 5). Source: Pascanu, Mikolov & Bengio 2013 (arXiv:1211.5063), and their code.
    length: delay, in time steps.
    symbols: K, how many to recall.
    kinds: S, how many different ones there are.

    Examples with length 4, K = 3, S = 8 (symbols 0-7, `_` blank, `!` marker), input over target, `arjovsky`,
    `recall`, and `selective`:
        5 1 5 _ _ _ ! _ _ _        0 7 2 _ _ _ _ ! ! !        _ 4 _ _ 6 4 _ ! ! !
        _ _ _ _ _ _ _ 5 1 5                      0 7 2                      4 6 4
    """

    variants = {
        "arjovsky": "Arjovsky et al. 2016",
        "exprnn": "Lezcano-Casado & Martínez-Rubio 2019",
        "tcn": "Bai et al. 2018",
        "recall": "Gu et al. 2022",
        "selective": "Jing et al. 2019, Gu & Dao 2023",
        "memorization": "Pascanu et al. 2013",
    }

    length: Count
    symbols: Count
    kinds: Annotated[int, Ge(2)]

    @property
    def symbolic(self) -> bool:
        return self.variant != "tcn"

    @property
    def channels(self) -> tuple[str, ...]:
        return (*map(str, range(self.kinds)), BLANK, MARKER) if self.symbolic else ("code",)

    @property
    def classes(self) -> tuple[str, ...]:
        return (*map(str, range(self.kinds)), BLANK, MARKER)[: self.outputs]

    @property
    def inputs(self) -> int:
        return len(self.channels)

    @property
    def outputs(self) -> int:
        return self.kinds + (2 if self.variant in ("tcn", *ONLY_ANSWERS) else 1)

    @property
    def steps(self) -> int:
        return self.length + 2 * self.symbols

    @property
    def scored(self) -> range:
        return range(self.probe_step if self.variant in ONLY_ANSWERS else 0, self.steps)

    @property
    def probe_step(self) -> int:
        return self.length + self.symbols

    @property
    def baseline_loss(self) -> float:
        return self.symbols * math.log(self.kinds) / len(self.scored)

    @property
    def chance_accuracy(self) -> float:
        return float(self.kinds) ** -(self.symbols if self.variant == "memorization" else 1)

    @property
    def min_lag(self) -> int:
        return self.symbols if self.variant == "selective" else self.length + self.symbols

    @property
    def mean_lag(self) -> float:
        scattered = self.length / (self.symbols + 1) if self.variant == "selective" else 0.0  # mean of the first place
        return self.length + self.symbols - scattered

    @property
    def historical_accuracy(self) -> float | None:
        return 0.99 if self.variant == "memorization" else None

    @property
    def _marked(self) -> slice:
        """The steps that show the marker."""
        first = self.probe_step - (1 if self.variant in ("arjovsky", "tcn") else 0)
        return slice(first, self.steps if self.variant in ("tcn", *ONLY_ANSWERS) else first + 1)

    def sample(self, random: Random, sequences: int) -> Batch:
        blank, marker = self.kinds, self.kinds + 1
        recalled = random.integers(self.kinds, sequences, self.symbols)
        shown = recalled.new_full((*recalled.shape[:-1], self.steps), blank)
        targets = shown.clone()
        shown.scatter_(-1, self._places(random, recalled), recalled)
        shown[..., self._marked] = marker
        targets[..., self.probe_step :] = recalled
        scored = targets[..., self.scored.start : self.scored.stop]
        return Batch(self._encoded(shown, random.dtype), scored)

    def _places(self, random: Random, recalled: Tensor) -> Tensor:
        """The steps at which the symbols stand, [..., B, K]: the first ones, or K different ones in order."""
        if self.variant != "selective":
            return torch.arange(self.symbols, device=recalled.device).expand_as(recalled)
        places: list[Tensor] = []
        for last in range(self.length, self.length + self.symbols):  # Floyd's algorithm (Bentley & Floyd 1987)
            place = random.integers(last + 1, recalled.shape[-2])
            taken = torch.stack([place == other for other in places]).any(0) if places else torch.zeros_like(place)
            places.append(torch.where(taken > 0, last, place))
        return torch.stack(places, dim=-1).sort(-1).values

    def _encoded(self, shown: Tensor, dtype: torch.dtype) -> Tensor:
        """[..., T] -> [..., T, I]."""
        if self.symbolic:
            return one_hot(shown, self.inputs, dtype)
        return torch.where(shown == self.kinds, 0, shown + (shown < self.kinds))[..., None].to(dtype)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        answers = slice(-self.symbols, None)
        right = outputs[..., answers, :].argmax(-1) == targets[..., answers]
        return right.all(-1, keepdim=True) if self.variant == "memorization" else right
