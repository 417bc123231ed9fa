"""The sLSTM against its paper's equations in its own variables, also where those overflow."""

import numpy as np
import torch

from tests.nets.unrolled import drawn, inputs, sigmoid, unrolled


def plain(w, x, h, c, n):
    """Equations (8) to (14), no stabiliser."""
    i, f, z, o = (W @ h + V @ x + b for W, V, b in zip(w["W_hh"], w["W_xh"], w["b"], strict=True))
    c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
    n = sigmoid(f) * n + np.exp(i)
    return sigmoid(o) * c / n, c, n


def stabilised(w, x, h, c, n, m):
    """Equations (15) to (17)."""
    i, f, z, o = (W @ h + V @ x + b for W, V, b in zip(w["W_hh"], w["W_xh"], w["b"], strict=True))
    log_f = -np.logaddexp(0, -f)
    m_new = np.maximum(log_f + m, i)
    i, f = np.exp(i - m_new), np.exp(log_f + m - m_new)
    c, n = f * c + i * np.tanh(z), f * n + i
    return sigmoid(o) * c / n, c, n, m_new


def test_slstm_is_its_equation():
    cell, weights = drawn("slstm", scale=2.0)
    x = inputs()
    h, c, log_n = unrolled(cell, weights, x)
    w = {name: weight.numpy() for name, weight in weights.items()}
    for b, sequence in enumerate(x.numpy()):
        state = np.zeros(6), np.zeros(6), np.ones(6)
        for t, x_t in enumerate(sequence):
            state = plain(w, x_t, *state)
            expected = state[0], state[1] / state[2], np.log(state[2])
            for mine, part in zip((h[b, t], c[b, t], log_n[b, t]), expected, strict=True):
                np.testing.assert_allclose(mine, part, rtol=1e-11, atol=1e-13)


def test_gates_beyond_the_range_of_float32_give_what_the_stabilised_form_gives_in_float64():
    cell, weights = drawn("slstm")
    for bias in (300.0, -300.0):
        weights["b"][0].fill_(bias)
        narrow = {name: weight.float() for name, weight in weights.items()}
        h = unrolled(cell, narrow, inputs().float())[0]
        w = {name: weight.numpy() for name, weight in weights.items()}
        for b, sequence in enumerate(inputs().numpy()):
            state = np.zeros(6), np.zeros(6), np.ones(6), np.zeros(6)
            for t, x_t in enumerate(sequence):
                state = stabilised(w, x_t, *state)
                np.testing.assert_allclose(h[b, t], state[0], atol=2e-4)


def test_forget_biases_start_as_in_the_authors_code():
    """5 - 12 (k / (H - 1))^.3, all other biases and the recurrent weights 0."""
    from bench.jobs.compose import composed
    from bench.jobs.job import checked_job

    replica = checked_job(composed("cell=slstm", "cell.hidden=4")).replica
    weights = replica.network.views(replica.network.initial([replica.initializer], [0])[0])
    assert torch.equal(weights["W_hh"], torch.zeros_like(weights["W_hh"]))
    assert torch.equal(weights["b"][[0, 2, 3]], torch.zeros(3, 4, dtype=torch.float64))
    expected = [5.0, 5 - 12 * (1 / 3) ** 0.3, 5 - 12 * (2 / 3) ** 0.3, -7.0]
    np.testing.assert_allclose(weights["b"][1].numpy(), expected, rtol=1e-14)
