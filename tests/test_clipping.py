"""Clipping rules: what a threshold promises holds, at any size of gradient."""

import math

import pytest
import torch

from bench import config
from bench.clipping import NormClipping, gradient_norm
from bench.fields import joined
from tests.conftest import choices


def clip(rule, gradient):
    return joined([rule] * len(gradient)).clip(gradient, gradient_norm(gradient))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_after_clipping_is_at_most_threshold(dtype):
    gradient = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).to(dtype) * 10
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


@pytest.mark.parametrize("name", choices("clipping"))
def test_gradients_below_the_threshold_keep_their_bits(name):
    gradient = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) * 1e-3
    assert torch.equal(clip(config.example(f"clipping/{name}"), gradient), gradient)


@pytest.mark.parametrize("name", choices("clipping"))
def test_infinite_threshold_is_no_clipping(name):
    gradient = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) * 1e20
    assert torch.equal(clip(config.example(f"clipping/{name}", threshold=math.inf), gradient), gradient)


@pytest.mark.parametrize("name", choices("clipping"))
@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan])
def test_a_threshold_must_be_positive(name, threshold):
    with pytest.raises(config.ConfigError, match="threshold"):
        config.example(f"clipping/{name}", threshold=threshold)


@pytest.mark.parametrize("name", choices("clipping"))
def test_each_replica_has_its_own_threshold(name):
    gradient = torch.ones(3, 4)
    rules = [config.example(f"clipping/{name}", threshold=threshold) for threshold in (0.5, 1.0, 4.0)]
    together = joined(rules).clip(gradient, gradient_norm(gradient))
    alone = [clip(rule, gradient[:1])[0] for rule in rules]
    assert torch.equal(together, torch.stack(alone))
    assert not torch.equal(together[0], together[2])


def test_value_clipping_bounds_every_entry():
    gradient = torch.tensor([[-3.0, -0.5, 0.2, 7.0]])
    clipped = clip(config.example("clipping/value", threshold=1.0), gradient)
    assert clipped.tolist() == [[-1.0, -0.5, pytest.approx(0.2), 1.0]]
