"""A curriculum over length: training begins with short sequences, which grow to their full length within the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from bench.methods.remedies.remedy import Remedy
from tasks.ranges import Count
from tasks.task import Task


@dataclass(frozen=True)
class LengthCurriculum(Remedy):
    """Sequences have first + (T - first) s / S steps of `length`, rounded, in stage s = floor(S n / (share N)).

    n is the update, of N. From stage S on they have the task's own length T. The task is the same but for its length;
    it is judged, and measured, at T from the start.

    first: the length to begin with, in the units of `task.length`. stages: S, how many lengths come before T.
    share: of the updates that are made before the full length is reached.
    Source: Bengio, Louradour, Collobert & Weston 2009, "Curriculum learning"; over length, Zaremba & Sutskever 2014,
    section 4, "naive" (arXiv:1410.4615).
    Differs from the second: the length follows the update, not what is learned.
    """

    first: Count
    stages: Count
    share: Annotated[float, Gt(0), Le(1)]

    def refusal(self, task: Task) -> str | None:
        length = getattr(task, "length", None)
        if length is None:
            return "there is no length that could grow"
        if self.first > length:
            return f"first={self.first} is longer than length={length}"
        try:
            shortest = task.of_length(self.first)
        except ValueError as error:
            return f"first={self.first}: {error}"
        fits = (shortest.inputs, shortest.outputs) == (task.inputs, task.outputs)
        return None if fits else f"first={self.first} has other inputs or outputs"

    def task(self, task: Task, update: int, updates: int) -> Task:
        stage = math.floor(self.stages * update / (self.share * updates))
        if stage >= self.stages:
            return task
        length: int = getattr(task, "length")  # noqa: B009 - that the task has one, `refusal` has seen
        return task.of_length(self.first + round((length - self.first) * stage / self.stages))
