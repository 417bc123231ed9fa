"""The soft orthogonality constraint against its gradient in closed form, and what it does to the spectrum."""

import pytest
import torch

from bench.pack.fields import joined
from bench.training.loop import Training
from tests.methods.remedies.setting import CPU, plain, remedy_of, replica_of, setting

STRENGTHS = torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64)


def penalised(view):
    return joined([remedy_of("orthogonality_penalty", strength=float(s)) for s in STRENGTHS])


@pytest.mark.parametrize("hidden", [8, 17])
@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_gradient_is_4_w_times_what_is_amiss_gate_by_gate(cell, hidden):
    view = setting(cell, hidden)
    ours = view.network.views(penalised(view).penalty(view))
    W = view.network.views(view.flat)["W_hh"]
    strength = STRENGTHS.view(-1, *[1] * (W.ndim - 1))
    expected = 4 * strength * W @ (W.mT @ W - torch.eye(hidden))
    assert torch.allclose(ours.pop("W_hh"), expected, rtol=1e-10)
    assert all((other == 0).all() for other in ours.values())


@pytest.mark.parametrize("cell", ["tanh", "lstm", "lru"])
def test_price_is_what_the_gradient_is_of(cell):
    view = setting(cell)
    remedy = penalised(view)
    random = torch.Generator().manual_seed(0)
    direction = torch.randn(view.flat.shape, generator=random).double() * view.trained
    ahead, behind = (remedy.price(setting_at(view, sign * 1e-5 * direction)) for sign in (1, -1))
    assert torch.allclose((remedy.penalty(view) * direction).sum(-1), (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-9)
    blocks = view.network.cell.recurrent_blocks(view.network.prepared(view.flat)).values()
    squares = sum((W.mT @ W - torch.eye(8)).square().sum((-2, -1)) for W in blocks)
    assert torch.allclose(remedy.price(view), STRENGTHS * squares)


def setting_at(view, step):
    return type(view)(**{**vars(view), "flat": view.flat + step})


def test_of_a_rotation_it_asks_nothing():
    view = setting("exprnn")
    assert (penalised(view).penalty(view).abs() < 1e-12).all()


def test_it_brings_the_singular_values_to_one():
    free = plain("updates=300", "optimizer.lr=0.01")
    strong = "remedies.orthogonality_penalty.strength=1"
    bound = replica_of("orthogonality_penalty", strong, "updates=300", "optimizer.lr=0.01", "clipping=none")
    apart = []
    for replica in (free, bound.replica):
        training = Training([replica], bound.engine, CPU)
        training.run()
        singular = torch.linalg.svdvals(training.network.views(training.flat)["W_hh"][0].double())
        apart.append(float((singular - 1).abs().max()))
    assert apart[1] < 0.05 < apart[0]
