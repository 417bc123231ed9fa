"""The antisymmetric nets against their paper's equations and its claim about eigenvalues."""

import numpy as np
import pytest
import torch

from tests.nets.unrolled import assert_is, drawn, sigmoid

SETTINGS = {"epsilon": 0.3, "gamma": 0.2}


def plain(w, x, h, epsilon, gamma):
    """Equation (12)."""
    W = w["W_hh"]
    return (h + epsilon * np.tanh(W @ h - W.T @ h - gamma * h + w["W_xh"] @ x + w["b"]),)


def gated(w, x, h, epsilon, gamma):
    """Equations (13) and (14); V_z, b_z come first."""
    M = w["W_hh"] - w["W_hh"].T - gamma * np.identity(len(h))
    z = sigmoid(M @ h + w["W_xh"][0] @ x + w["b"][0])
    return (h + epsilon * z * np.tanh(M @ h + w["W_xh"][1] @ x + w["b"][1]),)


@pytest.mark.parametrize(("name", "step"), [("antisymmetric", plain), ("antisymmetric_gated", gated)])
def test_antisymmetric_nets_are_their_equations(name, step):
    assert_is(step, *drawn(name, **SETTINGS), **SETTINGS)


@pytest.mark.parametrize("name", ["antisymmetric", "antisymmetric_gated"])
def test_eigenvalues_lie_on_a_line_at_minus_gamma(name):
    cell, weights = drawn(name, **SETTINGS)
    (block,) = cell.recurrent_blocks(cell.prepared(weights)).values()
    eigenvalues = torch.linalg.eigvals(block)
    assert torch.allclose(eigenvalues.real, torch.tensor(-0.2, dtype=torch.float64))
    assert eigenvalues.imag.abs().max() > 1
