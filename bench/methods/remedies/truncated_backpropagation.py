"""Truncated backpropagation through time: an error goes back through so many steps and no further."""

from __future__ import annotations

from dataclasses import dataclass

from bench.methods.remedies.remedy import Remedy, Truncation
from tasks.ranges import Count


@dataclass(frozen=True)
class TruncatedBackpropagation(Remedy):
    """BPTT(k2; k1): after every k1 steps, and the last, the losses of these go back through the last k2 steps.

    g = sum over stretches (e - k1, e] of d(sum of l_t in the stretch)/dw, with the state at step e - k2 held constant.
    With k1 = k2 = k the sequence is cut into pieces of k steps; with k1 = 1 every loss goes back through k2 steps; with
    k2 no less than the sequence this is the gradient. No dependence longer than k2 is learned but by what the state
    happens to carry. Costs k2 / k1 passes back, all of `eager`.

    k1, k2: in time steps, k1 <= k2.
    Source: Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", BPTT(h; h').
    Differs from the paper: weights move once a sequence, by the sum, and not after every k1 steps, because an update is
    a batch of whole sequences here.
    """

    k1: Count
    k2: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k1 > self.k2:
            raise ValueError(f"k1={self.k1}: must be <= k2={self.k2}, or some losses would go back nowhere")

    @property
    def truncation(self) -> Truncation | None:
        return Truncation(self.k1, self.k2)
