"""A residual step against its sum, and its Jacobian against I + gain J."""

import pytest
import torch

from bench.jobs.compose import example
from bench.methods.remedies.residual import ResidualCell
from bench.nets.initializers import Initializers, PyTorch
from bench.nets.network import Network


def test_a_sum_has_no_bounds():
    assert ResidualCell(6, example("cell/lstm", hidden=6), 0.3).bounds.keys() == {"c"}


@pytest.mark.parametrize("cell_name", ["tanh", "lstm"])
def test_a_residual_step_adds_to_the_hidden_state(cell_name):
    inner = example(f"cell/{cell_name}", hidden=6)
    cell = ResidualCell(6, inner, 0.3)
    network = Network(cell, 3, 2)
    weights = network.views(3 * network.initial([Initializers(*[PyTorch()] * 5)], [0])[0])
    random = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, generator=random, dtype=torch.float64)
    state = tuple(torch.randn(4, 6, generator=random, dtype=torch.float64) for _ in inner.states)
    (h, *others), (new, *theirs) = cell.step(weights, x, state), inner.step(weights, x, state)
    assert torch.allclose(h, state[0] + 0.3 * new, rtol=1e-14)
    assert all(torch.equal(one, two) for one, two in zip(others, theirs, strict=True))

    def of(kind):
        jacobian = torch.func.jacrev(lambda h: kind.step(weights, x[:1], (h, *(part[:1] for part in state[1:])))[0])
        return jacobian(state[0][:1])[0, :, 0]

    assert torch.allclose(of(cell), torch.eye(6, dtype=torch.float64) + 0.3 * of(inner), rtol=1e-12)
