"""Gradient noise: its size, and when it is new."""

import dataclasses

import torch

from bench.pack.fields import joined
from bench.pack.streams import Stream
from tests.methods.remedies.setting import SEEDS, remedy_of, setting


def test_gradient_noise_fades_as_published_and_is_new_at_every_update():
    view = setting(hidden=64)
    noisy = joined([remedy_of("gradient_noise", variance=v, decay=0.55) for v in (0.01, 0.3, 1.0)])
    seen = []
    for update in (0, 9, 999):
        noise = noisy.noise(dataclasses.replace(view, update=update), Stream(SEEDS, "noise", update, torch.float64))
        assert (noise[:, ~view.trained] == 0).all()
        values = noise[:, view.trained]
        expected = torch.tensor([0.01, 0.3, 1.0]).double() / (1 + update) ** 0.55
        count = values.shape[1]
        assert torch.allclose(values.var(-1), expected, rtol=5 * (2 / count) ** 0.5)
        assert (values.mean(-1).abs() < 5 * (expected / count).sqrt()).all()
        seen.append(values / expected.sqrt()[:, None])
    assert not torch.allclose(seen[0], seen[1])
