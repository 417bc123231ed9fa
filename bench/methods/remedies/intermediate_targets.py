"""Targets at every step: a task that asks once, at its end, is asked all along what would be right so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.methods.remedies.remedy import Losses, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import Positive
from tasks.stepwise import Stepwise, offers_steps
from tasks.task import Task


@dataclass(frozen=True)
class IntermediateTargets(Remedy):
    """L <- L + weight mean_t l_t, l_t the loss of the answer at step t against what would be right at step t.

    The gradient has a short way to each step that matters, beside the long one from the last. In training only: judged
    is the task as it is. Where lengths vary the mean is over the steps that all sequences have, up to each one's own
    last. Costs a readout and a loss at every step, by autograd, where the task itself has them at the last alone.

    weight: of the added term, in units of the loss.
    Source: the idea of deep supervision along time, as in Lee et al. 2015, "Deeply-supervised nets" (arXiv:1409.5185),
    and Lipton et al. 2016, section 4.3, "target replication" (arXiv:1511.03677).
    Differs from Lipton et al.: the target of a step is what would be right so far, not the last target.
    """

    weight: PerReplica[Positive]

    def refusal(self, task: Task) -> str | None:
        return None if offers_steps(task) else "offers no targets at its steps"

    def task(self, task: Task, update: int, updates: int) -> Task:
        return Stepwise(task.variant, task)

    def losses(self, losses: Losses) -> Losses:
        def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
            """The last step counts once as the task's own; divided by A for the mean over all A steps that follows."""
            of_steps = losses(outputs, targets)
            last = torch.zeros_like(of_steps)
            last[..., -1] = of_steps.shape[-1]
            return (last + column(self.weight, of_steps)) * of_steps

        return weighted
