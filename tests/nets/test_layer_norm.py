"""Cells with layer normalisation are their equations, by torch's own layer norm and written out unit by unit."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.jobs.compose import example
from tests.nets.test_cells import network_of, random_weights, unrolled


def random_start(cell):
    """Weights of one replica, gains away from 1."""
    weights = network_of(cell).views(random_weights(network_of(cell), 1)[0][0])
    for name in ("g", "g_h", "g_x", "g_c"):
        if name in weights:
            weights[name].copy_(torch.linspace(0.5, 1.5, weights[name].numel()).reshape(weights[name].shape))
    return weights


@pytest.mark.parametrize(("name", "phi"), [("layer_norm_tanh", torch.tanh), ("layer_norm_relu", torch.relu)])
def test_layer_norm_elman_is_torchs_layer_norm_of_the_sum_of_all_inputs(name, phi):
    cell = example(f"cell/{name}", hidden=6)
    weights = random_start(cell)
    x = torch.rand(4, 7, 3, dtype=torch.float64)
    h, hidden = torch.zeros(4, 6, dtype=torch.float64), []
    for t in range(7):
        a = h @ weights["W_hh"].T + x[:, t] @ weights["W_xh"].T
        h = phi(functional.layer_norm(a, (6,), weights["g"], weights["b"], cell.eps))
        hidden.append(h)
    assert torch.allclose(unrolled(cell, weights, x), torch.stack(hidden, 1), rtol=1e-12, atol=1e-14)


def test_scaling_all_weights_of_the_sum_changes_nothing():
    cell = dataclasses.replace(example("cell/layer_norm_tanh", hidden=6), eps=1e-300)
    weights = random_start(cell)
    larger = {**weights, "W_hh": 7 * weights["W_hh"], "W_xh": 7 * weights["W_xh"]}
    x = torch.rand(4, 7, 3, dtype=torch.float64)
    assert torch.allclose(unrolled(cell, larger, x), unrolled(cell, weights, x), rtol=1e-10)


def test_layer_norm_lstm_is_the_papers_equations_number_by_number():
    """Equations 20 to 22 for one sequence in numpy: all gates are normalised together, and c where it is shown."""
    cell = example("cell/layer_norm_lstm", hidden=5)
    weights = random_start(cell)
    w = {name: value.numpy() for name, value in weights.items()}
    x = np.random.default_rng(0).standard_normal((6, 3))

    def normal(v):
        return (v - v.mean()) / np.sqrt(v.var() + cell.eps)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    h, c, hidden = np.zeros(5), np.zeros(5), []
    for x_t in x:
        from_h = normal(np.concatenate([w["W_hh"][k] @ h for k in range(4)])).reshape(4, 5)
        from_x = normal(np.concatenate([w["W_xh"][k] @ x_t for k in range(4)])).reshape(4, 5)
        i, f, g, o = w["g_h"] * from_h + w["g_x"] * from_x + w["b"]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(w["g_c"] * normal(c) + w["b_c"])
        hidden.append(h)
    found = unrolled(cell, weights, torch.from_numpy(x)[None])[0]
    assert np.allclose(found.numpy(), hidden, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["layer_norm_tanh", "layer_norm_lstm"])
def test_gains_start_at_one(name):
    cell = example(f"cell/{name}", hidden=6)
    weights = network_of(cell).views(random_weights(network_of(cell), 1)[0][0])
    assert all((weight == 1).all() for symbol, weight in weights.items() if symbol.startswith("g"))
