"""Pruning below a threshold."""

import dataclasses

import torch

from bench.pack.fields import joined
from tests.methods.remedies.setting import remedy_of, setting


def test_what_is_below_the_threshold_is_zero_and_all_else_as_it_was():
    view = dataclasses.replace(setting(), update=4)  # half of 10 updates
    thresholds = torch.tensor([0.05, 0.2, 0.0], dtype=torch.float64)
    remedy = joined([remedy_of("threshold_pruning", threshold=float(t)) for t in thresholds])
    before, after = (view.network.views(flat)["W_hh"] for flat in (view.flat, remedy.after(view, view.flat)))
    expected = (
        torch.nn.functional.hardshrink(before[0], 0.05),
        torch.nn.functional.hardshrink(before[1], 0.2),
        before[2],
    )
    assert torch.equal(after, torch.stack(expected))
    assert torch.equal(remedy.after(dataclasses.replace(view, update=3), view.flat), view.flat)


def test_a_threshold_that_rises_is_a_part_of_itself_on_the_way():
    """Half way from update 2 to 8 of 10 it is 1 - 1/8 of the whole."""
    view = dataclasses.replace(setting(), update=4)
    remedy = remedy_of("threshold_pruning", begin=0.2, end=0.8, threshold=0.2)
    before, after = (view.network.views(flat)["W_hh"] for flat in (view.flat, remedy.after(view, view.flat)))
    assert torch.equal(after, torch.nn.functional.hardshrink(before, 0.2 * 7 / 8))
    assert (after == 0).any()
