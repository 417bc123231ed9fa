"""coRNN against its paper's scheme, and against the exact motion of one undriven oscillator."""

import numpy as np
import pytest
import torch

from tests.nets.unrolled import assert_is, drawn, unrolled


def step(w, x, y, z, dt, gamma, epsilon):
    """Equation (3) of the paper, line by line, with n-bar = n - 1."""
    force = np.tanh(w["W_hh"] @ y + w["W_zh"] @ z + w["W_xh"] @ x + w["b"])
    z_new = z + dt * force - dt * gamma * y - dt * epsilon * z
    return y + dt * z_new, z_new


def test_cornn_is_its_equation():
    settings = {"dt": 0.3, "gamma": 1.7, "epsilon": 0.6}
    assert_is(step, *drawn("cornn", **settings), **settings)


@pytest.mark.parametrize(("steps", "tolerance"), [(1000, 3e-3), (4000, 8e-4)])
def test_one_oscillator_moves_as_its_differential_equation_says(steps, tolerance):
    """h'' = tanh(b) - gamma h - epsilon h' from rest, up to time 2; the scheme is of first order in dt."""
    gamma, epsilon, force, time = 9.0, 0.8, 0.7, 2.0
    cell, weights = drawn("cornn", hidden=1, dt=time / steps, gamma=gamma, epsilon=epsilon)
    for name in ("W_hh", "W_zh", "W_xh"):
        weights[name].zero_()
    weights["b"].fill_(np.arctanh(force))
    h = unrolled(cell, weights, torch.zeros(1, steps, 3, dtype=torch.float64))[0][0, :, 0]
    t = time * np.arange(1, steps + 1) / steps
    omega = np.sqrt(gamma - epsilon**2 / 4)
    decay = np.exp(-epsilon * t / 2)
    exact = force / gamma * (1 - decay * (np.cos(omega * t) + epsilon / (2 * omega) * np.sin(omega * t)))
    assert np.abs(h - exact).max() < tolerance * np.abs(exact).max()


def test_a_unit_without_recurrent_weights_forgets_by_the_larger_eigenvalue_a_step():
    """The constants of the authors' code for adding."""
    dt, gamma, epsilon = 0.06, 66.0, 15.0
    cell, weights = drawn("cornn", hidden=1, dt=dt, gamma=gamma, epsilon=epsilon)
    for weight in weights.values():
        weight.zero_()
    state = (torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    left = [1.0]
    for _ in range(30):
        state = cell.step(weights, torch.zeros(1, 3, dtype=torch.float64), state)
        left.append(float(state[0]))
    one_step = [[1 - dt**2 * gamma, dt * (1 - dt * epsilon)], [-dt * gamma, 1 - dt * epsilon]]
    assert left[-1] / left[-2] == pytest.approx(np.abs(np.linalg.eigvals(one_step)).max(), rel=1e-6)
    assert left[-1] / left[-2] == pytest.approx(0.724, abs=5e-4)
