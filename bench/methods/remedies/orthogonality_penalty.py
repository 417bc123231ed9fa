"""A price for recurrent weights that are not orthogonal, which would let every gradient keep its length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.methods.remedies.remedy import PackView, Remedy
from bench.pack.fields import PerReplica, column
from tasks.ranges import NonNegative


@dataclass(frozen=True)
class OrthogonalityPenalty(Remedy):
    """L <- L + strength sum_W ||W^T W - I||_F^2: gradient 4 strength W (W^T W - I).

    W: the recurrent weight [H, H], of a gated cell that of every gate. It belongs to the loss: its gradient is measured
    and clipped with the task's. Of a weight that is orthogonal by its making (expRNN) it asks nothing.

    strength: lambda, in units of the loss; 0 is none.
    Source: Vorontsov, Trabelsi, Kadoury & Pal 2017, the soft constraint (arXiv:1702.00071).
    """

    strength: PerReplica[NonNegative]

    def price(self, view: PackView) -> Tensor:
        hidden = view.network.cell.hidden
        squares = [_apart(W, hidden).square().flatten(1).sum(-1) for W in _weights(view, view.flat).values()]
        return column(self.strength, squares[0]) * torch.stack(squares).sum(0)

    def penalty(self, view: PackView) -> Tensor:
        flat = view.flat.detach().requires_grad_()
        with torch.enable_grad():
            weights = list(_weights(view, flat).values())
        uphill = [4 * (W @ _apart(W, view.network.cell.hidden)) for W in weights]
        (gradient,) = torch.autograd.grad(weights, flat, uphill)
        return column(self.strength, gradient) * gradient


def _weights(view: PackView, flat: Tensor) -> dict[str, Tensor]:
    """The recurrent weights by label, padded to a size at which their products have the same bits in any pack."""
    blocks = view.network.cell.recurrent_blocks(view.network.prepared(flat))
    more = view.network.padded_hidden - view.network.cell.hidden
    return {name: functional.pad(block, (0, more, 0, more)) for name, block in blocks.items()}


def _apart(W: Tensor, hidden: int) -> Tensor:
    """W^T W - I of the first `hidden` units; 0 in the padding."""
    unit = (torch.arange(W.shape[-1], device=W.device) < hidden).to(W.dtype).diag()
    return W.mT @ W - unit
