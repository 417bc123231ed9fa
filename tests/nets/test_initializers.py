"""Every initialiser against the moments or the identity that defines it."""

import dataclasses
import functools
import math

import pytest
import torch

from bench.jobs import compose
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.cells.lstm import LSTM
from bench.nets.initializers import (
    Block,
    Chrono,
    Initializer,
    Initializers,
    Normal,
    PerGate,
    PyTorch,
    SpectralRadius,
    Zeros,
)
from bench.nets.network import Network
from bench.pack.streams import Stream
from tests.conftest import choices, one_of_each_class

ROLES = ["recurrent", "input", "bias", "readout", "readout_bias"]
CHOICES = [f"{role}/{name}" for role in ROLES for name in choices(f"initializer/{role}")]


def draw(initializer: Initializer, shape, gate=None, seed=0):
    random, shared = (Stream(seed, purpose, dtype=torch.float64) for purpose in ("init", "init/shared"))
    return initializer.sample(random, Block(shape, 64, gate, shared))


@functools.cache
def example(choice, **fields):
    return compose.example(f"initializer/{choice}", **fields)


def sample(choice, shape, gate=None, **fields):
    return draw(example(choice, **fields), shape, gate)


def initial(*overrides):
    """The starting parameters of one replica, by name."""
    replica = checked_job(composed(*overrides)).replica
    return {
        name: w[0] for name, w in replica.network.views(replica.network.initial([replica.initializer], [0])).items()
    }


def spectral_radius(w):
    return torch.linalg.eigvals(w).abs().max().item()


def assert_moments(values, mean, variance, kurtosis):
    """Mean and variance within 4 standard errors of what they should be; kurtosis is the fourth moment's."""
    n = values.numel()
    assert abs(values.mean() - mean) <= 4 * math.sqrt(variance / n)
    assert abs((values - mean).square().mean() - variance) <= 4 * variance * math.sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_fills_its_block_in_float64(choice):
    shape = (64,) if "bias" in choice else (64, 64)
    values = sample(choice, shape)
    assert values.shape == shape
    assert values.dtype == torch.float64
    assert values.isfinite().all()
    assert torch.equal(values, sample(choice, shape))


@functools.cache
def networks():
    return [Network(compose.example(f"cell/{name}", hidden=8), 2, 1) for name in one_of_each_class("cell")]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_fills_every_cell(choice):
    role, _ = choice.split("/")
    pytorch = Initializers(*[PyTorch()] * len(ROLES))
    initializers = dataclasses.replace(pytorch, **{role: example(choice)})
    assert all(network.initial([initializers], [0]).isfinite().all() for network in networks())


@pytest.mark.parametrize("name", choices("initializer"))
def test_every_scheme_fills_every_cell(name):
    assert all(network.initial([example(name)], [0]).isfinite().all() for network in networks())


def test_identity_is_gain_times_identity():
    assert torch.equal(sample("recurrent/identity", (5, 5), gain=0.5), 0.5 * torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    q = sample("recurrent/orthogonal", shape, gain=2.0) / 2
    gram = q @ q.mT if shape[0] <= shape[1] else q.mT @ q
    assert torch.allclose(gram, torch.eye(min(shape), dtype=torch.float64), atol=1e-12)


def test_orthogonal_signs_are_not_those_of_the_factorisation():
    orthogonal = example("recurrent/orthogonal")
    corners = torch.stack([draw(orthogonal, (3, 3), seed=seed)[0, 0] for seed in range(200)])
    assert 0.35 < (corners > 0).double().mean() < 0.65  # LAPACK's Q alone has a constant sign there


NORMAL, UNIFORM = 3.0, 1.8  # kurtosis


@pytest.mark.parametrize(
    ("choice", "fields", "mean", "variance", "kurtosis"),
    [
        ("recurrent/normal", {"std": 0.3}, 0, 0.09, NORMAL),
        ("recurrent/uniform", {"low": -1, "high": 3}, 1, 16 / 12, UNIFORM),
        ("recurrent/uniform", {"low": 0, "high": 1}, 0.5, 1 / 12, UNIFORM),
        ("input/he", {}, 0, 2 / 200, NORMAL),
        ("input/he_uniform", {}, 0, 2 / 200, UNIFORM),
        ("input/lecun_normal", {}, 0, 1 / 200, NORMAL),
        ("input/glorot_normal", {}, 0, 2 / 500, NORMAL),
        ("input/glorot_uniform", {}, 0, 2 / 500, UNIFORM),
        ("input/pytorch", {}, 0, 1 / (3 * 64), UNIFORM),
        ("recurrent/pascanu", {}, 0, 0.01**2, NORMAL),
        ("recurrent/basic_tanh", {}, 0, 0.1**2, NORMAL),
    ],
)
def test_moments_are_as_published(choice, fields, mean, variance, kurtosis):
    assert_moments(sample(choice, (300, 200), **fields), mean, variance, kurtosis)


@pytest.mark.parametrize(("cell", "states"), [("cornn", 2), ("min_gru", 0), ("tanh", 1)])
def test_torch_linear_is_that_of_one_linear_of_input_and_state(cell, states):
    """Moments of weights and biases together are those of torch.nn.Linear(I + states H, many)."""
    weights = initial(
        "task=copying",
        f"cell={cell}",
        "initializer=torch_linear",
        "cell.hidden=200",
        *(f"initializer.{role}.states={states}" for role in ("recurrent", "input", "bias")),
    )
    inputs = weights["W_xh"].shape[-1]
    bound = 1 / math.sqrt(inputs + states * 200)
    torch.manual_seed(0)
    theirs = torch.nn.Linear(inputs + states * 200, 2000).weight
    assert theirs.abs().max().item() == pytest.approx(bound, rel=1e-2)
    for name in weights.keys() - {"W_hy", "b_y"}:
        assert 0.95 * bound < weights[name].abs().max() <= bound
    assert_moments(torch.cat([weights[name].flatten() for name in ("W_xh", "b")]), 0, bound**2 / 3, UNIFORM)


def test_power_law_of_forget_biases_goes_from_the_first_to_the_last_unit():
    values = sample("bias/power_law", (5,), "f", first=2.0, last=-2.0, exponent=2.0)
    assert values.tolist() == [2.0, 1.75, 1.0, -0.25, -2.0]
    assert (sample("bias/power_law", (5,), "i") == 0).all()
    assert sample("bias/power_law", (1,), "f", first=2.0).tolist() == [2.0]


def test_uniform_stays_between_its_bounds():
    values = sample("recurrent/uniform", (300, 200), low=-1, high=3)
    assert -1 <= values.min() < -0.999
    assert 2.999 < values.max() < 3


@pytest.mark.parametrize("start", ["orthogonal", "he", "identity", "glorot_uniform", "np_rnn", "sparse"])
@pytest.mark.parametrize("radius", [0.0, 0.5, 1.1])
def test_rescaling_sets_the_spectral_radius(start, radius):
    initializer = SpectralRadius(example(f"recurrent/{start}"), radius)
    w, before = draw(initializer, (40, 40)), draw(initializer.start, (40, 40))
    assert spectral_radius(w) == pytest.approx(radius, abs=1e-10)
    assert torch.allclose(w * spectral_radius(before), radius * before)


@pytest.mark.parametrize("start", ["normal", "henaff"])
def test_a_matrix_without_eigenvalues_is_left_as_it_is(start):
    """Zero (std = 0), and nilpotent."""
    inner = example(f"recurrent/{start}", **({"std": 0.0} if start == "normal" else {}))
    assert torch.equal(draw(SpectralRadius(inner, 0.9), (8, 8)), draw(inner, (8, 8)))


def test_what_is_rescaled_is_chosen_on_the_command_line():
    inner = "initializer/recurrent@initializer.recurrent.start=orthogonal"
    overrides = ("initializer/recurrent=spectral_radius", inner, "initializer.recurrent.radius=1.1")
    w = initial(*overrides, "initializer.recurrent.start.gain=3")["W_hh"]
    assert torch.allclose(w.mT @ w, 1.21 * torch.eye(64, dtype=torch.float64), atol=1e-12)


def test_np_rnn_is_symmetric_positive_definite_with_largest_eigenvalue_1():
    w = sample("recurrent/np_rnn", (200, 200))
    assert torch.allclose(w, w.mT, atol=1e-15)
    eigenvalues = torch.linalg.eigvalsh(w)
    assert eigenvalues[-1].item() == pytest.approx(1, abs=1e-12)
    # Marchenko & Pastur: the eigenvalues of R^T R / N fill [0, 4] and have mean 1
    assert 0.18 < eigenvalues[0] < 0.22
    assert eigenvalues.mean().item() == pytest.approx(2 / 5, abs=0.02)


@pytest.mark.parametrize(("hidden", "nonzeros"), [(50, 15), (15, 15), (8, 8)])
def test_sparse_keeps_15_weights_in_every_column(hidden, nonzeros):
    w = sample("recurrent/sparse", (hidden, hidden))
    assert ((w != 0).sum(0) == nonzeros).all()


def test_sparse_weights_are_normal_and_lie_anywhere():
    w = sample("recurrent/sparse", (300, 2000), std=0.5)
    assert_moments(w[w != 0], 0, 0.25, NORMAL)
    share = 15 / 300
    in_a_row = (w != 0).sum(1).double()
    assert (abs(in_a_row - 2000 * share) < 5 * math.sqrt(2000 * share * (1 - share))).all()


def test_smart_tanh_is_that_of_the_authors_code():
    weights = initial("initializer=smart_tanh", "cell.hidden=50")
    assert spectral_radius(weights["W_hh"]) == pytest.approx(0.95, abs=1e-10)
    assert ((weights["W_hh"] != 0).sum(0) == 15).all()
    assert_moments(weights["W_xh"], 0, 0.01**2, NORMAL)
    assert_moments(weights["W_hy"], 0, 0.01**2, NORMAL)
    assert (weights["b"] == 0).all()


@pytest.mark.parametrize("hidden", [6, 7])
@pytest.mark.parametrize("choice", ["henaff", "cayley"])
def test_skew_starts_rotate_planes(choice, hidden):
    a = sample(f"recurrent/{choice}", (hidden, hidden))
    w = torch.matrix_exp(a - a.mT)
    assert torch.allclose(w @ w.mT, torch.eye(hidden, dtype=torch.float64), atol=1e-12)
    expected = torch.eye(hidden, dtype=torch.float64)
    for k in range(0, hidden - 1, 2):
        angle = a[k, k + 1]
        rotation = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).view(2, 2)
        expected[k : k + 2, k : k + 2] = rotation
    assert torch.allclose(w, expected, atol=1e-12)
    assert (a != 0).sum() == hidden // 2


def test_angles_of_the_skew_starts_are_as_published():
    angles = {name: sample(f"recurrent/{name}", (2000, 2000)).diagonal(1)[::2] for name in ("henaff", "cayley")}
    assert_moments(angles["henaff"], 0, math.pi**2 / 3, UNIFORM)
    assert angles["henaff"].abs().max() <= math.pi
    u = 2 * angles["cayley"].atan()  # by which the Cayley transform rotates
    assert_moments(u, math.pi / 4, (math.pi / 2) ** 2 / 12, UNIFORM)
    assert u.min() >= 0


def test_cayley_angle_is_that_of_the_cayley_transform():
    a = sample("recurrent/cayley", (2, 2))
    s, one = a - a.mT, torch.eye(2, dtype=torch.float64)
    w = torch.linalg.solve(one + s, one - s)
    assert w.diagonal().tolist() == pytest.approx([math.cos(2 * math.atan(a[0, 1]))] * 2, abs=1e-12)


def test_chrono_opens_the_forget_gate_and_closes_the_input_gate_alike():
    i, f, g, o = initial("cell=lstm", "initializer/bias=chrono", "initializer.bias.longest=30")["b"]
    assert torch.equal(i, -f)
    assert f.unique().numel() > 60
    assert f.min() >= 0
    assert f.max() <= math.log(29)
    assert (g == 0).all()
    assert (o == 0).all()


def test_chrono_memories_are_uniform_between_2_and_the_longest():
    b_f = sample("bias/chrono", (50_000,), gate="f", longest=30)
    assert_moments(1 / (1 - b_f.sigmoid()), 16, 28**2 / 12, UNIFORM)
    assert torch.equal(sample("bias/chrono", (50_000,), gate="z", longest=30), b_f)  # h = (1 - z) n + z h_prev
    assert not sample("bias/chrono", (9,), gate="r").any()
    assert not sample("bias/chrono", (9,)).any()


def test_chrono_may_follow_the_length_of_the_task():
    overrides = ("cell=lstm", "initializer/bias=chrono", "initializer.bias.longest=${task.length}", "task.length=37")
    assert checked_job(composed(*overrides)).replica.initializer.bias == Chrono(37)


def test_identity_for_the_candidate_alone():
    i, f, g, o = initial("cell=lstm", "initializer/recurrent=per_gate")["W_hh"]
    assert torch.equal(g, torch.eye(64, dtype=torch.float64))
    without = initial("cell=lstm")["W_hh"]
    assert torch.equal(torch.stack([i, f, o]), without[[0, 1, 3]])


def test_a_cell_without_the_gate_is_filled_by_the_others():
    initializer = PerGate("g", Zeros(), Normal(1.0))
    assert torch.equal(draw(initializer, (5, 5)), draw(Normal(1.0), (5, 5)))
    assert not draw(initializer, (5, 5), gate="g").any()


def test_chrono_inside_per_gate_keeps_its_gates_alike():
    chrono, pytorch = Chrono(30), PyTorch()
    network = Network(LSTM(hidden=5), 2, 1)
    flat = network.initial([Initializers(pytorch, pytorch, PerGate("o", Normal(1.0), chrono), pytorch, pytorch)], [0])
    i, f, _, o = network.views(flat)["b"][0]
    assert torch.equal(i, -f)
    assert f.any()
    assert o.any()


def test_gates_are_filled_in_their_order_from_the_stream_of_their_parameter():
    weights = initial("cell=lstm", "initializer/bias=pytorch")
    for name, shape, draws in (("W_hh", (64, 64), 1), ("W_xh", (64, 2), 1), ("b", (64,), 2)):
        random = Stream(0, f"init/{name}", dtype=torch.float64)
        for block in weights[name]:
            assert torch.equal(block, sum((2 * random.uniform(*shape) - 1) / 8 for _ in range(draws)))


@pytest.mark.parametrize(
    ("choice", "fields", "message"),
    [
        ("recurrent/normal", {"std": -1}, "std=-1.0: must be a finite number >= 0"),
        ("recurrent/uniform", {"low": 1, "high": 0}, "low=1.0: must be <= high=0.0"),
        ("recurrent/uniform", {"high": math.inf}, "high=inf: must be a finite number"),
        ("recurrent/sparse", {"nonzeros": 0}, "nonzeros=0: must be a whole number >= 1"),
        ("recurrent/sparse", {"std": math.nan}, "std=nan: must be a finite number >= 0"),
        ("recurrent/spectral_radius", {"radius": -0.5}, "radius=-0.5: must be a finite number >= 0"),
        ("recurrent/spectral_radius", {"radius": math.inf}, "radius=inf: must be a finite number >= 0"),
        ("bias/chrono", {"longest": 1}, "longest=1.0: must be a finite number >= 2"),
        ("bias/chrono", {"longest": math.inf}, "longest=inf: must be a finite number >= 2"),
    ],
)
def test_values_out_of_range_are_told(choice, fields, message):
    with pytest.raises(ConfigError, match=message):
        example(choice, **fields)


def torch_start(kind, hidden):
    """The parameters of one torch.nn module and its Linear as it starts, in our symbols, biases added as its step does.

    torch.nn.GRU: n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), so the candidate's two biases stay apart.
    """
    torch.manual_seed(0)
    module, readout = getattr(torch.nn, kind)(hidden, hidden), torch.nn.Linear(hidden, hidden)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    ih, hh = (bias.detach().view(gates, hidden) for bias in (module.bias_ih_l0, module.bias_hh_l0))
    weights = {"W_hh": module.weight_hh_l0, "W_xh": module.weight_ih_l0, "W_hy": readout.weight, "b_y": readout.bias}
    biases = {f"b {k}": ih[k] + hh[k] for k in range(gates)}
    if kind == "GRU":
        biases |= {"b 2": ih[2], "b_hn": hh[2]}
    return {name: value.detach().double() for name, value in {**weights, **biases}.items()}


@pytest.mark.parametrize(("cell", "kind"), [("tanh", "RNN"), ("irnn", "RNN"), ("gru", "GRU"), ("lstm", "LSTM")])
def test_pytorch_start_is_that_of_torch_nn(cell, kind):
    """The same distribution of every weight and bias: bounds, standard deviation and kurtosis (1.8 of one uniform
    number, 2.4 of the sum of two)."""
    hidden = 1024
    network = Network(compose.example(f"cell/{cell}", hidden=hidden), 8, 8)
    found = {name: w[0] for name, w in network.views(network.initial([example_start()], [0])).items()}
    bias = found.pop("b")
    ours = {**found, **{f"b {k}": b for k, b in enumerate(bias.view(-1, hidden))}}
    theirs = torch_start(kind, hidden)
    assert ours.keys() == theirs.keys()
    bound = 1 / math.sqrt(hidden)
    for name, expected in theirs.items():
        drawn, n = ours[name].flatten(), ours[name].numel()
        summands = 2 if name.startswith("b ") and not (kind == "GRU" and name == "b 2") else 1
        kurtosis = (1.8, 2.4)[summands - 1]
        for values in (drawn, expected.flatten()):
            assert values.abs().max() <= summands * bound
            assert_moments(values, 0, summands * bound**2 / 3, kurtosis)
        if n >= hidden:
            moments = [float((values / values.std()).pow(4).mean()) for values in (drawn, expected.flatten())]
            assert moments == pytest.approx([kurtosis] * 2, rel=0.1)


def example_start():
    return checked_job(composed("initializer=pytorch")).replica.initializer


def test_forget_gate_bias_fills_the_forget_gate_alone():
    bias = initial("cell=lstm", "cell.hidden=5", "initializer.bias.forget=4")["b"]
    assert torch.equal(bias[1], torch.full((5,), 4.0, dtype=torch.float64))
    assert (bias[[0, 2, 3]] == 0).all()


def test_irnn_starts_as_in_the_paper():
    weights = initial("cell=irnn")
    assert torch.equal(weights["W_hh"], torch.eye(64, dtype=torch.float64))
    assert (weights["b"] == 0).all()
    assert weights["W_xh"].std() < 0.002
    assert weights["W_hy"].std() < 0.002
