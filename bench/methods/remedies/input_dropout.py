"""Dropout of the inputs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.dropout import Dropout
from bench.pack.streams import Stream
from tasks.task import Task


@dataclass(frozen=True)
class InputDropout(Dropout):
    """x_t <- x_t m_t, a new mask m_t for every step, sequence and channel.

    rate: share dropped.
    Source: Srivastava et al. 2014; Zaremba, Sutskever & Vinyals 2014 (arXiv:1409.2329), who leave the recurrence alone.
    """

    def inputs(self, inputs: Tensor, task: Task, random: Stream) -> Tensor:
        return inputs * self.mask(tuple(inputs.shape[1:]), random)
