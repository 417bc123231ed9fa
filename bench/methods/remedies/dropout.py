"""Dropout at three places: the inputs, the recurrence, the readout. What stays is scaled up, so judging needs none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.pack.fields import PerReplica, column
from bench.pack.streams import Stream
from tasks.ranges import ShareBelowOne


@dataclass(frozen=True)
class _Dropout(Remedy):
    """rate: share dropped."""

    rate: PerReplica[ShareBelowOne]

    def mask(self, shape: tuple[int, ...], random: Stream) -> Tensor:
        """1 / (1 - rate) with probability 1 - rate, else 0."""
        draws = random.uniform(*shape)
        rate = column(self.rate, draws)
        return (draws >= rate).to(draws.dtype) / (1 - rate)


@dataclass(frozen=True)
class InputDropout(_Dropout):
    """x_t <- x_t m_t, a new mask m_t for every step, sequence and channel.

    rate: share dropped.
    Source: Srivastava et al. 2014; Zaremba, Sutskever & Vinyals 2014 (arXiv:1409.2329), who leave the recurrence alone.
    """

    def inputs(self, inputs: Tensor, random: Stream) -> Tensor:
        return inputs * self.mask(tuple(inputs.shape[1:]), random)


@dataclass(frozen=True)
class ReadoutDropout(_Dropout):
    """y_t = W_hy (h_t m_t) + b_y, a new mask m_t for every step, sequence and unit.

    rate: share dropped.
    Source: Zaremba, Sutskever & Vinyals 2014, section 3.2 (arXiv:1409.2329).
    """

    masks = ("readout",)


@dataclass(frozen=True)
class RecurrentDropout(_Dropout):
    """The cell sees h_{t-1} m, one mask m for every unit and sequence, the same at all its steps.

    rate: share dropped.
    Source: Gal & Ghahramani 2016, section 4 (arXiv:1512.05287).
    Differs from the paper: an LSTM's cell state is not masked, and its gates share one mask (their "tied weights").
    """

    masks = ("recurrent",)
