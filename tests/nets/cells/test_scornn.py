"""scoRNN's weight against the Cayley transform by an explicit inverse, and what exprnn's cannot be: a reflection."""

import numpy as np
import pytest
import torch

from tests.nets.unrolled import assert_is, drawn


def step(w, x, h, reflected):
    A = w["A"] - w["A"].T
    D = np.diag([-1.0] * round(reflected * len(h)) + [1.0] * (len(h) - round(reflected * len(h))))
    W = np.linalg.inv(np.identity(len(h)) + A) @ (np.identity(len(h)) - A) @ D
    a = W @ h + w["W_xh"] @ x
    return (np.sign(a) * np.maximum(np.abs(a) + w["b"], 0),)


@pytest.mark.parametrize("reflected", [0.0, 0.5, 1.0])
def test_scornn_is_its_equation(reflected):
    assert_is(step, *drawn("scornn", reflected=reflected), reflected=reflected)


@pytest.mark.parametrize("reflections", [0, 1, 3])
def test_weight_is_orthogonal_with_the_determinant_of_its_reflections(reflections):
    cell, weights = drawn("scornn", reflected=reflections / 6)
    w = cell.recurrent_blocks(cell.prepared(weights))["W_hh"]
    assert torch.allclose(w @ w.mT, torch.eye(6, dtype=torch.float64), atol=1e-13)
    assert torch.linalg.det(w).item() == pytest.approx((-1) ** reflections)


def test_the_papers_start_rotates_pairs_of_units_by_up_to_a_right_angle():
    """cayley draws sqrt((1 - cos u) / (1 + cos u)) = tan(u/2), which the transform makes a rotation by u."""
    cell, weights = drawn("scornn", hidden=2, reflected=0.0)
    u = 1.1
    weights["A"] = torch.tensor([[0.0, np.sqrt((1 - np.cos(u)) / (1 + np.cos(u)))], [0.0, 0.0]], dtype=torch.float64)
    w = cell.prepared(weights)["W_hh"].numpy()
    np.testing.assert_allclose(np.abs(w), [[np.cos(u), np.sin(u)], [np.sin(u), np.cos(u)]])


def test_a_weight_that_is_not_finite_spoils_that_replica_alone():
    cell, weights = drawn("scornn")
    A = torch.stack([weights["A"]] * 3)
    for bad in (torch.nan, torch.inf):
        A[1, 0, 1] = bad
        w = cell.prepared({"A": A})["W_hh"]
        assert w[[0, 2]].isfinite().all()
        assert w[1].isnan().any()
