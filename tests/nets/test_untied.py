"""Weights of their own at every step: the equation, who trains it, and what random matrix theory says of its start."""

import math
import re

import pytest
import torch

from bench.engines.eager import Eager
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.nets.cells.elman import Elman
from bench.nets.cells.untied import Untied
from bench.nets.initializers import Initializers, Normal, Zeros
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import EVERYTHING_MEASURED, assert_same_tables, with_seeds
from tests.engines.test_engines import SEEDS, START, assert_close


def setting(cell, length, seeds=SEEDS, start=START):
    task = example("task/adding", length=length)
    network = Network(cell, task.inputs, task.outputs)
    batch = task.sample(Stream(seeds, "train", dtype=torch.float64), 4)
    return network, task, network.initial([start] * len(seeds), seeds), batch


@pytest.mark.parametrize("every", [1, 3])
def test_it_is_a_feed_forward_net_written_out(every):
    """Loss and the gradient of every set, by autograd over a plain loop."""
    network, task, flat, batch = setting(Untied(5, "tanh", every, 7), 7)
    flat = (2 * flat).requires_grad_()
    weights, h = network.views(flat), torch.zeros(3, 4, 5, dtype=torch.float64)
    for t in range(7):
        w_hh, w_xh, b = (weights[name][:, t // every] for name in ("W_hh", "W_xh", "b"))
        h = torch.tanh(h @ w_hh.mT + batch.inputs[:, :, t] @ w_xh.mT + b[:, None])
    y = (h @ weights["W_hy"].mT + weights["b_y"][:, None])[..., 0]
    loss = (y - batch.targets[..., 0]).square().mean(-1)
    (expected,) = torch.autograd.grad(loss.sum(), flat)
    found = Eager().program(network, task).gradients(flat.detach(), batch)
    assert_close(found.loss, loss.detach(), 1e-12)
    assert_close(found.gradient, expected, 1e-11)
    assert (network.views(found.gradient)["W_xh"].abs().sum((-1, -2)) > 0).all()


def test_one_set_is_the_elman_net():
    network, task, flat, batch = setting(Untied(5, "relu", 7, 7), 7)
    tied = Network(Elman(5, "relu"), task.inputs, task.outputs)
    same = torch.zeros(3, tied.flat_size, dtype=torch.float64)
    for name, view in tied.views(same).items():
        view.copy_(network.views(flat)[name].reshape(view.shape))
    ours, theirs = (
        Eager().program(n, task).gradients(f, batch, trace=True) for n, f in ((network, flat), (tied, same))
    )
    assert_close(ours.loss, theirs.loss, 1e-14)
    assert_close(ours.trace["h"], theirs.trace["h"], 1e-12)


def test_engines_that_know_one_step_refuse_it_in_one_line():
    assert checked_job(composed("cell=untied", "device=cpu")).engine.name == "eager"
    for engine, reason in (
        ("compiled", "cannot train untied, whose weights differ from step to step"),
        ("batched", "cannot train untied on cpu"),
    ):
        with pytest.raises(
            ConfigError, match=re.escape(f"engine={engine}: {reason}; engine=auto chooses one that can")
        ):
            checked_job(composed("cell=untied", f"engine={engine}", "device=cpu"))


@pytest.mark.parametrize("layers", ["1", "2"])
def test_too_few_steps_are_one_line(layers):
    with pytest.raises(ConfigError, match=r"^cell\.steps=10: must be >= 20, the steps of copying$"):
        checked_job(composed(*COPYING, "cell.steps=10", f"cell.layers={layers}"))
    assert len(checked_job(composed(*COPYING, "cell.every=3")).replica.cell.gates) == 7  # null is as many as there are


COPYING = ("cell=untied", "task=copying", "task.length=10")


def test_it_is_the_same_in_every_pack_with_everything_measured(make_replica):
    replicas = with_seeds(make_replica("cell=untied", "cell.every=3", "cell.layers=2", *EVERYTHING_MEASURED), range(3))
    together = Training(replicas, Eager(), torch.device("cpu")).run()
    (alone,) = Training(replicas[1:2], Eager(), torch.device("cpu")).run()
    assert_same_tables(together[1], alone)
    assert set(alone.table("spectrum")["block"]) == {f"W_hh_{s}_{layer}" for s in (1, 2, 3) for layer in (1, 2)}


def growth(activation, every, gain, steps, seeds, hidden=32):
    """ln of ||dL/dh_(t-1)|| / ||dL/dh_t|| of one sequence, [replicas, steps - 1], and the first set's weight."""
    start = Initializers(Normal(gain / math.sqrt(hidden)), Normal(1.0), Zeros(), Normal(1.0), Zeros())
    network, task, flat, batch = setting(Untied(hidden, activation, every, steps), steps, seeds, start)
    trace = Eager().program(network, task).gradients(flat, batch, trace=True).trace["h"][:, 0]
    return -trace.log().diff(dim=-1), network.views(flat)["W_hh"][:, 0]


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
@pytest.mark.parametrize(("activation", "kept", "spread"), [("identity", 1.0, 2.0), ("relu", 0.5, 5.0)])
def test_untied_weights_multiply_the_mean_square_of_a_gradient_by_their_gain(activation, kept, spread, gain):
    """E ||dL/dh_(t-1)||^2 / ||dL/dh_t||^2 = gain^2, and half of it through ReLUs, up to a share of 1/H.

    The ratio's variance is gain^4 spread/H kept^2: of a chi-square over H units, and of which half is let through.
    """
    logs, _ = growth(activation, 1, gain, 40, range(16))
    ratios = (2 * logs).exp() / (kept * gain**2)
    error = math.sqrt(spread / 32 / ratios.numel())
    assert float(ratios.mean()) == pytest.approx(1, abs=4 * error + (0 if activation == "identity" else 0.5 / 32))


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_the_power_of_one_weight_grows_by_its_spectral_radius_in_the_end(gain):
    """Gelfand: ||W^n||^(1/n) -> rho(W); the way untied weights go, by the gain, is another."""
    logs, weights = growth("identity", 300, gain, 300, range(8))
    radius = torch.linalg.eigvals(weights).abs().amax(-1)
    rate = logs[:, :150].mean(-1)  # the longest lags
    assert (rate - radius.log()).abs().max() < 0.01
    assert (rate - math.log(gain)).abs().max() > 0.03
