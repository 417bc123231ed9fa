"""Every initialiser against the moments or the identity that defines it."""

import math

import pytest
import torch

from bench import config
from bench.initializers import Block
from bench.network import Network
from bench.streams import Stream
from tests.conftest import choices

ROLES = ["recurrent", "input", "bias", "readout", "readout_bias"]


def sample(choice, shape, gate=None, **fields):
    stream = Stream(0, "init", dtype=torch.float64)
    return config.example(f"initializer/{choice}", **fields).sample(stream, Block(shape, hidden=64, gate=gate))


@pytest.mark.parametrize("choice", [f"{role}/{name}" for role in ROLES for name in choices(f"initializer/{role}")])
def test_every_choice_fills_its_block_in_float64(choice):
    shape = (64,) if "bias" in choice else (64, 64)
    values = sample(choice, shape)
    assert values.shape == shape
    assert values.dtype == torch.float64
    assert values.isfinite().all()
    assert torch.equal(values, sample(choice, shape))


@pytest.mark.parametrize("name", choices("initializer"))
def test_every_scheme_fills_every_cell(name):
    for cell in choices("cell"):
        composed = config.composed(f"cell={cell}", f"initializer={name}", "cell.hidden=8")
        replica = config.job(composed).replica
        flat = replica.network.initial([replica.initializer], [0])
        assert flat.isfinite().all()


def test_identity_is_gain_times_identity():
    assert torch.equal(sample("recurrent/identity", (5, 5), gain=0.5), 0.5 * torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    q = sample("recurrent/orthogonal", shape, gain=2.0) / 2
    gram = q @ q.mT if shape[0] <= shape[1] else q.mT @ q
    assert torch.allclose(gram, torch.eye(min(shape), dtype=torch.float64), atol=1e-12)


def test_orthogonal_signs_are_not_those_of_the_factorisation():
    orthogonal = config.example("initializer/recurrent/orthogonal")
    streams = [Stream(seed, "init", dtype=torch.float64) for seed in range(200)]
    corners = torch.stack([orthogonal.sample(stream, Block((3, 3), 3))[0, 0] for stream in streams])
    assert 0.35 < (corners > 0).double().mean() < 0.65  # LAPACK's Q alone has a constant sign there


@pytest.mark.parametrize(
    ("choice", "std"),
    [
        ("input/normal", 0.001),
        ("input/he", math.sqrt(2 / 200)),
        ("input/glorot_normal", math.sqrt(2 / 500)),
        ("input/glorot_uniform", math.sqrt(2 / 500)),
        ("input/pytorch", 1 / math.sqrt(3 * 64)),
    ],
)
def test_standard_deviation_is_as_published(choice, std):
    values = sample(choice, (300, 200))
    assert abs(values.std() / std - 1) < 0.02
    assert abs(values.mean()) < 4 * std / math.sqrt(values.numel())


def test_pytorch_start_is_that_of_torch_nn():
    module = torch.nn.RNN(3, 64)
    bound = 1 / math.sqrt(64)
    assert all(weight.abs().max() <= bound for weight in module.parameters())
    ours = sample("recurrent/pytorch", (64, 64))
    assert 0.98 * bound < ours.abs().max() <= bound


def test_forget_gate_bias_fills_the_forget_gate_alone():
    cell = config.example("cell/lstm", hidden=5)
    network = Network(cell, 2, 1)
    replica = config.job(config.composed("cell=lstm", "initializer.bias.forget=4")).replica
    bias = network.views(network.initial([replica.initializer], [0]))["b"][0]
    assert torch.equal(bias[1], torch.full((5,), 4.0, dtype=torch.float64))
    assert (bias[[0, 2, 3]] == 0).all()


def test_irnn_starts_as_in_the_paper():
    replica = config.job(config.composed("cell=irnn")).replica
    weights = replica.network.views(replica.network.initial([replica.initializer], [0]))
    assert torch.equal(weights["W_hh"][0], torch.eye(64, dtype=torch.float64))
    assert (weights["b"] == 0).all()
    assert weights["W_xh"].std() < 0.002
    assert weights["W_hy"].std() < 0.002
