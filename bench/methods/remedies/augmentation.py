"""What has in common whatever changes an image before it is trained on, and leaves what it shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from bench.methods.remedies.remedy import Remedy
from bench.pack.streams import Stream
from tasks.task import Task


@dataclass(frozen=True)
class Augmentation(Remedy, ABC):
    """A change to every image of the training batch, drawn anew for each; refuses a task that shows no images."""

    def refusal(self, task: Task) -> str | None:
        return None if task.image_shape else "changes images, and this task shows none"

    def inputs(self, inputs: Tensor, task: Task, random: Stream) -> Tensor:
        return task.as_sequences(self.changed(task.as_images(inputs), random))

    @abstractmethod
    def changed(self, images: Tensor, random: Stream) -> Tensor:
        """Images [R, B, rows, columns] as they are to be trained on."""
