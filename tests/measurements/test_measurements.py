"""Every measurement against a slow and obvious oracle in float64."""

import dataclasses
import functools
import math

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis.statistics.decay import decay
from bench.engines.eager import Eager
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.measurements import singular_values
from bench.measurements.gradient_through_time import profile
from bench.measurements.jacobian import jacobians
from bench.measurements.measurement import Snapshot
from bench.nets.network import Network
from bench.pack.streams import Stream
from tests.conftest import choices, one_of_each_class, small_task

SEEDS = [0, 1]
SMALL = {"long_run": 40}  # for the measurements that have such a setting


@functools.cache
def component(choice):
    return example(choice)


def measurement(name, **fields):
    """A measurement from its yaml with other settings."""
    return dataclasses.replace(component(f"measurement/{name}"), **fields)


def adding_of(length, variant="halves"):
    return dataclasses.replace(component("task/adding"), length=length, variant=variant)


@functools.cache
def pytorch_initializer():
    return checked_job(composed("initializer=pytorch")).replica.initializer


def snapshot_of(cell_name, task, hidden=6, scale=1.5, sequences=4):
    cell = dataclasses.replace(component(f"cell/{cell_name}"), hidden=hidden)
    network = Network(cell, task.inputs, task.outputs)
    initializer = pytorch_initializer()
    flat = scale * network.initial([initializer] * len(SEEDS), SEEDS)
    heldout = task.sample(Stream(SEEDS, "heldout", dtype=torch.float64), sequences)
    _, gradient, trace = Eager().program(network, task).gradients(flat, heldout, trace=True)
    return Snapshot(network, task, flat, lambda count: heldout.at((slice(None), slice(count))), trace, gradient)


def small(name, **fields):
    """A measurement from its yaml that takes no minutes."""
    there = measurement(name, **fields)
    return dataclasses.replace(there, **{key: value for key, value in SMALL.items() if getattr(there, key, None)})


@pytest.fixture
def adding():
    return adding_of(9)


@pytest.mark.parametrize("name", choices("measurement"))
@pytest.mark.parametrize("cell", one_of_each_class("cell"))
def test_every_measurement_gives_every_replica_columns_of_one_length(name, cell, adding):
    rows = small(name).measure(snapshot_of(cell, adding))
    assert len(rows) == 2
    assert all(len({len(column) for column in columns.values()}) == 1 for columns in rows)
    assert rows[0].keys() == rows[1].keys()


@pytest.mark.parametrize("name", choices("measurement"))
def test_a_replica_that_is_not_finite_is_measured_as_nan_and_leaves_the_other_alone(name, adding):
    watching = small(name)
    healthy = snapshot_of("irnn", adding)
    expected = watching.measure(healthy)[0]
    sick = snapshot_of("irnn", adding)
    sick.weights["W_hh"][1].fill_(torch.nan)
    sick.trace["h"][1].fill_(torch.nan)
    sick.gradient[1].fill_(torch.nan)
    rows = watching.measure(sick)
    for column, values in expected.items():
        if values.dtype.kind == "f":
            assert np.allclose(rows[0][column], values, rtol=1e-12, equal_nan=True)
    assert any(np.isnan(values).any() for values in rows[1].values() if values.dtype.kind == "f")


def test_spectrum_of_known_matrices(adding):
    snapshot = snapshot_of("irnn", adding, hidden=2)
    snapshot.weights["W_hh"][0] = torch.tensor([[0.5, 10.0], [0.0, -0.25]])  # transient growth: rho < 1 < ||W||
    snapshot.weights["W_hh"][1] = torch.tensor([[0.0, -2.0], [2.0, 0.0]])  # normal: twice a rotation
    (shear, turn) = measurement("spectrum").measure(snapshot)
    assert shear["spectral_radius"][0] == pytest.approx(0.5)
    frobenius2, determinant = 0.25 + 100 + 0.0625, 0.125
    largest = math.sqrt((frobenius2 + math.sqrt(frobenius2**2 - 4 * determinant**2)) / 2)
    assert shear["spectral_norm"][0] == pytest.approx(largest)
    assert shear["smallest_singular_value"][0] == pytest.approx(determinant / largest)
    assert shear["condition"][0] == pytest.approx(largest**2 / determinant)
    assert shear["henrici"][0] == pytest.approx(10 / math.sqrt(frobenius2))
    assert turn["spectral_radius"][0] == pytest.approx(2)
    assert turn["spectral_norm"][0] == pytest.approx(2)
    assert turn["henrici"][0] == pytest.approx(0, abs=1e-7)


def test_spectrum_of_zero_is_zero(adding):
    snapshot = snapshot_of("tanh", adding)
    snapshot.weights["W_hh"].zero_()
    row = measurement("spectrum").measure(snapshot)[0]
    assert row["spectral_radius"] == row["spectral_norm"] == row["henrici"] == 0
    assert np.isnan(row["condition"]).all()


def test_a_gated_cell_has_a_row_per_gate(adding):
    row = measurement("spectrum").measure(snapshot_of("lstm", adding))[0]
    assert row["block"].tolist() == ["W_hi", "W_hf", "W_hg", "W_ho"]


def test_eigenvalues_are_those_of_numpy(adding):
    snapshot = snapshot_of("tanh", adding)
    row = measurement("eigenvalues").measure(snapshot)[1]
    expected = np.linalg.eigvals(snapshot.weights["W_hh"][1].numpy())
    assert np.allclose(np.sort_complex(row["real"] + 1j * row["imag"]), np.sort_complex(expected))


@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm"])
def test_jacobian_of_the_whole_state_agrees_with_autograd(cell_name, adding):
    """For an LSTM over h and c side by side: without the cell path this fails."""
    snapshot = snapshot_of(cell_name, adding)
    x, state = snapshot.heldout(4).inputs[:, :, 4], snapshot.states(snapshot.heldout(4))[4]
    ours = jacobians(snapshot.cell, snapshot.weights, x, state)
    weights = {name: weight[1] for name, weight in snapshot.weights.items()}
    parts = len(state)

    def step(flat):
        return torch.cat(snapshot.cell.step(weights, x[1, 2:3], tuple(flat.view(parts, 1, -1).unbind())), -1)[0]

    flat = torch.cat([part[1, 2] for part in state])
    expected = torch.autograd.functional.jacobian(step, flat)
    assert torch.allclose(ours[1, 2], expected, rtol=1e-12, atol=1e-14)


def test_state_jacobian_of_an_active_linear_net_is_its_weight(adding):
    snapshot = snapshot_of("irnn", adding)
    for weight in snapshot.weights.values():
        weight.abs_()  # every unit active
    row = measurement("state_jacobian").measure(snapshot)[0]
    radius = np.abs(np.linalg.eigvals(snapshot.weights["W_hh"][0].numpy())).max()
    assert np.allclose([row["spectral_radius"], row["q05"], row["q95"]], radius)


def unrolled_norms(snapshot, replica, sequence):
    """||dL/ds_t|| of the loss of one sequence at its own probe step, by autograd on the net unrolled so far: [T]."""
    task, cell, batch = snapshot.task, snapshot.cell, snapshot.heldout(4)
    length = task.steps if batch.lengths is None else int(batch.lengths[replica, sequence])
    weights = {name: weight[replica].clone().requires_grad_() for name, weight in snapshot.weights.items()}
    state, states = snapshot.network.zero_state(weights, 1), []
    for x in batch.inputs[replica, sequence, : task.probe_step + 1 - (task.steps - length)]:
        state = cell.step(weights, x[None], state)
        for part in state:
            part.retain_grad()
        states.append(state)
    targets = batch.targets[replica, sequence, task.scored.index(task.probe_step)]
    task.losses(snapshot.network.readout(weights, state[0]), targets[None]).sum().backward()
    return {
        name: torch.stack([part.grad.norm() for part in parts])
        for name, parts in zip(cell.states, zip(*states, strict=True), strict=True)
    }


def quantiles_with_zeros(logs):
    """numpy's linear interpolation over the first axis, where -inf is a number below all others: {column: [T]}.

    numpy itself gives NaN between two of -inf; to it -1e30 is a number, and what is mixed of it and another lies far
    below any logarithm.
    """
    found = np.quantile(np.where(np.isneginf(logs), -1e30, logs), (0.05, 0.5, 0.95), axis=0)
    return dict(zip(("log_q05", "log_q50", "log_q95"), np.where(found < -1e20, -np.inf, found), strict=True))


PROBED = [(name, None) for name in choices("task")] + [("adding", "hochreiter"), ("temporal_order", "hochreiter")]


@pytest.mark.parametrize(("task_name", "variant"), PROBED)
@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm"])
def test_probe_agrees_with_autograd_on_the_unrolled_net(cell_name, task_name, variant):
    task = small_task(task_name, **({"variant": variant, "length": 30} if variant else {}))
    snapshot = snapshot_of(cell_name, task)
    rows = measurement("probe", sequences=4).measure(snapshot)
    lags = task.probe_step + 1 - (task.steps - task.least_steps)  # those that all sequences have
    for replica, row in enumerate(rows):
        norms = [unrolled_norms(snapshot, replica, sequence) for sequence in range(4)]
        for name in snapshot.cell.states:
            chosen = row["state"] == name
            logs = np.stack([of[name][-lags:].log().numpy() for of in norms])
            means = pd.DataFrame(logs).replace(-np.inf, np.nan).mean()
            assert np.allclose(row["log_norm"][chosen], means, rtol=1e-5, atol=1e-6, equal_nan=True)
            for column, expected in quantiles_with_zeros(logs).items():
                assert np.allclose(row[column][chosen], expected, rtol=1e-5, atol=1e-6)
            assert row["lag"][chosen].tolist() == list(range(lags - 1, -1, -1))
            assert row["step"][chosen].tolist() == list(range(task.probe_step + 2 - lags, task.probe_step + 2))


@pytest.mark.parametrize("rate", [0.9, 0.25])
def test_probe_carries_a_decay_below_the_range_of_float64(rate):
    """.25^2000 is 1e-1204: only the logarithm survives."""
    task = adding_of(2000)
    snapshot = snapshot_of("irnn", task, hidden=3)
    for weight in snapshot.weights.values():
        weight.abs_()
    snapshot.weights["W_hh"].copy_(rate * torch.eye(3))
    row = measurement("probe", sequences=2).measure(snapshot)[0]
    slopes = np.diff(row["log_norm"].astype(np.float64)) * -1
    assert np.allclose(slopes, math.log(rate), rtol=1e-3)
    assert (row["zero_share"] == 0).all()
    told = decay(pd.DataFrame({"run": "r", "update": 0, **row})).iloc[0]
    assert told["decay_rate"] == pytest.approx(math.log(rate), rel=1e-6)
    assert told["half_life"] == pytest.approx(-math.log(2) / math.log(rate), rel=1e-6)
    assert not told["censored_0.001"]


def test_training_gradient_is_the_engines_trace(adding):
    snapshot = snapshot_of("lstm", adding)
    row = measurement("training_gradient").measure(snapshot)[1]
    for name in ("h", "c"):
        logs = snapshot.trace[name][1].log().numpy()
        assert np.allclose(row["log_norm"][row["state"] == name], logs.mean(0), rtol=1e-6)


def test_zero_and_nonfinite_gradients_are_counted_and_left_out_of_the_mean(adding):
    snapshot = snapshot_of("irnn", adding)
    snapshot.trace["h"][0, :, 3] = torch.tensor([0.0, torch.inf, math.e, math.e**3])
    row = measurement("training_gradient").measure(snapshot)[0]
    assert row["log_norm"][3] == pytest.approx(2)
    assert row["zero_share"][3] == row["nonfinite_share"][3] == 0.25


@pytest.mark.parametrize("sequences", [1, 2, 3, 8, 9, 41])
@pytest.mark.parametrize("zeros", [0, 1, 4, 5])
def test_quantiles_over_the_batch_are_the_usual_ones(sequences, zeros):
    """At 8 sequences the median is between the fourth and the fifth, and 5 % is not the least."""
    logs = np.random.default_rng(0).normal(0, 5, (2, sequences, 7))
    logs[:, :zeros, 3] = -np.inf
    for row, of in zip(profile("probe", {"h": logs}, last=7), logs, strict=True):
        for column, expected in quantiles_with_zeros(of).items():
            assert np.allclose(row[column], expected, rtol=1e-5, atol=1e-6)
    if sequences == 8 and zeros in (4, 5):
        assert row["log_q50"][3] == -np.inf
        assert row["zero_share"][3] == zeros / 8
    if sequences == 8 and zeros == 0:
        assert (row["log_q05"] > of.min(0) + 1e-3).all()


def test_a_gradient_that_is_nan_has_no_quantile_and_an_infinite_one_is_the_largest():
    logs = np.arange(16.0).reshape(1, 8, 2)
    logs[0, 2], logs[0, 5, 1] = np.inf, np.nan
    (row,) = profile("training", {"h": logs}, last=2)
    assert [row[name][0] for name in ("log_q05", "log_q50", "log_q95")] == [pytest.approx(0.7), 9.0, np.inf]
    assert all(np.isnan(row[name][1]) for name in ("log_q05", "log_q50", "log_q95"))
    assert row["nonfinite_share"].tolist() == [1 / 8, 2 / 8]


# Jacobians, their products and exponents


def reachable(cell_name, activity=None, length=9):
    """One net on one task, its Jacobians along every held-out sequence: snapshot, [R][B][T] of numpy [S, S]."""
    task = adding_of(length)
    snapshot = snapshot_of(cell_name, task, hidden=4)
    if activity == "all active":
        for weight in snapshot.weights.values():
            weight.abs_()
    batch = snapshot.heldout(4)
    states = snapshot.states(batch)

    def jacobian(r, b, t):
        weights = {name: weight[r] for name, weight in snapshot.weights.items()}
        parts = tuple(part[r, b : b + 1] for part in states[t])

        def step(flat):
            state = tuple(part[None] for part in flat.view(len(parts), -1).unbind())
            return torch.cat(snapshot.cell.step(weights, batch.inputs[r, b : b + 1, t], state), -1)[0]

        return torch.autograd.functional.jacobian(step, torch.cat(parts, -1)[0]).numpy()

    steps = range(task.least_steps)
    return snapshot, [[[jacobian(r, b, t) for t in steps] for b in range(4)] for r in range(2)]


NETS = [(name, None) for name in ("tanh", "lstm", "gru", "lru")] + [("irnn", "all active")]


@pytest.mark.parametrize(("cell", "activity"), NETS)
def test_exponents_add_up_to_the_mean_logarithm_of_the_determinant(cell, activity):
    """The exponents are those of the whole state: without an LSTM's cell path this fails."""
    snapshot, matrices = reachable(cell, activity)
    rows = measurement("lyapunov", exponents=None).measure(snapshot)
    for row, sequences in zip(rows, matrices, strict=True):
        expected = np.mean([np.linalg.slogdet(J)[1] for of in sequences for J in of[1:]])  # 9 // 5 steps of warm-up
        assert row["lost"].sum() == 0
        assert row["exponent"].sum() == pytest.approx(expected, rel=1e-9)


def exponents_of(matrices, left_out=1):
    """ln of the singular values of the products multiplied out, per step, NaN for rounding: [R][B] of numpy [S]."""
    products = [[np.linalg.multi_dot(of[left_out:][::-1]) for of in sequences] for sequences in np.array(matrices)]
    values = np.linalg.svd(np.array(products), compute_uv=False)
    there = values > 1e-13 * values[..., :1]
    return np.log(values, where=there, out=np.full_like(values, np.nan)) / (len(matrices[0][0]) - left_out)


@pytest.mark.parametrize(("cell", "activity"), NETS)
def test_finite_time_exponents_are_those_of_the_product_multiplied_out(cell, activity):
    snapshot, matrices = reachable(cell, activity)
    rows = measurement("lyapunov", exponents=2).measure(snapshot)
    for row, expected in zip(rows, exponents_of(matrices), strict=True):
        assert np.allclose(row["exponent"], expected.mean(0)[:2], rtol=1e-8)
        assert np.allclose(row["q05"], np.quantile(expected, 0.05, axis=0)[:2], rtol=1e-8)
        assert np.allclose(row["q95"], np.quantile(expected, 0.95, axis=0)[:2], rtol=1e-8)
        assert row["steps"].tolist() == [8, 8]


@pytest.mark.parametrize("task_name", ["copying", "adding"])
@pytest.mark.parametrize(("cell", "scale"), [("lstm", 1.0), ("lstm", 2.0), ("tanh", 2.0), ("gru", 1.0), ("irnn", 1.0)])
def test_the_largest_exponents_of_a_task_of_20_steps_depend_on_no_start(monkeypatch, cell, scale, task_name):
    """As set in the yaml, on 16 steps, from few directions: what a whole product of Jacobians has, from any start."""
    task = component("task/copying") if task_name == "copying" else adding_of(20)
    snapshot = snapshot_of(cell, task, hidden=20, scale=scale)
    states, inputs = snapshot.states(snapshot.heldout(4)), snapshot.heldout(4).inputs
    matrices = [jacobians(snapshot.cell, snapshot.weights, inputs[:, :, t], states[t]) for t in range(20)]
    expected = exponents_of(torch.stack(matrices, dim=2).numpy(), left_out=4)[..., :4]
    for seed in range(3):

        def start(shape, count, like, seed=seed):
            columns = np.random.default_rng(seed).standard_normal((*shape, count))
            return torch.linalg.qr(torch.from_numpy(columns)).Q

        monkeypatch.setattr(singular_values, "random_directions", start)
        for row, of in zip(measurement("lyapunov").measure(snapshot), expected, strict=True):
            assert np.abs(row["exponent"] - np.nanmean(of, axis=0)).max() < 1e-4
            assert (np.diff(row["exponent"]) <= 1e-12).all()
            assert row["lost"].tolist() == np.isnan(of).sum(0).tolist()
            assert row["unconverged"].tolist() == [0] * 4
            assert set(row["steps"]) == {16}


def test_what_has_not_converged_is_counted(monkeypatch):
    snapshot = snapshot_of("lstm", component("task/copying"), hidden=20)
    monkeypatch.setattr(singular_values, "PASSES", 2)
    assert (measurement("lyapunov").measure(snapshot)[0]["unconverged"] > 0).any()
    monkeypatch.setattr(singular_values, "SWEEPS", 1)
    row = measurement("jacobian_product").measure(snapshot)[0]
    assert (row["unconverged"] == 4).all()
    assert (row["sequences"] == 4).all()


@pytest.mark.parametrize(("cell", "activity"), NETS)
def test_long_run_exponents_agree_with_qr_from_a_start_of_its_own_for_every_drive(cell, activity):
    snapshot, matrices = reachable(cell, activity, length=30)
    rows = measurement("lyapunov_long", exponents=2, long_run=30).measure(snapshot)
    size = len(matrices[0][0][0])
    for row, sequences in zip(rows, matrices, strict=True):
        found = []
        for b, of in enumerate(sequences):
            Q, logs = np.linalg.qr(np.random.default_rng(b).standard_normal((size, 2)))[0], []
            for J in of:
                Q, R = np.linalg.qr(J @ Q)
                logs.append(np.log(np.abs(np.diag(R))))
            found.append(np.mean(logs[6:], axis=0))
        order = np.argsort(-np.mean(found, axis=0))
        assert row["index"].tolist() == [1, 2]
        assert np.allclose(row["exponent"], np.mean(found, axis=0)[order], rtol=1e-8)
        assert np.allclose(row["q95"], np.quantile(found, 0.95, axis=0)[order], rtol=1e-8)
        assert row["steps"].tolist() == [24, 24]


def test_in_the_long_run_both_kinds_agree():
    snapshot = snapshot_of("tanh", adding_of(300), hidden=5, scale=2.5)
    row = measurement("lyapunov", exponents=2).measure(snapshot)[0]
    of_qr = measurement("lyapunov_long", exponents=2, long_run=300).measure(snapshot)[0]
    assert np.allclose(row["exponent"], of_qr["exponent"], atol=0.01)
    assert row["q95"][0] - row["q05"][0] < 0.05


def linear_net(W, length=100, variant="halves"):
    """A linear net with this recurrent weight."""
    snapshot = snapshot_of("linear", adding_of(length, variant), hidden=len(W))
    snapshot.weights["W_hh"].copy_(torch.as_tensor(W))
    return snapshot


@pytest.mark.parametrize(
    ("name", "count", "variant"),
    [
        ("lyapunov", 1, "halves"),
        ("lyapunov", 2, "hochreiter"),
        ("lyapunov", None, "halves"),
        ("lyapunov_long", 2, "halves"),
        ("lyapunov_long", None, "hochreiter"),
    ],
)
def test_exponents_of_a_diagonal_map_are_the_logarithms_of_its_entries(name, count, variant):
    snapshot = linear_net(np.diag([0.3, -0.9, 0.05]), variant=variant)
    long_run = {"long_run": 250} if name == "lyapunov_long" else {}
    row = measurement(name, exponents=count, **long_run).measure(snapshot)[0]
    assert np.allclose(row["exponent"], np.log([0.9, 0.3, 0.05])[:count], rtol=1e-9)
    assert set(row["kind"]) == {"long-run" if long_run else "finite-time"}


def test_exponents_of_a_rotation_and_of_an_identity_are_zero():
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    everything = measurement("lyapunov", exponents=None)
    assert np.allclose(everything.measure(linear_net(rotation))[0]["exponent"], 0, atol=1e-12)
    identity = snapshot_of("irnn", adding_of(50), hidden=5)
    for weight in identity.weights.values():
        weight.abs_()
    identity.weights["W_hh"].copy_(torch.eye(5))
    assert np.allclose(everything.measure(identity)[0]["exponent"], 0, atol=1e-12)


def test_a_dead_relu_direction_is_lost_rank_and_no_number(adding):
    snapshot = snapshot_of("irnn", adding, hidden=5)
    for weight in snapshot.weights.values():
        weight.abs_()
    snapshot.weights["W_hh"].copy_(torch.eye(5))
    snapshot.weights["b"][..., :2] = -1e3
    row = measurement("lyapunov", exponents=None, sequences=4).measure(snapshot)[0]
    assert row["lost"].tolist() == [0, 0, 0, 4, 4]
    assert np.allclose(row["exponent"][:3], 0, atol=1e-12)
    assert np.isnan(row["exponent"][3:]).all()
    snapshot.weights["b"].fill_(-1e3)
    for count in (1, 3, None):
        row = measurement("lyapunov", exponents=count, sequences=4).measure(snapshot)[0]
        assert (row["lost"] == 4).all()


@pytest.mark.parametrize("name", ["lyapunov", "lyapunov_long"])
def test_what_is_lost_once_stays_lost(name):
    """Also when the unit comes back to life after the warm-up: the product of the Jacobians has lost its rank."""
    snapshot = snapshot_of("irnn", adding_of(20), hidden=2)
    for weight in snapshot.weights.values():
        weight.abs_()
    snapshot.heldout(4).inputs.fill_(1.0)
    snapshot.heldout(4).inputs[:, :, 7] = -1e3
    row = small(name, exponents=None, sequences=4).measure(snapshot)[0]
    assert row["lost"].tolist() == [4, 4]


@pytest.mark.parametrize("name", ["lyapunov", "lyapunov_long", "jacobian_product", "state_jacobian", "state"])
def test_only_steps_that_all_sequences_have_are_looked_at(name):
    snapshot = snapshot_of("tanh", adding_of(30, "hochreiter"))
    before = small(name).measure(snapshot)[0]
    snapshot.heldout(4).inputs[:, :, snapshot.task.least_steps :] = 100.0
    after = small(name).measure(snapshot)[0]
    for column, values in before.items():
        np.testing.assert_array_equal(after[column], values)
    if name == "lyapunov":
        assert (before["steps"] == 30 - 6).all()


def test_a_long_run_carries_the_state_from_sequence_to_sequence():
    snapshot, _ = reachable("tanh")
    row = measurement("lyapunov_long", sequences=4, exponents=None, long_run=20).measure(snapshot)[1]
    weights = {name: weight[1] for name, weight in snapshot.weights.items()}
    logs = []
    for b in range(4):
        order = [b, (b + 1) % 4, (b + 2) % 4]
        h = torch.zeros(1, 4, dtype=torch.float64)
        for t, x in enumerate(snapshot.heldout(4).inputs[1, order].flatten(0, 1)[:20]):
            (h,) = snapshot.cell.step(weights, x[None], (h,))
            if t >= 4:
                logs.append(np.linalg.slogdet((1 - h[0] ** 2)[:, None] * weights["W_hh"])[1])
    assert row["exponent"].sum() == pytest.approx(np.mean(logs), rel=1e-9)
    assert (row["steps"] == 16).all()


@pytest.mark.parametrize(("cell", "activity"), NETS)
def test_singular_values_are_those_of_the_product_multiplied_out(cell, activity):
    """And all of them together are the determinants, also where they are too small for the product."""
    snapshot, matrices = reachable(cell, activity)
    rows = measurement("jacobian_product", sequences=4).measure(snapshot)
    for row, sequences in zip(rows, matrices, strict=True):
        values = [np.log(np.linalg.svd(np.linalg.multi_dot(of[::-1]), compute_uv=False)) for of in sequences]
        there = np.min(values, axis=0) > np.max(values) + math.log(1e-7)  # the rest are rounding
        assert there.sum() >= 2
        assert np.allclose(row["log_singular_value"][there], np.mean(values, axis=0)[there], atol=1e-5)
        assert np.allclose(row["q05"][there], np.quantile(values, 0.05, axis=0)[there], atol=1e-5)
        determinants = np.mean([sum(np.linalg.slogdet(J)[1] for J in of) for of in sequences])
        assert row["log_singular_value"].sum() == pytest.approx(determinants, rel=1e-9)


def test_singular_values_of_a_linear_net_are_those_of_the_power_of_its_weight():
    diagonal = linear_net(np.diag([0.25, -0.9, 0.6]), length=1000)  # .25^1000 is 1e-602
    product = measurement("jacobian_product")
    assert np.allclose(product.measure(diagonal)[0]["log_singular_value"], 1000 * np.log([0.9, 0.6, 0.25]), rtol=1e-9)
    shear = np.array([[0.9, 5.0], [0.0, 0.8]])
    expected = np.log(np.linalg.svd(np.linalg.matrix_power(shear, 12), compute_uv=False))
    assert np.allclose(product.measure(linear_net(shear, 12))[1]["log_singular_value"], expected, rtol=1e-9)


def decimals_of(matrix):
    """ln of the singular values of an mpmath matrix, falling, in 400 digits (mpmath comes with torch, by sympy)."""
    return np.array([float(mpmath.log(value)) for value in mpmath.svd_r(matrix, compute_uv=False)])


@pytest.fixture
def digits():
    with mpmath.workdps(400):
        yield


def test_singular_values_that_nearly_coincide_are_those_of_400_digits(digits):
    """Rows of D U whose lengths are .004 nats apart, and e^-900: QR of transposes alone stands still there."""
    logs = np.array([0.0, -0.004, -0.008, -3.0, -3.0001, -3.0002, -400.0, -400.002, -900.0])
    upper = np.eye(9) + np.triu(np.random.default_rng(0).standard_normal((9, 9)), 1)
    found, converged = singular_values.log_singular_values(
        torch.tensor(logs)[None, None], torch.tensor(upper)[None, None]
    )
    scale = mpmath.diag([mpmath.exp(mpmath.mpf(value)) for value in logs.tolist()])
    assert np.allclose(found[0, 0], decimals_of(scale * mpmath.matrix(upper.tolist())), rtol=1e-13, atol=1e-12)
    assert converged.all()


def test_a_symmetric_net_with_nearly_equal_eigenvalues_has_their_powers():
    rates = np.array([0.9, 0.9 * math.exp(-0.0005), 0.9 * math.exp(-0.001), 0.5, 0.5 * math.exp(-1e-5), 0.1])
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    snapshot = linear_net(rotation @ np.diag(rates) @ rotation.T, length=20)
    row = measurement("jacobian_product").measure(snapshot)[0]
    assert np.allclose(row["log_singular_value"], 20 * np.log(rates), atol=1e-9)
    assert (row["unconverged"] == 0).all()


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_all_singular_values_of_a_task_are_those_of_400_digits(cell, digits):
    snapshot = snapshot_of(cell, component("task/copying"), hidden=6)
    states, inputs = snapshot.states(snapshot.heldout(1)), snapshot.heldout(1).inputs
    product = mpmath.eye(6 * len(snapshot.cell.states))
    for t in range(20):
        of = jacobians(snapshot.cell, snapshot.weights, inputs[:, :, t], states[t])[1, 0]
        product = mpmath.matrix(of.tolist()) * product
    row = measurement("jacobian_product", sequences=1).measure(snapshot)[1]
    assert np.allclose(row["log_singular_value"], decimals_of(product), rtol=1e-12, atol=1e-10)
    assert row["log_singular_value"][0] > row["log_singular_value"][-1] + 10


def test_a_lost_rank_is_no_singular_value():
    snapshot = snapshot_of("irnn", adding_of(5), hidden=5)
    for weight in snapshot.weights.values():
        weight.abs_()
    snapshot.weights["b"][..., :2] = -1e3
    row = measurement("jacobian_product", sequences=4).measure(snapshot)[0]
    active = np.linalg.matrix_power(snapshot.weights["W_hh"][0, 2:, 2:].numpy(), 4)
    whole = active @ snapshot.weights["W_hh"][0, 2:].numpy()  # of the first step all columns count
    assert row["lost"].tolist() == [0, 0, 0, 4, 4]
    expected = np.log(np.linalg.svd(whole, compute_uv=False))
    assert np.allclose(row["log_singular_value"][:3], expected, rtol=1e-7)
    assert np.isnan(row["log_singular_value"][3:]).all()


@pytest.mark.parametrize(("cell", "activity"), NETS)
def test_radius_and_norm_of_the_state_jacobian_are_those_of_numpy(cell, activity):
    snapshot, matrices = reachable(cell, activity)
    rows = measurement("state_jacobian", sequences=4, steps=3).measure(snapshot)
    for row, sequences in zip(rows, matrices, strict=True):
        chosen = [of[t] for of in sequences for t in (0, 4, 8)]
        radii = [np.abs(np.linalg.eigvals(J)).max() for J in chosen]
        norms = [np.linalg.norm(J, 2) for J in chosen]
        found = [row[name][0] for name in ("q05", "spectral_radius", "q95", "norm_q05", "spectral_norm", "norm_q95")]
        assert np.allclose(found, [*np.quantile(radii, (0.05, 0.5, 0.95)), *np.quantile(norms, (0.05, 0.5, 0.95))])


# The state


@pytest.mark.parametrize("cell", ["tanh", "irnn", "sigmoid", "lstm", "gru"])
def test_state_statistics_are_those_counted_one_by_one(cell):
    snapshot = snapshot_of(cell, adding_of(20, "hochreiter"), scale=8)
    rows = measurement("state", sequences=4).measure(snapshot)
    states = snapshot.states(snapshot.heldout(4))[1:21]
    for r, row in enumerate(rows):
        for k, name in enumerate(snapshot.cell.states):
            of = {column: values[row["state"] == name] for column, values in row.items()}
            assert of["step"].tolist() == list(range(1, 21))
            values = np.stack([state[k][r].numpy() for state in states])
            assert np.allclose(of["norm"], [np.mean([np.linalg.norm(h) for h in step]) for step in values])
            assert np.allclose(of["q95"], [np.quantile(np.linalg.norm(step, axis=-1), 0.95) for step in values])
            assert np.allclose(of["active"], [(step != 0).mean() for step in values])
            assert np.allclose(of["dead"], np.mean([(values[..., unit] == 0).all() for unit in range(6)]))
            if cell == "irnn":
                assert np.isnan(of["saturated"]).all()
            else:
                seen = np.tanh(values) if name == "c" else 2 * values - 1 if cell == "sigmoid" else values
                assert np.allclose(of["saturated"], [(np.abs(step) > 0.97).mean() for step in seen])
                assert of["saturated"].max() > 0 or (cell, name) == ("lstm", "h")


def test_dead_units_are_those_that_are_never_on(adding):
    snapshot = snapshot_of("irnn", adding, hidden=4)
    for weight in snapshot.weights.values():
        weight.abs_()
    snapshot.weights["b"][0, :3] = -1e3
    rows = measurement("state", sequences=4).measure(snapshot)
    assert (rows[0]["dead"] == 0.75).all()
    assert (rows[0]["active"] == 0.25).all()
    assert (rows[1]["dead"] == 0).all()


# Schedules


@pytest.mark.parametrize("name", choices("measurement"))
def test_settings_out_of_range_are_refused(name):
    there = measurement(name)
    too_small = {"every": -1, "points_per_decade": 0, "sequences": 0, "steps": 0, "exponents": 0, "long_run": 0}
    for field in dataclasses.fields(there):
        with pytest.raises(ValueError, match=f"^{field.name}="):
            measurement(name, **{field.name: too_small[field.name]})


def test_schedules():
    def updates(every, points_per_decade=2, last=25):
        return sorted(measurement("spectrum", every=every, points_per_decade=points_per_decade).moments(last))

    assert updates(None) == [0, 1, 3, 10, 25]
    assert updates(1) == list(range(26))
    assert updates(10) == [0, 10, 20, 25]
    assert updates(5) == [0, 5, 10, 15, 20, 25]
    assert updates(0) == updates(100) == [0, 25]
    assert updates(0, last=1) == [0, 1]


def test_a_schedule_may_be_given_on_the_command_line():
    job = checked_job(composed("measurement=[spectrum,probe]", "measurement.spectrum.every=1"))
    assert job.replica.measurement["spectrum"].moments(3) == {0, 1, 2, 3}
    assert job.replica.measurement["probe"].every is None
