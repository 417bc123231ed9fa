"""Label smoothing: no answer is asked for with certainty."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from bench.methods.remedies.remedy import Losses, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import ShareBelowOne
from tasks.task import Task


@dataclass(frozen=True)
class LabelSmoothing(Remedy):
    """The target of K classes is 1 - share + share/K at the right one and share/K at the others.

    L <- (1 - share) L + share mean_k (-ln softmax(y)_k). The net is judged by its task's own loss.
    Costs a loss by autograd between a kernel's way there and back, which counts where sequences are short.

    Refuses a task whose answer is a number.
    Source: Szegedy et al. 2016, section 7 (arXiv:1512.00567).
    """

    share: PerReplica[ShareBelowOne]

    def refusal(self, task: Task) -> str | None:
        return None if task.classes else "smooths the classes of an answer, and this task's answer is a number"

    def losses(self, losses: Losses) -> Losses:
        def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
            uniform = -functional.log_softmax(outputs, dim=-1).mean(-1)
            share = column(self.share, uniform)
            return (1 - share) * losses(outputs, targets) + share * uniform

        return smoothed
