"""Images that are moved, against scipy."""

from collections import Counter

import numpy as np
import torch
from scipy import ndimage

from bench.pack.streams import Stream
from tests.methods.remedies.setting import SEEDS, remedy_of


def test_each_image_is_moved_by_scipys_shift_of_up_to_so_many_pixels_and_each_is_equally_likely():
    images = torch.rand(3, 600, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    moved = remedy_of("image_shift", pixels=1).changed(images, Stream(SEEDS, "remedy", 7))
    places = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    found = Counter()
    for before, after in zip(images.flatten(0, 1).numpy(), moved.flatten(0, 1).numpy(), strict=True):
        fits = [by for by in places if np.array_equal(ndimage.shift(before, by, order=0), after)]
        assert len(fits) == 1
        found[fits[0]] += 1
    assert len(found) == 9
    assert all(abs(count - 200) < 5 * (1800 * 8 / 81) ** 0.5 for count in found.values())


def test_by_no_pixel_nothing_is_moved():
    images = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(remedy_of("image_shift", pixels=0).changed(images, Stream(SEEDS, "remedy", 7)), images)
