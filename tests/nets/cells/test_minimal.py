"""minGRU and minLSTM against their paper's equations, also where both gates are shut."""

import numpy as np
import torch

from tests.nets.unrolled import assert_is, drawn, sigmoid


def min_gru(w, x, h):
    """Section 3.1, whose z lets the new state in."""
    (W_z, W_n), (b_z, b_n) = w["W_xh"], w["b"]
    z = sigmoid(-(W_z @ x + b_z))
    return ((1 - z) * h + z * (W_n @ x + b_n),)


def min_lstm(w, x, h):
    """Section 3.2."""
    i, f, candidate = (W @ x + b for W, b in zip(w["W_xh"], w["b"], strict=True))
    i, f = sigmoid(i), sigmoid(f)
    return (f / (f + i) * h + i / (f + i) * candidate,)


def test_min_gru_is_its_equation():
    assert_is(min_gru, *drawn("min_gru"))


def test_min_lstm_is_its_equation():
    assert_is(min_lstm, *drawn("min_lstm"))


def test_min_lstm_with_both_gates_shut_keeps_what_their_logarithms_say():
    """sigmoid(-400) is 0 in float32 and so 0/0 by the plain formula; ln f - ln i = 1."""
    cell, weights = drawn("min_lstm", hidden=1)
    weights = {"W_xh": torch.zeros(3, 1, 3), "b": torch.tensor([[-401.0], [-400.0], [0.0]])}
    (h,) = cell.step(weights, torch.zeros(1, 3), (torch.ones(1, 1),))
    assert abs(h.item() - sigmoid(1.0)) < 1e-6


def test_blocks_multiply_the_state_where_nothing_comes_in():
    for name in ("min_gru", "min_lstm"):
        cell, weights = drawn(name)
        h = torch.randn(4, 6, dtype=torch.float64)
        nothing = torch.zeros(4, 3, dtype=torch.float64)
        (block,) = cell.recurrent_blocks(weights).values()
        (after,), (rest,) = (cell.step(weights, nothing, (state,)) for state in (h, torch.zeros_like(h)))
        assert torch.allclose(after - rest, h @ block.mT)
        assert np.count_nonzero(block - torch.diag(block.diagonal())) == 0
