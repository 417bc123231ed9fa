"""Every cell keeps its contract; the classics agree with torch.nn."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.nets.initializers import Initializers, PyTorch
from bench.nets.network import Network
from bench.pack.streams import Stream
from tests.conftest import choices


def network_of(cell):
    return Network(cell, inputs=3, outputs=2)


def random_weights(network, replicas):
    flat = network.initial([Initializers(*[PyTorch()] * 5)] * replicas, list(range(replicas)))
    return flat, network.views(flat)


def prepared(cell, weights):
    """What the first step is given."""
    return cell.at(cell.prepared(weights), 0)


@pytest.fixture(params=choices("cell"))
def cell(request):
    return example(f"cell/{request.param}", hidden=6)


def test_step_keeps_the_shape_of_the_state(cell):
    network = network_of(cell)
    _, weights = random_weights(network, 2)
    state = network.zero_state(weights, 5)
    after = cell.step(prepared(cell, weights), torch.rand(2, 5, 3, dtype=torch.float64), state)
    assert len(after) == len(cell.states)
    assert all(part.shape == (2, 5, 6) for part in after)


def test_replicas_do_not_touch_each_other(cell):
    network = network_of(cell)
    _, weights = random_weights(network, 3)
    x = torch.rand(3, 5, 3, dtype=torch.float64)
    together = cell.step(prepared(cell, weights), x, network.zero_state(weights, 5))
    alone = {name: weight[1] for name, weight in weights.items()}
    single = cell.step(prepared(cell, alone), x[1], network.zero_state(alone, 5))
    assert all(torch.allclose(a[1], b, rtol=1e-14) for a, b in zip(together, single, strict=True))


def test_recurrent_blocks_are_square(cell):
    _, weights = random_weights(network_of(cell), 2)
    blocks = cell.recurrent_blocks(cell.prepared(weights))
    assert blocks
    assert all(block.shape == (2, 6, 6) for block in blocks.values())


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_state_keeps_to_its_bounds(cell, scale):
    network = network_of(cell)
    flat, _ = random_weights(network, 2)
    weights = cell.prepared(network.views(scale * flat))
    state = network.zero_state(weights, 5)
    inputs = torch.randn(20, 2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t, x in enumerate(inputs):
        state = cell.step(cell.at(weights, t), x, state)
        for name, part in zip(cell.states, state, strict=True):
            low, high = cell.bounds.get(name, (-math.inf, math.inf))
            part = part.tanh() if name in cell.squashed else part
            assert ((part >= low) & (part <= high)).all() or part.isnan().any()


def test_jacobian_of_a_step_passes_gradcheck(cell):
    """Numerical against backpropagated gradient."""
    if cell.surrogate_gradient:
        pytest.skip("its gradient is not that of its step, by design")
    network = network_of(cell)
    weights = prepared(cell, random_weights(network, 1)[1])
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(1, 2, n, dtype=torch.float64, generator=generator) for n in (3, *[6] * len(cell.states))]

    def step(x, *state):
        return cell.step(weights, x, state)

    assert torch.autograd.gradcheck(step, [part.requires_grad_() for part in parts])


def unrolled(cell, weights, inputs):
    """All hidden states of one replica: inputs [B, T, I] -> [B, T, H]."""
    network, weights = network_of(cell), cell.prepared(weights)
    state, hidden = network.zero_state(weights, len(inputs)), []
    for x in inputs.unbind(1):
        state = cell.step(weights, x, state)
        hidden.append(state[0])
    return torch.stack(hidden, dim=1)


@pytest.mark.parametrize("name", ["tanh", "irnn", "lstm", "gru"])
def test_cell_agrees_with_torch_nn(name):
    cell = example(f"cell/{name}", hidden=6)
    flat, _ = random_weights(network_of(cell), 1)
    weights = network_of(cell).views(flat[0])
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(name, torch.nn.RNN)
    extra = {"nonlinearity": cell.activation} if kind is torch.nn.RNN else {}
    module = kind(3, 6, batch_first=True, dtype=torch.float64, **extra)
    with torch.no_grad():
        module.weight_hh_l0.copy_(weights["W_hh"].reshape(-1, 6))
        module.weight_ih_l0.copy_(weights["W_xh"].reshape(-1, 3))
        module.bias_ih_l0.copy_(weights["b"].reshape(-1))
        module.bias_hh_l0.zero_()
        if name == "gru":
            module.bias_hh_l0[-6:] = weights["b_hn"]
        x = torch.rand(4, 7, 3, dtype=torch.float64)
        assert torch.allclose(unrolled(cell, weights, x), module(x)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("tanh", torch.nn.Tanh()),
        ("irnn", torch.nn.ReLU()),
        ("sigmoid", torch.nn.Sigmoid()),
        ("silu", torch.nn.SiLU()),
        ("hard_sigmoid", torch.nn.Hardsigmoid()),
        ("hard_tanh", torch.nn.Hardtanh()),
        ("elu", torch.nn.ELU()),
        ("binary_step", lambda a: torch.heaviside(a, torch.zeros(()))),
        ("linear", torch.nn.Identity()),
    ],
)
def test_activations_are_those_of_torch_nn(name, module):
    cell = example(f"cell/{name}", hidden=1)
    weights = {"W_hh": torch.zeros(1, 1), "W_xh": torch.ones(1, 1), "b": torch.zeros(1)}
    a = torch.linspace(-9, 9, 181)[:, None]
    (h,) = cell.step(weights, a, (torch.zeros(181, 1),))
    assert torch.allclose(h, module(a), atol=1e-6)


def test_weight_of_exprnn_is_a_rotation_and_carries_a_gradient_undiminished():
    """With b = 0 modReLU lets everything through."""
    cell = example("cell/exprnn", hidden=6)
    _, weights = random_weights(network_of(cell), 2)
    w = cell.recurrent_blocks(cell.prepared(weights))["W_hh"]
    assert torch.allclose(w @ w.mT, torch.eye(6, dtype=torch.float64).expand(2, 6, 6), atol=1e-13)
    assert torch.allclose(torch.linalg.det(w), torch.ones(2, dtype=torch.float64))
    skew = weights["A"][0] - weights["A"][0].mT
    series = sum(torch.linalg.matrix_power(skew, n) / float(math.factorial(n)) for n in range(30))
    assert torch.allclose(w[0], series, atol=1e-13)
    weights["b"].zero_()
    h = torch.randn(2, 3, 6, dtype=torch.float64)
    (after,) = cell.step(cell.prepared(weights), torch.zeros(2, 3, 3, dtype=torch.float64), (h,))
    assert torch.allclose(after.norm(dim=-1), h.norm(dim=-1))


def test_modrelu_moves_every_unit_towards_zero_and_stops_there():
    cell = example("cell/exprnn", hidden=4)
    weights = {"A": torch.zeros(4, 4), "W_xh": torch.eye(4), "b": torch.tensor([-1.0, -1.0, -1.0, 0.5])}
    (h,) = cell.step(cell.prepared(weights), torch.tensor([[3.0, -3.0, 0.5, -2.0]]), (torch.zeros(1, 4),))
    assert h.tolist() == [[2.0, -2.0, 0.0, -2.5]]


@pytest.mark.parametrize("hidden", [10, 64])
def test_exponential_of_a_matrix_that_is_not_finite_spoils_that_replica_alone(hidden):
    cell = example("cell/exprnn", hidden=hidden)
    _, weights = random_weights(network_of(cell), 3)
    expected = cell.prepared(weights)["W_hh"]
    for bad in (torch.nan, torch.inf):
        weights["A"][1, 0, 1] = bad
        w = cell.prepared(weights)["W_hh"]
        assert torch.equal(w[[0, 2]], expected[[0, 2]])
        assert w[1].isnan().any()


def test_lru_is_its_equation_in_complex_numbers():
    cell = example("cell/lru", hidden=6)
    weights = network_of(cell).views(random_weights(network_of(cell), 1)[0][0])
    nu, theta, g = weights["Lambda"]
    eigenvalue = torch.polar((-nu.exp()).exp(), theta.exp())
    b = torch.complex(*weights["W_xh"].chunk(2))
    x = torch.rand(4, 7, 3, dtype=torch.float64)
    c, states = torch.zeros(4, 3, dtype=torch.complex128), []
    for t in range(7):
        c = eigenvalue * c + g.exp() * (x[:, t].to(c.dtype) @ b.T)
        states.append(torch.cat((c.real, c.imag), dim=-1))
    assert torch.allclose(unrolled(cell, weights, x), torch.stack(states, dim=1), rtol=1e-12, atol=1e-14)


def test_lru_block_is_its_step_and_has_the_eigenvalues_in_pairs():
    cell = example("cell/lru", hidden=6)
    weights = network_of(cell).views(random_weights(network_of(cell), 1)[0][0])
    (block,) = cell.recurrent_blocks(cell.prepared(weights)).values()
    h = torch.rand(4, 6, dtype=torch.float64)
    (after,) = cell.step(cell.prepared(weights), torch.zeros(4, 3, dtype=torch.float64), (h,))
    assert torch.allclose(after, h @ block.mT)
    nu, theta, _ = weights["Lambda"]
    eigenvalue = torch.polar((-nu.exp()).exp(), theta.exp())
    expected = torch.cat((eigenvalue, eigenvalue.conj())).numpy()
    assert np.allclose(np.sort_complex(torch.linalg.eigvals(block).numpy()), np.sort_complex(expected))


def test_lru_starts_uniform_on_the_ring_with_states_as_large_as_the_input():
    cell = example("cell/lru", hidden=8000, r_min=0.5, r_max=0.9, max_phase=1.0)
    nu, theta, g = cell.parameters["Lambda"].start(Stream(0, "init/Lambda", dtype=torch.float64))
    square, phase = (-2 * nu.exp()).exp(), theta.exp()
    for part, low, high in ((square, 0.25, 0.81), (phase, 0.0, 1.0)):  # uniform in area: |lambda|^2 is uniform
        assert low <= part.min()
        assert part.max() <= high
        assert part.mean() == pytest.approx((low + high) / 2, abs=0.01)
        assert part.std() == pytest.approx((high - low) / math.sqrt(12), abs=0.01)
    assert torch.allclose((2 * g).exp(), 1 - square)


@pytest.mark.parametrize(("r_min", "r_max"), [(0.0, 1.0), (0.999, 1.0)])
def test_lru_starts_finite_at_the_edges(r_min, r_max):
    cell = example("cell/lru", hidden=8000, r_min=r_min, r_max=r_max)
    assert cell.parameters["Lambda"].start(Stream(0, "init/Lambda", dtype=torch.float64)).isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": 5}, "hidden=5: must be a multiple of 2"),
        ({"r_min": 0.95, "r_max": 0.9}, "cell.r_min=0.95: must be < r_max=0.9"),
        ({"r_max": 1.5}, "cell.r_max=1.5: must be a number in [0, 1]"),
        ({"max_phase": 7.0}, "cell.max_phase=7.0: must be a number in (0, 6.283185307179586]"),
    ],
)
def test_mistaken_settings_of_lru_are_told(fields, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        example("cell/lru", **fields)


@pytest.mark.parametrize("task", ["adding", "copying"])
@pytest.mark.parametrize("budget", [2000, 20000])
@pytest.mark.parametrize("name", choices("cell"))
def test_a_budget_gives_the_most_units_that_it_allows(name, budget, task):
    sized = composed(f"cell={name}", f"task={task}", f"cell.parameters={budget}")
    assert "parameters" not in sized["cell"]
    replica = checked_job(sized).replica
    assert replica.network.parameter_count <= budget
    more = dataclasses.replace(replica.cell, hidden=replica.cell.hidden + replica.cell.hidden_multiple)
    assert dataclasses.replace(replica, cell=more).network.parameter_count > budget


def test_asking_by_budget_or_by_units_is_the_same_question():
    by_budget = checked_job(composed("cell=gru", "cell.parameters=13000")).replica
    by_units = checked_job(composed("cell=gru", f"cell.hidden={by_budget.cell.hidden}")).replica
    assert by_budget == by_units
    assert by_budget.run_id == by_units.run_id
    assert composed("cell=gru", "cell.parameters=13000", "cell.hidden=3") == composed(
        "cell=gru", "cell.parameters=13000"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("5", "cell.parameters=5: must be a whole number >= 6, which hidden=1 takes"),
        ("many", "cell.parameters=many: must be a whole number"),
        ("1e4", "cell.parameters=10000.0: must be a whole number"),
    ],
)
def test_a_mistaken_budget_is_one_line(given, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        composed(f"cell.parameters={given}")


def test_parameters_are_counted_without_padding():
    lstm = network_of(example("cell/lstm", hidden=6))
    assert lstm.recurrent_parameter_count == 4 * 36
    assert lstm.parameter_count == 4 * (36 + 18 + 6) + 2 * 6 + 2
    assert lstm.flat_size % 64 == 0


def test_padding_stays_zero_and_views_write_through():
    network = network_of(example("cell/lstm", hidden=6))
    flat, views = random_weights(network, 2)
    assert sum(int((view != 0).sum()) for view in views.values()) == int((flat != 0).sum())
    views["b"].fill_(3.0)
    assert (network.views(flat)["b"] == 3).all()


def test_start_depends_on_the_replicas_own_seed_alone():
    network = network_of(example("cell/lstm", hidden=6))
    choice = Initializers(*[PyTorch()] * 5)
    pack = network.initial([choice] * 3, [4, 5, 6])
    assert torch.equal(pack[1], network.initial([choice], [5])[0])
