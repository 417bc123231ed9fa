"""torch.optim through the delta tensor of a pack is torch.optim on each replica alone."""

import dataclasses

import pytest
import torch

from bench import config
from bench.fields import joined
from tests.conftest import choices

UPDATES = 50


def gradient_at(weights, update):
    """A loss with a different curvature in every direction, and noise."""
    curvature = torch.linspace(0.1, 2, weights.shape[-1], dtype=torch.float64)
    noise = torch.sin(torch.arange(weights.shape[-1], dtype=torch.float64) * (update + 1))
    return curvature * weights + 0.1 * noise


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("name", choices("optimizer"))
def test_pack_steps_as_torch_optim_does_alone(name, weight_decay):
    rates = [1e-3, 1e-2, 0.05]  # larger ones make RMSprop chaotic, and rounding grows
    settings = [config.example(f"optimizer/{name}", lr=lr, weight_decay=weight_decay) for lr in rates]
    start = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    pack = joined(settings)
    weights, delta = start.clone(), torch.zeros_like(start)
    stepper = pack.build(delta)
    for update in range(UPDATES):
        delta.zero_()
        delta.grad = gradient_at(weights, update) + pack.weight_decay[:, None] * weights
        stepper.step()
        weights = weights + pack.lr[:, None] * delta

    for replica, setting in enumerate(settings):
        alone = start[replica].clone()
        solo = setting.build(alone)
        for group in solo.param_groups:
            group["lr"], group["weight_decay"] = setting.lr, weight_decay
        for update in range(UPDATES):
            alone.grad = gradient_at(alone, update)
            solo.step()
        assert torch.allclose(weights[replica], alone, rtol=1e-12, atol=1e-14)
        assert not torch.allclose(alone, start[replica], rtol=1e-6)


@pytest.mark.parametrize("name", choices("optimizer"))
def test_every_setting_reaches_torch_optim(name):
    """A setting that changes no step would be accepted and ignored."""
    optimizer = config.example(f"optimizer/{name}")
    built = optimizer.build(torch.zeros(2)).param_groups[0]
    given = dataclasses.asdict(optimizer)
    given.pop("lr"), given.pop("weight_decay")
    betas = (given.pop("beta1", None), given.pop("beta2", None))
    assert betas in ((None, None), built.get("betas"))
    assert {setting: built[setting] for setting in given} == given


@pytest.mark.parametrize("name", choices("optimizer"))
@pytest.mark.parametrize("fields", [{"lr": -1.0}, {"weight_decay": -0.1}])
def test_values_out_of_range_are_refused(name, fields):
    with pytest.raises(config.ConfigError, match=next(iter(fields))):
        config.example(f"optimizer/{name}", **fields)


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
    ],
)
def test_settings_out_of_range_are_refused(name, fields):
    with pytest.raises(config.ConfigError):
        config.example(f"optimizer/{name}", **fields)
