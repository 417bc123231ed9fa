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
