"""Sequential digits: handwritten digits of 8 x 8 pixels, shown pixel by pixel or row by row.

Source of the data: Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", UCI machine learning
repository, as scikit-learn ships it. The idea is that of sequential MNIST (Le, Jaitly & Hinton 2015).
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import torch

from tasks.images import Images, ImageSequences, Split

WHITE = 16.0
TRAIN, HELDOUT = 1257, 180  # the first, the next; the last 360 of 1797 are for the final number


@dataclass(frozen=True)
class Digits(ImageSequences):
    """Which of ten digits is it? 64 steps of 1 pixel, or 8 steps of a row.

    1797 images in the order of their source: the first 1257 are trained on, the next 180 judge while training, the last
    360 are the test set. `ImageSequences` says more.

    variant:
        pixels: 64 steps, row by row.
        permuted: 64 steps in one fixed random order.
        rows: 8 steps of 8 pixels.

    An example as `rows`, an 8 x 8 zero, grey values in sixteenths:
        0 0 5 13 9 1 0 0 | 0 0 13 15 10 15 5 0 | ... | 0 0 6 13 10 0 0 0  -> 0
    """

    variants = {
        "pixels": "scikit-learn's digits, after Le et al. 2015",
        "permuted": "scikit-learn's digits, after Le et al. 2015",
        "rows": "scikit-learn's digits",
    }

    @property
    def split(self) -> Split:
        return _read()


@functools.cache
def _read() -> Split:
    from sklearn.datasets import load_digits  # here: it takes a second, and only this task needs it

    data = load_digits()
    pixels, labels = torch.from_numpy(data.images).byte(), torch.from_numpy(data.target).long()
    digest = hashlib.blake2b(pixels.numpy().tobytes() + labels.numpy().tobytes(), digest_size=8).hexdigest()
    ends = (slice(TRAIN), slice(TRAIN, TRAIN + HELDOUT), slice(TRAIN + HELDOUT, None))
    train, heldout, final = (Images(pixels[part], labels[part], WHITE) for part in ends)
    return Split(train, heldout, final, digest)
