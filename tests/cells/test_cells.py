"""Every cell keeps its contract; the classics agree with torch.nn."""

import pytest
import torch

from bench import config
from bench.initializers import Initializers, PyTorch
from bench.network import Network
from tests.conftest import choices


def network_of(cell):
    return Network(cell, inputs=3, outputs=2)


def random_weights(network, replicas):
    flat = network.initial([Initializers(*[PyTorch()] * 5)] * replicas, list(range(replicas)))
    return flat, network.views(flat)


@pytest.fixture(params=choices("cell"))
def cell(request):
    return config.example(f"cell/{request.param}", hidden=6)


def test_step_keeps_the_shape_of_the_state(cell):
    network = network_of(cell)
    _, weights = random_weights(network, 2)
    state = network.zero_state(weights, 5)
    after = cell.step(weights, torch.rand(2, 5, 3, dtype=torch.float64), state)
    assert len(after) == len(cell.states)
    assert all(part.shape == (2, 5, 6) for part in after)


def test_replicas_do_not_touch_each_other(cell):
    network = network_of(cell)
    _, weights = random_weights(network, 3)
    x = torch.rand(3, 5, 3, dtype=torch.float64)
    together = cell.step(weights, x, network.zero_state(weights, 5))
    alone = {name: weight[1] for name, weight in weights.items()}
    single = cell.step(alone, x[1], network.zero_state(alone, 5))
    assert all(torch.allclose(a[1], b, rtol=1e-14) for a, b in zip(together, single, strict=True))


def test_recurrent_blocks_are_square(cell):
    _, weights = random_weights(network_of(cell), 2)
    blocks = cell.recurrent_blocks(weights)
    assert len(blocks) == max(1, len(cell.gates))
    assert all(block.shape == (2, 6, 6) for block in blocks.values())


def test_jacobian_of_a_step_passes_gradcheck(cell):
    """Numerical against backpropagated gradient."""
    network = network_of(cell)
    _, weights = random_weights(network, 1)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(1, 2, n, dtype=torch.float64, generator=generator) for n in (3, *[6] * len(cell.states))]

    def step(x, *state):
        return cell.step(weights, x, state)

    assert torch.autograd.gradcheck(step, [part.requires_grad_() for part in parts])


@pytest.mark.parametrize("name", ["tanh", "irnn", "lstm"])
def test_step_agrees_with_torch_nn(name):
    cell = config.example(f"cell/{name}", hidden=6)
    network = network_of(cell)
    _, weights = random_weights(network, 1)
    kind = torch.nn.LSTM if name == "lstm" else torch.nn.RNN
    extra = {} if name == "lstm" else {"nonlinearity": cell.activation}
    module = kind(3, 6, batch_first=True, dtype=torch.float64, **extra)
    with torch.no_grad():
        module.weight_hh_l0.copy_(weights["W_hh"].reshape(-1, 6))
        module.weight_ih_l0.copy_(weights["W_xh"].reshape(-1, 3))
        module.bias_ih_l0.copy_(weights["b"].reshape(-1))
        module.bias_hh_l0.zero_()
        x = torch.rand(4, 7, 3, dtype=torch.float64)
        expected, _ = module(x)
        state = network.zero_state(weights, 4)
        for t in range(7):
            state = cell.step(weights, x[None, :, t], state)
            assert torch.allclose(state[0][0], expected[:, t], rtol=1e-12, atol=1e-14)


def test_parameters_are_counted_without_padding():
    lstm = network_of(config.example("cell/lstm", hidden=6))
    assert lstm.recurrent_parameter_count == 4 * 36
    assert lstm.parameter_count == 4 * (36 + 18 + 6) + 2 * 6 + 2
    assert lstm.flat_size % 64 == 0


def test_padding_stays_zero_and_views_write_through():
    network = network_of(config.example("cell/lstm", hidden=6))
    flat, views = random_weights(network, 2)
    assert sum(int((view != 0).sum()) for view in views.values()) == int((flat != 0).sum())
    views["b"].fill_(3.0)
    assert (network.views(flat)["b"] == 3).all()


def test_start_depends_on_the_replicas_own_seed_alone():
    network = network_of(config.example("cell/lstm", hidden=6))
    choice = Initializers(*[PyTorch()] * 5)
    pack = network.initial([choice] * 3, [4, 5, 6])
    assert torch.equal(pack[1], network.initial([choice], [5])[0])
