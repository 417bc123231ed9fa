"""S5 against its differential equation, solved another way, and its start against HiPPO's matrix."""

import re

import numpy as np
import pytest
import scipy.linalg
import torch

from bench.jobs.build import ConfigError
from bench.jobs.compose import example
from bench.pack.streams import Stream
from tests.nets.unrolled import drawn, inputs, unrolled


def test_s5_is_its_differential_equation_for_an_input_that_holds_during_each_step():
    """By the exponential of [[lambda, B x], [0, 0]] delta, which has the step's exact solution in its corner."""
    cell, weights = drawn("s5")
    a, omega, d = (row.numpy() for row in weights["Lambda"])
    eigenvalue, delta = -np.exp(a) + 1j * omega, np.exp(d)
    B = weights["W_xh"].numpy()[:3] + 1j * weights["W_xh"].numpy()[3:]
    x = inputs()
    (h,) = unrolled(cell, weights, x)
    for b, sequence in enumerate(x.numpy()):
        c = np.zeros(3, dtype=complex)
        for t, x_t in enumerate(sequence):
            for k in range(3):
                system = np.array([[eigenvalue[k], B[k] @ x_t], [0, 0]]) * delta[k]
                c[k] = (scipy.linalg.expm(system) @ [c[k], 1])[0]
            np.testing.assert_allclose(h[b, t], [*c.real, *c.imag], rtol=1e-10, atol=1e-12)


def test_short_steps_keep_their_accuracy_in_float32():
    """(e^z - 1) / lambda for |z| = 1e-6, where e^z - 1 in float32 would have one digit."""
    cell, _ = drawn("s5", hidden=2)
    values = torch.tensor([[np.log(0.5)], [0.3], [np.log(1e-6)]], dtype=torch.float32)
    narrow = {"Lambda": values, "W_xh": torch.eye(2)}
    held = cell.prepared(narrow)["held_B"].numpy()
    eigenvalue = -0.5 + 0.3j
    exact = np.expm1(1e-6 * eigenvalue) / eigenvalue
    np.testing.assert_allclose(held, [[exact.real, -exact.imag], [exact.imag, exact.real]], atol=1e-11)


def test_block_has_the_eigenvalues_in_pairs():
    cell, weights = drawn("s5")
    (block,) = cell.recurrent_blocks(cell.prepared(weights)).values()
    a, omega, d = weights["Lambda"]
    factor = torch.exp(torch.complex(-a.exp(), omega) * d.exp())
    found, expected = torch.linalg.eigvals(block), torch.cat((factor, factor.conj()))
    assert np.allclose(np.sort_complex(found.numpy()), np.sort_complex(expected.numpy()))


def test_start_is_the_normal_part_of_hippo_and_a_range_of_steps():
    cell = example("cell/s5", hidden=64, dt_min=0.01, dt_max=1.0)
    a, omega, d = cell.parameters["Lambda"].start(Stream(0, "init/Lambda", dtype=torch.float64)).numpy()
    order = np.arange(64)
    root = np.sqrt(2 * order + 1)
    hippo = -np.tril(np.outer(root, root), -1) - np.diag(order + 1)
    normal = hippo + np.outer(root, root) / 2  # plus a matrix of rank 1
    eigenvalues = np.linalg.eigvals(normal)
    np.testing.assert_allclose(eigenvalues.real, -0.5, rtol=1e-9)
    np.testing.assert_allclose(omega, np.sort(eigenvalues.imag)[32:], rtol=1e-9)
    np.testing.assert_allclose(-np.exp(a), -0.5)
    assert np.log(0.01) <= d.min() < -4
    assert -1 < d.max() <= 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": 5}, "hidden=5: must be a multiple of 2"),
        ({"dt_min": 0.2}, "cell.dt_min=0.2: must be <= dt_max=0.1"),
    ],
)
def test_mistaken_settings_are_told(fields, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        example("cell/s5", **fields)
