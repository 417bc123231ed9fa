"""Norms of the gradient by parameter: against autograd, and against the norm of the whole that clipping sees."""

import numpy as np
import pytest
import torch

from bench.engines.auto import Auto
from bench.training.loop import Training
from tests.measurements.test_measurements import adding_of, measurement, snapshot_of


@pytest.mark.parametrize("cell", ["tanh", "gru", "lru"])
def test_each_is_the_norm_of_what_autograd_gives_for_its_parameter(cell):
    snapshot = snapshot_of(cell, adding_of(9))
    batch, rows = snapshot.heldout(4), measurement("block_norms").measure(snapshot)
    weights = {
        name: view.clone().requires_grad_() for name, view in snapshot.network.views(snapshot.parameters).items()
    }
    prepared, state = snapshot.cell.prepared(weights), snapshot.network.zero_state(weights, 4)
    for x in batch.inputs.unbind(-2):
        state = snapshot.cell.step(prepared, x, state)
    loss = (snapshot.network.readout(weights, state[0])[..., 0] - batch.targets[..., 0]).square().mean(-1).sum()
    for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
        for r, row in enumerate(rows):
            assert row["norm"][row["parameter"] == name] == pytest.approx(np.linalg.norm(gradient[r]), rel=1e-10)


def test_their_squares_add_up_to_that_of_the_norm_that_is_clipped(make_replica):
    replica = make_replica("cell=lstm", "measurement=[block_norms]", "measurement.block_norms.every=1", "updates=6")
    (record,) = Training([replica], Auto().chosen(replica.network, torch.device("cpu")), torch.device("cpu")).run()
    table, clipping = record.table("block_norms"), record.table("clipping")
    for update, norm in zip(clipping["update"], clipping["norm_min"], strict=True):
        own = table["norm"][table["update"] == update - 1]
        assert np.sqrt((own**2).sum()) == pytest.approx(norm, rel=1e-5)
    assert table["update"].max() == 6
