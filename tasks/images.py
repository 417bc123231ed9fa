"""What real images have in common as a memory task: shown piece by piece, the class is asked at the end."""

from __future__ import annotations

import functools
import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.task import Batch, Random, Task


class Images(NamedTuple):
    """Grey images [N, rows, columns], unsigned bytes of which `white` is the brightest, and their classes [N]."""

    pixels: Tensor
    labels: Tensor
    white: float


class Split(NamedTuple):
    """What is trained on, what is judged by while training (`heldout`), and what the last number is taken on (`final`).

    fingerprint: digest of the data.
    """

    train: Images
    heldout: Images
    final: Images
    fingerprint: str


@dataclass(frozen=True)
class ImageSequences(Task):
    """Say at the last step which class the image belongs to.

    Input: grey values in [0, 1]. Loss: cross-entropy in nats. Training images are drawn with replacement, each replica
    its own; all replicas are judged on the same images, which are never trained on. Baseline: entropy of the training
    classes; chance: share of the most frequent one. The lag is that of the first step whose input is not the same in
    all training images.

    Layouts: `pixels`, one pixel a step, row by row; `permuted`, the same in one fixed random order; `rows`, one row of
    pixels a step.
    """

    @property
    @abstractmethod
    def split(self) -> Split:
        """The images, read once."""

    @property
    def fingerprint(self) -> str:
        return self.split.fingerprint

    @property
    def inputs(self) -> int:
        return self.split.train.pixels.shape[-1] if self.variant == "rows" else 1

    @property
    def outputs(self) -> int:
        return len(self._shares)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(f"column {k}" for k in range(self.inputs)) if self.variant == "rows" else ("grey",)

    @property
    def steps(self) -> int:
        return self.split.train.pixels[0].numel() // self.inputs

    @property
    def baseline_loss(self) -> float:
        return -float((self._shares * self._shares.log()).sum())

    @property
    def chance_accuracy(self) -> float:
        return float(self._shares.max())

    @property
    def min_lag(self) -> int:
        sequences = self.as_sequences(self.split.train.pixels)
        varying = (sequences != sequences[:1]).any(-1).any(0)
        return self.steps - 1 - int(varying.nonzero()[0])

    @property
    def _shares(self) -> Tensor:
        """Share of every class among the training images."""
        return torch.bincount(self.split.train.labels).double() / len(self.split.train.labels)

    def sample(self, random: Random, sequences: int) -> Batch:
        train = self.split.train
        chosen = random.integers(len(train.labels), sequences)
        here = chosen.cpu()
        inputs = self.as_sequences(train.pixels[here]).to(chosen.device, random.dtype) / train.white
        return Batch(inputs, train.labels[here].to(chosen.device)[..., None])

    def collection(self, purpose: str) -> Batch:
        images: Images = getattr(self.split, purpose)
        if purpose == "train":
            first = slice(len(self.split.heldout.labels))
            images = images._replace(pixels=images.pixels[first], labels=images.labels[first])
        return Batch(self.as_sequences(images.pixels).double() / images.white, images.labels[:, None])

    @property
    def image_shape(self) -> tuple[int, int]:
        rows, columns = self.split.train.pixels.shape[1:]
        return rows, columns

    def as_images(self, inputs: Tensor) -> Tensor:
        pixels = inputs.flatten(-2)
        if self.variant == "permuted":
            pixels = pixels[..., permutation(pixels.shape[-1]).argsort()]
        images: Tensor = pixels.unflatten(-1, self.image_shape)
        return images

    def as_sequences(self, images: Tensor) -> Tensor:
        pixels = images.flatten(-2)
        if self.variant == "permuted":
            pixels = pixels[..., permutation(pixels.shape[-1])]
        steps: Tensor = pixels.unflatten(-1, (-1, self.inputs))
        return steps


@functools.cache
def permutation(size: int) -> Tensor:
    """The one order in which pixels are shown, by digests of their places: the same everywhere, for good."""
    digests = [hashlib.blake2b(f"pixel {place}".encode()).digest() for place in range(size)]
    return torch.tensor(sorted(range(size), key=digests.__getitem__))
