"""Images that are turned, against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench.methods.remedies.image_rotation import turned
from bench.pack.fields import joined
from bench.pack.streams import Stream
from tests.methods.remedies.setting import SEEDS, remedy_of

IMAGES = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("degrees", [0.0, 7.5, -20.0, 45.0, 160.0])
@pytest.mark.parametrize("columns", [8, 5])
def test_it_is_scipys_bilinear_rotation(degrees, columns):
    images = IMAGES[..., :columns]
    angle = torch.full((3, 4), np.deg2rad(degrees), dtype=torch.float64)
    ours = turned(images, angle.cos(), angle.sin())
    for before, after in zip(images.flatten(0, 1).numpy(), ours.flatten(0, 1).numpy(), strict=True):
        expected = ndimage.rotate(before, degrees, reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(after, expected, atol=1e-12)


def test_a_quarter_turn_is_numpys():
    ours = turned(IMAGES, torch.zeros(3, 4), torch.ones(3, 4))
    assert np.array_equal(ours, np.rot90(IMAGES.numpy(), axes=(-2, -1)))


def test_angles_are_uniform_up_to_each_replicas_own_and_by_0_nothing_is_turned():
    remedy = joined([remedy_of("image_rotation", degrees=degrees) for degrees in (0.0, 10.0, 90.0)])
    spots = torch.zeros(3, 400, 51, 51)
    spots[..., 25, 47:] = 1.0  # east of the centre
    found = remedy.changed(spots, Stream(SEEDS, "remedy", 7))
    rows, columns = torch.arange(51.0)[:, None] - 25, torch.arange(51.0) - 25
    angles = torch.rad2deg(torch.atan2(-(found * rows).sum((-2, -1)), (found * columns).sum((-2, -1))))
    assert torch.equal(found[0], spots[0])
    for own, degrees in zip(angles[1:], (10.0, 90.0), strict=True):
        assert own.abs().max() <= degrees + 0.1
        assert own.std() == pytest.approx(degrees / 3**0.5, rel=0.1)
        assert abs(own.mean()) < 4 * degrees / 3**0.5 / 400**0.5
