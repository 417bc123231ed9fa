"""The L2 penalty against autograd."""

import torch

from bench.pack.fields import joined
from tests.methods.remedies.setting import remedy_of, setting


def test_it_is_the_gradient_of_its_price():
    view = setting()
    remedy = joined([remedy_of("l2_penalty", strength=s) for s in (0.1, 0.2, 0.3)])
    w = view.flat.clone().requires_grad_()
    price = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64) * w.square().sum(-1) / 2
    (expected,) = torch.autograd.grad(price.sum(), w)
    assert torch.allclose(remedy.penalty(view), expected, rtol=1e-12)
    assert torch.allclose(remedy.price(view), price, rtol=1e-12)
