"""Images that are turned a little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from bench.methods.remedies.augmentation import Augmentation
from bench.nets.network import padded
from bench.pack.fields import PerReplica, column
from bench.pack.registers import whole_registers
from bench.pack.streams import Stream


@dataclass(frozen=True)
class ImageRotation(Augmentation):
    """Each image of a training batch is turned about its centre by an angle uniform in [-degrees, degrees].

    A pixel takes what the image has at the place from which it was turned there: bilinear between the four pixels
    around that place, black (0) outside. Costs four products for every pixel, half an update of a small net.

    degrees: the most; 0 is none.
    Source: Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks", section 2.
    """

    degrees: PerReplica[Annotated[float, Ge(0), Le(180)]]

    def changed(self, images: Tensor, random: Stream) -> Tensor:
        count = images.shape[1]
        # as many of a replica's angles as fill whole registers: then cosines have the same bits in any pack
        draws = 2 * random.uniform(padded(count, whole_registers(torch.float64))).double() - 1
        angles = math.pi / 180 * column(self.degrees, draws) * draws
        return turned(images, angles.cos()[:, :count], angles.sin()[:, :count])


def turned(images: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Images [..., rows, columns], each turned counterclockwise by an angle whose cosine and sine are [...]."""
    rows, columns = images.shape[-2:]
    framed = functional.pad(images, (1,) * 4).flatten(-2)  # with a black frame, to which all that lies outside goes
    y = torch.arange(rows, dtype=torch.float64, device=images.device)[:, None] - (rows - 1) / 2
    x = torch.arange(columns, dtype=torch.float64, device=images.device) - (columns - 1) / 2
    cosine, sine = cosines[..., None, None], sines[..., None, None]
    from_row = (cosine * y + sine * x + (rows + 1) / 2).clamp(0, rows + 1)
    from_column = (cosine * x - sine * y + (columns + 1) / 2).clamp(0, columns + 1)
    row, place = (at.floor()[..., None, :, :] for at in (from_row, from_column))
    row, place = (torch.cat((at, at + 1), dim=-3) for at in (row, place))  # the two next to it, [..., 2, rows, columns]
    of_row, of_column = 1 - (from_row[..., None, :, :] - row).abs(), 1 - (from_column[..., None, :, :] - place).abs()
    shares = (of_row[..., :, None, :, :] * of_column[..., None, :, :, :]).to(images.dtype)
    row, place = row.clamp(max=rows + 1), place.clamp(max=columns + 1)
    at = (row[..., :, None, :, :] * (columns + 2) + place[..., None, :, :, :]).long()
    return (shares * framed.gather(-1, at.flatten(-4)).view_as(shares)).sum((-4, -3))
