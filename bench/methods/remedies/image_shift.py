"""Images that are moved a little."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.methods.remedies.augmentation import Augmentation
from bench.pack.streams import Stream
from tasks.ranges import CountOrZero


@dataclass(frozen=True)
class ImageShift(Augmentation):
    """Each image of a training batch is moved by -pixels .. pixels rows, and as many columns, each equally likely.

    What is moved in is black (0), what is moved out is lost.

    pixels: the most; 0 is none.
    Source: LeCun, Bottou, Bengio & Haffner 1998, section III.C: translations among the distortions of MNIST.
    """

    pixels: CountOrZero

    def changed(self, images: Tensor, random: Stream) -> Tensor:
        rows, columns = images.shape[-2:]
        down, right = random.integers(2 * self.pixels + 1, 2, images.shape[1]).unbind(-2)  # each [R, B]
        framed = functional.pad(images, (self.pixels,) * 4)
        row = down[..., None] + torch.arange(rows, device=images.device)
        column = right[..., None] + torch.arange(columns, device=images.device)
        return framed.take_along_dim(row[..., :, None], dim=-2).take_along_dim(column[..., None, :], dim=-1)
