"""The table of activations: bounds and slopes against values and derivatives by autograd."""

import math

import pytest
import torch

from bench.nets.activations import ACTIVATIONS
from tests.conftest import CONF


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bounds_and_slope_are_those_of_the_function(name):
    activation = ACTIVATIONS[name]
    a = torch.cat((torch.linspace(-60, 60, 120001), torch.tensor([-1e4, 1e4]))).double().requires_grad_()
    values = activation.function(a)
    (slopes,) = torch.autograd.grad(values.sum(), a)
    for (low, high), found in ((activation.bounds, values.detach()), (activation.slope, slopes)):
        least, greatest = float(found.min()), float(found.max())
        assert least == pytest.approx(low, abs=1e-7) if math.isfinite(low) else least == -1e4
        assert greatest == pytest.approx(high, abs=1e-7) if math.isfinite(high) else greatest == 1e4


def test_the_step_lets_the_gradient_through_and_is_exact():
    a = torch.tensor([-3.7, -1e-9, 0.0, 1e-9, 0.1, 7.3], dtype=torch.float64, requires_grad=True)
    h = ACTIVATIONS["binary_step"].function(a)
    assert h.tolist() == [0, 0, 0, 1, 1, 1]
    upstream = torch.arange(6, dtype=torch.float64)
    assert torch.equal(torch.autograd.grad(h, a, upstream)[0], upstream)


def test_every_activation_has_a_yaml():
    texts = "".join(path.read_text() for path in (CONF / "cell").glob("*.yaml"))
    assert all(f"activation: {name}\n" in texts for name in ACTIVATIONS)
