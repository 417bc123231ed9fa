"""Parity of a few bits some steps ago: little to remember, and nothing linear about it.

State tracking and short-range nonlinearity, which identity initialisation is said to give up in exchange for memory.
After the delayed parity tasks of Bertschinger & Natschlaeger 2004, "Real-time computation at the edge of chaos in
recurrent neural networks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.ranges import Count, CountOrZero
from tasks.task import Batch, Random, Task


@dataclass(frozen=True)
class Parity(Task):
    """Whether the number of ones among `bits` input bits, the last of them `lag` steps ago, is odd.

    y_t = u_{t-lag} + u_{t-lag-1} + ... + u_{t-lag-bits+1} mod 2. Input: one channel, -1 for 0 and +1 for 1.
    Classes: even (0), odd (1). Loss: cross-entropy in nats. Baseline: ln 2; chance 1/2. The earliest bit lies
    lag + bits - 1 steps back.

    variant:
        stream: asked at every step from lag + bits - 1 on. Source: Bertschinger & Natschlaeger 2004.
        once: asked at the last step only; of no paper.
    length: T >= lag + bits, in time steps.
    bits: how many. lag: in time steps.

    Example with T = 8, bits = 2, lag = 1, bits over answers:
        1 1 0 1 0 0 1 1
            0 1 1 1 0 1
    """

    variants = {"stream": "Bertschinger & Natschläger 2004", "once": "of no paper"}
    inputs = 1
    outputs = 2
    channels = ("bit",)
    classes = ("even", "odd")
    baseline_loss = math.log(2)
    chance_accuracy = 0.5

    length: Count
    bits: Count
    lag: CountOrZero

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.lag + self.bits:
            raise ValueError(f"length={self.length}: must be >= lag + bits = {self.lag + self.bits}")

    @property
    def steps(self) -> int:
        return self.length

    @property
    def scored(self) -> range:
        return range(self.min_lag if self.variant == "stream" else self.length - 1, self.length)

    @property
    def min_lag(self) -> int:
        return self.lag + self.bits - 1

    def sample(self, random: Random, sequences: int) -> Batch:
        bits = random.integers(2, sequences, self.length)
        windows = (
            bits.unfold(-1, self.bits, 1).sum(-1) % 2
        )  # [..., B, length - bits + 1], window k ends at k + bits - 1
        first = self.scored.start - self.min_lag
        return Batch((2 * bits - 1).to(random.dtype)[..., None], windows[..., first : first + len(self.scored)])
