"""Noise on what a net is shown while it trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.nets.network import padded
from bench.pack.fields import PerReplica, column
from bench.pack.registers import whole_registers
from bench.pack.streams import Stream
from tasks.ranges import NonNegative
from tasks.task import Task


@dataclass(frozen=True)
class InputNoise(Remedy):
    """x_t <- x_t + N(0, deviation^2), new for every step, sequence, channel and update.

    Costs a random number for every number shown, half an update of a small net.

    deviation: in units of the input; 0 is none.
    Source: Bishop 1995, "Training with noise is equivalent to Tikhonov regularization".
    """

    deviation: PerReplica[NonNegative]

    def inputs(self, inputs: Tensor, task: Task, random: Stream) -> Tensor:
        count = math.prod(inputs.shape[1:])
        # as many as fill whole registers: then a replica's logarithms and cosines have the same bits in any pack
        draws = random.normal(padded(count, whole_registers(torch.float64)))[:, :count].view_as(inputs)
        return inputs + (column(self.deviation, draws) * draws).to(inputs.dtype)
