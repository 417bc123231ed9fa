"""Inputs at mean 0 and variance 1."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.pack.streams import Stream
from tasks.ranges import Count
from tasks.task import Task


@dataclass(frozen=True)
class InputStandardization(Remedy):
    """x_t <- (x_t - mean) / deviation, channel by channel, in training, judging and measuring alike.

    mean, deviation: over all steps of `sequences` training sequences, drawn once and the same for every run of a task,
    whatever its seed; a channel that does not vary is divided by 1. What augments or drops inputs comes before.

    sequences: from which they are taken.
    Source: LeCun, Bottou, Orr & Mueller 1998, "Efficient backprop", section 4.3.
    """

    sequences: Count

    def shown(self, inputs: Tensor, task: Task) -> Tensor:
        mean, deviation = (constant.to(inputs) for constant in constants(task, self.sequences))
        return (inputs - mean) / deviation


@functools.lru_cache(maxsize=8)
def constants(task: Task, sequences: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each input channel over a task's training sequences, float64, each [I]."""
    batch = task.sample(Stream(0, "standardization", dtype=torch.float64), sequences)
    values = batch.inputs.flatten(0, 1)
    if batch.lengths is not None:
        values = values[(torch.arange(batch.inputs.shape[1]) < batch.lengths[:, None]).flatten()]
    numbers = values.numpy()  # whose sums have the same bits with any number of threads
    mean, deviation = (torch.from_numpy(of(axis=0)) for of in (numbers.mean, numbers.std))
    return mean, deviation.where(deviation > 0, torch.ones_like(deviation))
