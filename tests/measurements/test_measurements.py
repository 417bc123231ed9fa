"""Every measurement against a slow and obvious oracle in float64."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from bench import config
from bench.engines.eager import Eager
from bench.measurements.measurement import Snapshot
from bench.measurements.state_jacobian import jacobians
from bench.network import Network
from bench.streams import Stream
from tests.conftest import choices, small_task

SEEDS = [0, 1]


def snapshot_of(cell_name, task, hidden=6, scale=1.5, sequences=4):
    network = Network(config.example(f"cell/{cell_name}", hidden=hidden), task.inputs, task.outputs)
    initializer = config.job(config.composed("initializer=pytorch")).replica.initializer
    flat = scale * network.initial([initializer] * len(SEEDS), SEEDS)
    heldout = task.sample(Stream(SEEDS, "heldout", dtype=torch.float64), sequences)
    trace = Eager().program(network, task).gradients(flat, heldout, trace=True).trace
    return Snapshot(network, task, network.views(flat), lambda count: heldout.at((slice(None), slice(count))), trace)


@pytest.fixture
def adding():
    return config.example("task/adding", length=9)


@pytest.mark.parametrize("name", choices("measurement"))
@pytest.mark.parametrize("cell", choices("cell"))
def test_every_measurement_gives_every_replica_columns_of_one_length(name, cell, adding):
    rows = config.example(f"measurement/{name}").measure(snapshot_of(cell, adding))
    assert len(rows) == 2
    assert all(len({len(column) for column in columns.values()}) == 1 for columns in rows)
    assert rows[0].keys() == rows[1].keys()


@pytest.mark.parametrize("name", choices("measurement"))
def test_a_replica_that_is_not_finite_is_measured_as_nan_and_leaves_the_other_alone(name, adding):
    measurement = config.example(f"measurement/{name}")
    healthy = snapshot_of("irnn", adding)
    expected = measurement.measure(healthy)[0]
    sick = snapshot_of("irnn", adding)
    sick.weights["W_hh"][1].fill_(torch.nan)
    sick.trace["h"][1].fill_(torch.nan)
    rows = measurement.measure(sick)
    for column, values in expected.items():
        if values.dtype.kind == "f":
            assert np.allclose(rows[0][column], values, rtol=1e-12, equal_nan=True)
    assert any(np.isnan(values).any() for values in rows[1].values() if values.dtype.kind == "f")


def test_spectrum_of_known_matrices(adding):
    snapshot = snapshot_of("irnn", adding, hidden=2)
    snapshot.weights["W_hh"][0] = torch.tensor([[0.5, 10.0], [0.0, -0.25]])  # transient growth: rho < 1 < ||W||
    snapshot.weights["W_hh"][1] = torch.tensor([[0.0, -2.0], [2.0, 0.0]])  # normal: twice a rotation
    (shear, turn) = config.example("measurement/spectrum").measure(snapshot)
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
    row = config.example("measurement/spectrum").measure(snapshot)[0]
    assert row["spectral_radius"] == row["spectral_norm"] == row["henrici"] == 0
    assert np.isnan(row["condition"]).all()


def test_a_gated_cell_has_a_row_per_gate(adding):
    row = config.example("measurement/spectrum").measure(snapshot_of("lstm", adding))[0]
    assert row["block"].tolist() == ["W_hi", "W_hf", "W_hg", "W_ho"]


def test_eigenvalues_are_those_of_numpy(adding):
    snapshot = snapshot_of("tanh", adding)
    row = config.example("measurement/eigenvalues").measure(snapshot)[1]
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
    row = config.example("measurement/state_jacobian").measure(snapshot)[0]
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


PROBED = [(name, None) for name in choices("task")] + [("adding", "hochreiter"), ("temporal_order", "hochreiter")]


@pytest.mark.parametrize(("task_name", "variant"), PROBED)
@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm"])
def test_probe_agrees_with_autograd_on_the_unrolled_net(cell_name, task_name, variant):
    task = small_task(task_name, **({"variant": variant, "length": 30} if variant else {}))
    snapshot = snapshot_of(cell_name, task)
    rows = config.example("measurement/probe", sequences=4).measure(snapshot)
    lags = task.probe_step + 1 - (task.steps - task.least_steps)  # those that all sequences have
    for replica, row in enumerate(rows):
        norms = [unrolled_norms(snapshot, replica, sequence) for sequence in range(4)]
        for name in snapshot.cell.states:
            chosen = row["state"] == name
            logs = np.stack([of[name][-lags:].log().numpy() for of in norms])
            means = pd.DataFrame(logs).replace(-np.inf, np.nan).mean()
            assert np.allclose(row["log_norm"][chosen], means, rtol=1e-5, atol=1e-6, equal_nan=True)
            assert np.allclose(row["log_q95"][chosen], logs.max(0), rtol=1e-5, atol=1e-6)
            assert row["lag"][chosen].tolist() == list(range(lags - 1, -1, -1))
            assert row["step"][chosen].tolist() == list(range(task.probe_step + 2 - lags, task.probe_step + 2))


@pytest.mark.parametrize("decay", [0.9, 0.25])
def test_probe_carries_a_decay_below_the_range_of_float64(decay):
    """.25^2000 is 1e-1204: only the logarithm survives."""
    task = config.example("task/adding", length=2000)
    snapshot = snapshot_of("irnn", task, hidden=3)
    for weight in snapshot.weights.values():
        weight.abs_()
    snapshot.weights["W_hh"].copy_(decay * torch.eye(3))
    row = config.example("measurement/probe", sequences=2).measure(snapshot)[0]
    slopes = np.diff(row["log_norm"].astype(np.float64)) * -1
    assert np.allclose(slopes, math.log(decay), rtol=1e-3)
    assert (row["zero_share"] == 0).all()


def test_training_gradient_is_the_engines_trace(adding):
    snapshot = snapshot_of("lstm", adding)
    row = config.example("measurement/training_gradient").measure(snapshot)[1]
    for name in ("h", "c"):
        logs = snapshot.trace[name][1].log().numpy()
        assert np.allclose(row["log_norm"][row["state"] == name], logs.mean(0), rtol=1e-6)


def test_zero_and_nonfinite_gradients_are_counted_and_left_out_of_the_mean(adding):
    snapshot = snapshot_of("irnn", adding)
    snapshot.trace["h"][0, :, 3] = torch.tensor([0.0, torch.inf, math.e, math.e**3])
    row = config.example("measurement/training_gradient").measure(snapshot)[0]
    assert row["log_norm"][3] == pytest.approx(2)
    assert row["zero_share"][3] == row["nonfinite_share"][3] == 0.25


@pytest.mark.parametrize("name", choices("measurement"))
def test_points_per_decade_is_at_least_one(name):
    with pytest.raises(config.ConfigError, match="points_per_decade"):
        config.example(f"measurement/{name}", points_per_decade=0)
