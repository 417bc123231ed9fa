"""The normalised state against torch's layer normalisation."""

import pytest
import torch

from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.nets.network import Network
from tests.methods.remedies.setting import remedy_of


@pytest.mark.parametrize("cell_name", ["tanh", "lstm"])
def test_a_normalised_cell_sees_its_state_at_mean_zero_and_variance_one(cell_name):
    inner = example(f"cell/{cell_name}", hidden=6)
    cell = remedy_of("state_normalization", eps=1e-5).cell(inner)
    network = Network(cell, 2, 1)
    initializer = checked_job(composed("initializer=pytorch")).replica.initializer
    weights = network.views(network.initial([initializer], [0]))
    random = torch.Generator().manual_seed(0)
    state = tuple(torch.randn(1, 3, 6, generator=random).double() for _ in inner.states)
    x = torch.randn(1, 3, 2, generator=random).double()
    seen = torch.nn.functional.layer_norm(state[0], (6,), eps=1e-5)
    for ours, expected in zip(cell.step(weights, x, state), inner.step(weights, x, (seen, *state[1:])), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-12)
    assert (cell.states, cell.gates, cell.parameters) == (inner.states, inner.gates, inner.parameters)
