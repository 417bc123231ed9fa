"""torch.optim through the delta tensor of a pack is torch.optim on each replica alone."""

import dataclasses
import inspect

import pytest
import torch

from bench.jobs.build import ConfigError
from bench.jobs.compose import example
from bench.pack.fields import joined
from tests.conftest import choices

UPDATES = 200
RATES = [1e-3, 3e-3, 1e-2]  # larger ones make RMSprop chaotic, and rounding grows
ELSEWHERE = {"weight_decay", "decoupled_weight_decay"}  # what the training loop does, beside the learning rate
NO_NUMBER = {"self", "params", "foreach", "fused", "maximize", "capturable", "differentiable"}


def gradient_at(weights, update):
    """A loss with a different curvature in every direction, and noise."""
    curvature = torch.linspace(0.1, 2, weights.shape[-1], dtype=torch.float64)
    noise = torch.sin(torch.arange(weights.shape[-1], dtype=torch.float64) * (update + 1))
    return curvature * weights + 0.1 * noise


def start():
    return torch.randn(len(RATES), 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def stepped(settings):
    """Where a pack with these optimizers ends, in the order of the training loop."""
    pack, weights = joined(settings), start()
    delta = torch.zeros_like(weights)
    stepper = pack.build(delta)
    for update in range(UPDATES):
        delta.zero_()
        delta.grad = gradient_at(weights, update) + pack.weight_decay[:, None] * weights
        stepper.step()
        weights = (1 - pack.lr * pack.decoupled_decay)[:, None] * weights + pack.lr[:, None] * delta
    return weights


def stepped_alone(weights, optimizer, decoupled_decay=0.0):
    """Where torch.optim ends on its own, with the decay before its step."""
    for update in range(UPDATES):
        weights.grad = gradient_at(weights, update)
        weights.mul_(1 - optimizer.param_groups[0]["lr"] * decoupled_decay)
        optimizer.step()
    return weights


@pytest.mark.parametrize("decay", [{}, {"weight_decay": 0.01}, {"decoupled_decay": 0.1}])
@pytest.mark.parametrize("name", choices("optimizer"))
def test_pack_steps_as_torch_optim_does_alone(name, decay):
    decays = {"weight_decay": 0.0, "decoupled_decay": 0.0, **decay}
    settings = [example(f"optimizer/{name}", lr=lr, **decays) for lr in RATES]
    for weights, first, setting in zip(stepped(settings), start(), settings, strict=True):
        alone = first.clone()
        solo = setting.build(alone)
        solo.param_groups[0].update(lr=setting.lr, weight_decay=setting.weight_decay)
        assert torch.allclose(weights, stepped_alone(alone, solo, setting.decoupled_decay), rtol=1e-12, atol=1e-14)
        assert not torch.allclose(alone, first, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("adamw", torch.optim.AdamW, {}),
        ("nadam", torch.optim.NAdam, {"decoupled_weight_decay": True}),
        ("radam", torch.optim.RAdam, {"decoupled_weight_decay": True}),
    ],
)
def test_decoupled_decay_is_torch_optims(name, kind, settings):
    decays = [0.0, 0.03, 0.5]
    pack = [example(f"optimizer/{name}", lr=lr, decoupled_decay=decay) for lr, decay in zip(RATES, decays, strict=True)]
    for weights, alone, lr, decay in zip(stepped(pack), start(), RATES, decays, strict=True):
        solo = kind([alone], lr=lr, weight_decay=decay, **settings)
        assert torch.allclose(weights, stepped_alone(alone, solo), rtol=1e-12, atol=1e-14)


def test_adamw_is_adam_with_torchs_decay():
    adamw, adam = (example(f"optimizer/{name}") for name in ("adamw", "adam"))
    assert adamw == dataclasses.replace(adam, decoupled_decay=0.01)
    assert inspect.signature(torch.optim.AdamW).parameters["weight_decay"].default == adamw.decoupled_decay


@pytest.mark.parametrize("name", choices("optimizer"))
def test_every_argument_of_torch_optim_that_changes_numbers_is_a_field(name):
    optimizer = example(f"optimizer/{name}")
    arguments = set(inspect.signature(type(optimizer.build(torch.zeros(2))).__init__).parameters)
    known = {field.name for field in dataclasses.fields(optimizer)} | ELSEWHERE | NO_NUMBER
    assert arguments - known <= {"betas"}
    assert "betas" not in arguments or {"beta1", "beta2"} <= known


def test_the_padding_of_a_row_never_moves():
    """No gradient, no step: also where an optimizer divides by its past."""
    for name in choices("optimizer"):
        setting = example(f"optimizer/{name}")
        delta = torch.zeros(1, 4)
        stepper = setting.build(delta)
        for _ in range(10):
            delta.zero_()
            delta.grad = torch.tensor([[1.0, 0.0, -1.0, 0.0]])
            stepper.step()
            assert (delta[0, [1, 3]] == 0).all()


@pytest.mark.parametrize("name", choices("optimizer"))
def test_every_setting_reaches_torch_optim(name):
    """A setting that changes no step would be accepted and ignored."""
    optimizer = example(f"optimizer/{name}")
    built = optimizer.build(torch.zeros(2)).param_groups[0]
    given = dataclasses.asdict(optimizer)
    given.pop("lr"), given.pop("weight_decay"), given.pop("decoupled_decay")
    betas = (given.pop("beta1", None), given.pop("beta2", None))
    assert betas in ((None, None), built.get("betas"))
    assert {setting: built[setting] for setting in given} == given


@pytest.mark.parametrize("name", choices("optimizer"))
@pytest.mark.parametrize("fields", [{"lr": -1.0}, {"weight_decay": -0.1}, {"decoupled_decay": -0.1}])
def test_values_out_of_range_are_refused(name, fields):
    with pytest.raises(ConfigError, match=rf"^optimizer.{next(iter(fields))}=-\S+: must be a finite number >= 0$"):
        example(f"optimizer/{name}", **fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("sgd", {"momentum": 1.0}),
        ("sgd", {"dampening": -0.1}),
        ("sgd", {"nesterov": True}),
        ("rmsprop", {"alpha": 1.0}),
        ("adagrad", {"lr_decay": -1.0}),
        ("adadelta", {"rho": 1.5}),
        ("adam", {"beta2": 1.0}),
        ("adam", {"eps": 0.0}),
        ("nadam", {"beta1": -0.1}),
        ("nadam", {"momentum_decay": -1.0}),
        ("radam", {"beta2": 1.0}),
        ("adamax", {"eps": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(name, fields):
    with pytest.raises(ConfigError):
        example(f"optimizer/{name}", **fields)
