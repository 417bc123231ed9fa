"""Noise on the inputs: its size, and when it is new."""

import torch

from bench.pack.fields import joined
from bench.pack.streams import Stream
from tests.conftest import small_task
from tests.methods.remedies.setting import SEEDS, remedy_of


def test_it_has_the_deviation_of_each_replica_and_is_new_at_every_update():
    deviations = torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    noisy = joined([remedy_of("input_noise", deviation=float(deviation)) for deviation in deviations])
    inputs, task = torch.ones(3, 7, 301, 2, dtype=torch.float64), small_task("adding")
    first, second = (noisy.inputs(inputs, task, Stream(SEEDS, "remedy", update)) - 1 for update in (0, 1))
    count = first[0].numel()
    assert torch.equal(first[0], torch.zeros_like(first[0]))
    for noise in (first, second):
        assert torch.allclose(noise.flatten(1).std(-1), deviations, rtol=5 / (2 * count) ** 0.5)
        assert (noise.flatten(1).mean(-1).abs() <= 5 * deviations / count**0.5).all()
    assert not torch.allclose(first[1:], second[1:])
    assert not torch.allclose(first[1] / 0.1, first[2] / 2)
