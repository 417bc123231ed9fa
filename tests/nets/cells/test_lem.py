"""LEM against its paper's equations."""

import numpy as np

from tests.nets.unrolled import assert_is, drawn, inputs, sigmoid, unrolled


def step(w, x, y, z, dt):
    """Equation (3) of the paper: the sigmoid of its equation is 0.5 (1 + tanh(u / 2))."""
    (W_1, W_2, W_z, W_y), (V_1, V_2, V_z, V_y), (b_1, b_2, b_z, b_y) = w["W_hh"], w["W_xh"], w["b"]
    short = dt * 0.5 * (1 + np.tanh((W_1 @ y + V_1 @ x + b_1) / 2))
    long = dt * sigmoid(W_2 @ y + V_2 @ x + b_2)
    z_new = (1 - short) * z + short * np.tanh(W_z @ y + V_z @ x + b_z)
    y_new = (1 - long) * y + long * np.tanh(W_y @ z_new + V_y @ x + b_y)
    return y_new, z_new


def test_lem_is_its_equation():
    assert_is(step, *drawn("lem", dt=0.7), dt=0.7)


def test_both_parts_stay_within_one():
    cell, weights = drawn("lem", scale=50.0)
    assert all(np.abs(part).max() <= 1 for part in unrolled(cell, weights, inputs(steps=30)))
