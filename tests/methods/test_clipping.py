"""Clipping rules: what a threshold promises holds, at any size of gradient; what is done where none is finite."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.engine import Interventions
from bench.jobs.build import ConfigError
from bench.jobs.compose import example
from bench.methods.clipping import AutoClip, NormClipping, Step
from bench.nets.network import Network
from bench.pack.fields import joined
from bench.pack.sums import _sum_of_halves, cosine, gradient_norm
from tests.conftest import choices
from tests.methods.remedies.setting import setting

RULES = choices("clipping")
WITH_THRESHOLD = [name for name in RULES if hasattr(example(f"clipping/{name}"), "threshold")]
ON_THE_WAY = [name for name in RULES if name.startswith("state_")]  # clip the gradient as it travels, not its sum
AT_THE_END = [name for name in WITH_THRESHOLD if name not in ON_THE_WAY]


def parts(flat):
    """As a network lays its parameters out: two matrices of units, a bias of two gates, and padding."""
    rows = flat.shape[-1] // 8
    bias = flat[..., 4 * rows : 6 * rows].unflatten(-1, (2, rows))
    return {"W": flat[..., : 4 * rows].unflatten(-1, (rows, 4)), "b": bias}


def step_of(gradient, *, weights=None, past=None, update=0, updates=10):
    weights = torch.ones_like(gradient) if weights is None else weights
    past = torch.full((update, len(gradient)), 1.0).double() if past is None else past
    return Step(gradient, gradient_norm(gradient), weights, parts, {"b"}, update, updates, past)


def clip(rule, gradient, **seen):
    return joined([rule] * len(gradient)).clip(step_of(gradient, **seen))


def noise(rows=4, columns=32, size=1.0):
    return size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_after_clipping_is_at_most_threshold(dtype):
    gradient = noise(5, 40, 10).to(dtype)
    clipped = clip(NormClipping(2.0), gradient)
    assert torch.allclose(gradient_norm(clipped), torch.full((5,), 2.0).double(), rtol=1e-6)
    cosine = torch.nn.functional.cosine_similarity(clipped, gradient)
    assert torch.allclose(cosine, torch.ones(5, dtype=dtype))


@pytest.mark.parametrize("threshold", [1.0, 1e-4])
@pytest.mark.parametrize("size", [1e30, 1e38, 1e-30])
def test_a_huge_float32_gradient_is_clipped_to_the_threshold_not_to_zero(size, threshold):
    gradient = torch.full((1, 64), size)
    clipped = clip(NormClipping(threshold), gradient)
    assert gradient_norm(gradient).item() == pytest.approx(8 * float(gradient[0, 0]), rel=1e-6)
    assert gradient_norm(clipped).item() == pytest.approx(min(threshold, 8 * size), rel=1e-6)


def test_norm_of_zero_is_zero_and_of_nonfinite_is_not_finite():
    gradient = torch.zeros(3, 8)
    gradient[1, 2], gradient[2, 3] = torch.nan, torch.inf
    norm = gradient_norm(gradient)
    assert norm[0] == 0
    assert not norm[1:].isfinite().any()


@pytest.mark.parametrize("size", [1e-38, 1.0, 5e37])
def test_cosine_is_that_of_the_angle_and_never_overflows(size):
    gradient = size * torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    clipped = size * torch.tensor([[1.0, 1.0], [0.5, 0.0], [2.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([7 / (5 * math.sqrt(2)), 1, 1, 1, 1], dtype=torch.float64)
    assert torch.allclose(cosine(gradient, clipped), expected, rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("size", [0.0, 1e38, 1e-38])
def test_zero_and_huge_gradients_stay_finite_and_are_never_lengthened(name, size):
    gradient = torch.full((2, 64), size)
    clipped = clip(example(f"clipping/{name}"), gradient, update=3)
    assert clipped.isfinite().all()
    assert (clipped.abs() <= gradient).all()
    assert size == 0 or (clipped > 0).all()
    clipped_state_gradient = example(f"clipping/{name}").clipped_state_gradient(gradient.view(2, 4, 16))
    assert clipped_state_gradient.isfinite().all()
    assert (clipped_state_gradient.abs() <= gradient.view(2, 4, 16)).all()


@pytest.mark.parametrize("name", WITH_THRESHOLD)
def test_gradients_below_the_threshold_keep_their_bits(name):
    gradient = noise(size=1e-3)
    rule = example(f"clipping/{name}", threshold=1.0)
    assert torch.equal(clip(rule, gradient, update=2), gradient)
    assert torch.equal(rule.clipped_state_gradient(gradient.view(4, 2, 16)), gradient.view(4, 2, 16))


@pytest.mark.parametrize("name", WITH_THRESHOLD)
def test_infinite_threshold_is_no_clipping(name):
    gradient = noise(size=1e20)
    rule = example(f"clipping/{name}", threshold=math.inf)
    assert torch.equal(clip(rule, gradient, update=2), gradient)
    assert torch.equal(rule.clipped_state_gradient(gradient.view(4, 2, 16)), gradient.view(4, 2, 16))


@pytest.mark.parametrize("name", RULES)
def test_clipping_twice_is_clipping_once(name):
    """Not for AutoClip: the clipped gradient is a norm that it has not seen."""
    gradient, rule = noise(size=10).double(), example(f"clipping/{name}")
    once = clip(rule, gradient, update=5)
    if not isinstance(rule, AutoClip):
        assert torch.allclose(clip(rule, once, update=5), once, rtol=1e-12)
    state = gradient.view(4, 2, 16)
    assert torch.allclose(
        rule.clipped_state_gradient(rule.clipped_state_gradient(state)), rule.clipped_state_gradient(state), rtol=1e-12
    )


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_says_so_turns_no_gradient(name):
    gradient, rule = noise(size=10).double(), example(f"clipping/{name}")
    clipped = clip(rule, gradient, update=5, past=torch.full((5, 4), 1e-3).double())
    if not rule.turns and name != "none":
        assert (gradient_norm(clipped) < gradient_norm(gradient)).all()
        assert torch.allclose(cosine(gradient, clipped), torch.ones(4).double(), rtol=1e-14)


@pytest.mark.parametrize("name", WITH_THRESHOLD)
@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan])
def test_a_threshold_must_be_positive(name, threshold):
    with pytest.raises(ConfigError, match=rf"^clipping.threshold={threshold}: must be a number > 0, or .inf$"):
        example(f"clipping/{name}", threshold=threshold)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("linear_decay", {"final": 0.0}, "final=0.0: must be a number > 0, or .inf"),
        ("adaptive", {"eps": 0.0}, "eps=0.0: must be a finite number > 0"),
        ("running_median", {"window": 0}, "window=0: must be a whole number >= 1"),
        ("autoclip", {"percentile": 0.0}, r"percentile=0.0: must be a number in \(0, 100\]"),
        ("autoclip", {"percentile": 101.0}, r"percentile=101.0: must be a number in \(0, 100\]"),
    ],
)
def test_other_values_out_of_range_are_refused(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        example(f"clipping/{name}", **fields)


@pytest.mark.parametrize("name", RULES)
def test_every_number_of_a_rule_acts_per_replica(name):
    """The first field that may differ within a pack: three replicas with three values, together and alone."""
    rule, gradient = example(f"clipping/{name}"), noise(1, 32, 10).double().expand(3, 32)
    field, values = ("percentile", (10.0, 50.0, 99.0)) if name == "autoclip" else ("threshold", (0.01, 0.1, 1.0))
    rules = [dataclasses.replace(rule, **{field: value}) for value in values]
    past = torch.rand(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).expand(6, 3)
    together = joined(rules)
    pairs = {
        "sum": (
            together.clip(step_of(gradient, update=6, past=past)),
            lambda one: clip(one, gradient[:1], update=6, past=past[:, :1]),
        ),
        "way": (
            together.clipped_state_gradient(gradient.view(3, 2, 16)),
            lambda one: joined([one]).clipped_state_gradient(gradient[:1].view(1, 2, 16)),
        ),
    }
    pack, alone = pairs["way" if name in ON_THE_WAY else "sum"]
    for row, one in zip(pack, rules, strict=True):
        assert torch.equal(row, alone(one)[0])
    assert not torch.equal(pack[0], pack[2])


@pytest.mark.parametrize("name", RULES)
def test_replicas_are_independent(name):
    """A neighbour with another gradient, weight and past changes no bit."""
    gradient, weights = noise(3, 32, 10), noise(3, 32).flip(0)
    past = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rule = example(f"clipping/{name}")
    together = clip(rule, gradient, weights=weights, past=past, update=6)
    for r in range(3):
        one = slice(r, r + 1)
        assert torch.equal(clip(rule, gradient[one], weights=weights[one], past=past[:, one], update=6)[0], together[r])


def test_value_clipping_bounds_every_entry():
    gradient = torch.tensor([[-3.0, -0.5, 0.2, 7.0]])
    clipped = clip(example("clipping/value", threshold=1.0), gradient)
    assert clipped.tolist() == [[-1.0, -0.5, pytest.approx(0.2), 1.0]]


def test_parameter_norm_clips_each_parameter_as_torch_does():
    gradient = noise(2, 32, 3).double()
    clipped = clip(example("clipping/parameter_norm", threshold=2.0), gradient)
    for r in range(2):
        for name, part in parts(gradient[r]).items():
            parameter = torch.nn.Parameter(torch.zeros_like(part))
            parameter.grad = part.clone()
            torch.nn.utils.clip_grad_norm_([parameter], 2.0)
            assert torch.allclose(parts(clipped[r])[name], parameter.grad, rtol=1e-6)  # torch adds 1e-6 to the norm


@pytest.mark.parametrize(("name", "halfway"), [("linear_decay", 5.5), ("exponential_decay", math.sqrt(10))])
def test_a_decaying_threshold_goes_from_the_first_to_the_last(name, halfway):
    rule, gradient = example(f"clipping/{name}", threshold=10.0, final=1.0), noise(2, 32, 1e3)
    for update, threshold in ((0, 10.0), (50, halfway), (100, 1.0)):
        norms = gradient_norm(clip(rule, gradient, update=update, updates=101))
        assert torch.allclose(norms, torch.full((2,), threshold).double(), rtol=1e-6)


@pytest.mark.parametrize(("name", "usual"), [("moving_average", np.nanmean), ("running_median", np.nanmedian)])
def test_a_relative_threshold_is_in_units_of_the_norms_of_the_window(name, usual):
    past = np.random.default_rng(0).lognormal(size=(30, 2))
    past[-3, 0] = np.nan  # an update whose gradient was not finite
    past[-4, 1] = np.inf
    rule, gradient = example(f"clipping/{name}", threshold=0.5, window=10), noise(2, 32, 1e3)
    norms = gradient_norm(clip(rule, gradient, update=30, past=torch.from_numpy(past)))
    window = np.where(np.isfinite(past[-10:]), past[-10:], np.nan)
    assert np.allclose(norms, 0.5 * usual(window, axis=0), rtol=1e-6)
    assert torch.equal(clip(rule, gradient, update=0), gradient)  # nothing seen yet


@pytest.mark.parametrize("percentile", [10.0, 37.5, 99.0])
def test_autoclip_clips_at_the_percentile_of_all_norms_seen(percentile):
    past = np.random.default_rng(0).lognormal(size=(23, 2))
    past[4, 0] = np.inf
    gradient = noise(2, 32, 1e3).double()
    norms = gradient_norm(clip(AutoClip(percentile), gradient, update=23, past=torch.from_numpy(past)))
    for r in range(2):
        seen = [*past[np.isfinite(past[:, r]), r], gradient_norm(gradient)[r].item()]
        assert norms[r].item() == pytest.approx(np.percentile(seen, percentile))
    assert torch.equal(clip(AutoClip(percentile), gradient, update=0), gradient)


def test_adaptive_clipping_bounds_a_units_gradient_by_its_weights():
    gradient, weights = noise(2, 32, 5).double(), noise(2, 32).double().flip(1)
    parts(weights)["W"][0, 1] = 0.0  # a unit without weights: eps serves
    rule = example("clipping/adaptive", threshold=0.1, eps=1e-3)
    clipped = clip(rule, gradient, weights=weights)
    for r in range(2):
        before, after, weight = (parts(tensor[r]) for tensor in (gradient, clipped, weights))
        rows = [("W", k) for k in range(len(before["W"]))] + [("b", slice(None))]
        for name, row in rows:
            most = 0.1 * max(weight[name][row].norm().item(), 1e-3)
            norm = before[name][row].norm().item()
            assert torch.allclose(after[name][row], before[name][row] * min(1.0, most / norm), rtol=1e-12)


def unitwise(tensor):
    """timm.utils.agc.unitwise_norm: a vector's whole norm, and a norm for each row of a matrix."""
    return tensor.norm() if tensor.ndim <= 1 else tensor.norm(dim=tuple(range(1, tensor.ndim)), keepdim=True)


@pytest.mark.parametrize(("cell", "module"), [("tanh", "RNN"), ("gru", "GRU"), ("lstm", "LSTM")])
def test_adaptive_clipping_is_that_of_timm_on_the_parameters_of_torch_nn(cell, module):
    """Its formula, on tensors in the shapes that torch.nn has: a gated bias there is one vector of all gates."""
    network = Network(example(f"cell/{cell}", hidden=5), 2, 3)
    rule = example("clipping/adaptive", threshold=0.2, eps=1e-3)
    weights, gradient = (noise(2, network.flat_size, size).double() * network.mask() for size in (1.0, 0.3))
    gradient = gradient.flip(0)
    seen = Step(gradient, gradient_norm(gradient), weights, network.views, network.vectors, 0, 1, torch.empty(0, 2))
    clipped = network.views(joined([rule] * 2).clip(seen))
    theirs = getattr(torch.nn, module)(2, 5)
    shapes = {"W_hh": theirs.weight_hh_l0.shape, "W_xh": theirs.weight_ih_l0.shape, "b": theirs.bias_ih_l0.shape}
    shortened = 0
    for name, part in network.views(gradient).items():
        for r in range(2):
            shape = shapes.get(name, part[r].shape)
            w, g = network.views(weights)[name][r].reshape(shape), part[r].reshape(shape)
            most, norm = unitwise(w).clamp_min(1e-3) * 0.2, unitwise(g)
            expected = torch.where(norm < most, g, g * (most / norm.clamp(min=1e-6)))
            assert torch.allclose(clipped[name][r].reshape(shape), expected, rtol=1e-12)
            shortened += int((norm > most).sum())
    assert shortened > 2 * len(shapes)


def test_a_state_gradient_is_clipped_sequence_by_sequence():
    d_state = noise(6, 16, 3).view(2, 3, 16)
    by_value, by_norm = (example(f"clipping/{name}", threshold=2.0) for name in ON_THE_WAY[::-1])
    assert torch.equal(by_value.clipped_state_gradient(d_state), d_state.clamp(-2, 2))
    norms = d_state.norm(dim=-1, keepdim=True)
    assert torch.allclose(by_norm.clipped_state_gradient(d_state), d_state * (2 / norms).clamp_max(1), rtol=1e-6)
    assert torch.equal(clip(by_norm, d_state[:, 0]), d_state[:, 0])


def test_where_no_gradient_is_finite_pascanu_shrinks_the_recurrent_weight():
    policy = joined([example("nonfinite/pascanu", factor=factor) for factor in (0.02, 0.5)])
    weights, recurrent = noise(2, 6), torch.tensor([True, True, False, False, True, False])
    replacement = policy.replacement(weights, recurrent)
    assert torch.equal(replacement, torch.tensor([[0.02], [0.5]]) * weights * recurrent)
    for name in ("stop", "skip"):
        assert example(f"nonfinite/{name}").replacement(weights, recurrent) is None


@pytest.mark.parametrize("size", [1, 2, 3, 64, 1000])
def test_sums_for_a_gpu_are_right_and_do_not_depend_on_how_many_rows_there_are(size):
    rows = noise(7, size).double()
    sums = _sum_of_halves(rows)
    for row, found in zip(rows.tolist(), sums.tolist(), strict=True):
        assert found == pytest.approx(math.fsum(row), abs=1e-13)
    for members in ([5], [6, 2], [4, 0, 3]):
        assert torch.equal(_sum_of_halves(rows[members]), sums[members])
    assert torch.equal(_sum_of_halves(rows[None]), sums[None])
    rows[1, 0], rows[2, -1] = torch.nan, torch.inf
    assert _sum_of_halves(rows).isfinite().tolist() == [True, False, False, True, True, True, True]


@pytest.mark.parametrize("by", ["value", "norm"])
@pytest.mark.parametrize("cell", ["tanh", "irnn", "gru", "lstm"])
def test_clipping_on_the_way_back_is_the_same_in_both_engines_and_obeys_its_threshold(cell, by):
    view = setting(cell)
    rule = joined([example("clipping/state_norm", by=by, threshold=c) for c in (1e-3, 0.05, 1e9)])
    engines = [engine.program(view.network, view.task, Interventions(rule)) for engine in (Eager(), Batched())]
    eager, batched = (program.gradients(view.flat, view.batch, trace=True) for program in engines)
    assert torch.allclose(eager.gradient, batched.gradient, rtol=1e-10, atol=1e-16)
    for name, norms in eager.trace.items():
        assert torch.allclose(norms, batched.trace[name], rtol=1e-10)
    if by == "norm":
        assert (batched.trace["h"][0] <= 1e-3 * (1 + 1e-12)).all()
        assert (batched.trace["h"][0] > 0.999e-3).any()
    free = Batched().program(view.network, view.task).gradients(view.flat, view.batch)
    assert torch.allclose(batched.gradient[2], free.gradient[2], rtol=1e-12)
    assert not torch.allclose(batched.gradient[0], free.gradient[0])
