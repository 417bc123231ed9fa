"""Measuring aside finds what measuring at once finds, in its place in the tables."""

import numpy as np
import pytest
import torch

from bench.engines.batched import Batched
from bench.training.loop import Training
from tests.conftest import assert_same_tables, with_seeds

CPU = torch.device("cpu")
WEIGHTS = "measurement=[spectrum,eigenvalues,state,state_jacobian,lyapunov,probe,training_gradient]"


def pack(make_replica, cell, threads):
    replica = make_replica(f"cell={cell}", "cell.hidden=10", "updates=12", WEIGHTS)
    training = Training(with_seeds(replica, range(5)), Batched(), CPU)
    training.monitor.threads = threads
    return training


def assert_same_records(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert {"spectrum", "eigenvalues", "state"} <= set(mine.tables)
        assert_same_tables(mine, other)


@pytest.mark.parametrize("threads", [1, 3, 9])
@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_aside_and_at_once_are_the_same(make_replica, cell, threads):
    """More threads than replicas, fewer, one."""
    assert_same_records(pack(make_replica, cell, threads).run(), pack(make_replica, cell, 0).run())


def test_weights_are_those_of_the_moment_they_were_asked_for(make_replica):
    """They are changed in place while others look."""
    training, reference = (pack(make_replica, "tanh", threads) for threads in (2, 0))
    for _ in training.each_update():
        assert not any(record.tables["spectrum"] for record in training.records)
    assert_same_records(training.finish(), reference.run())


def test_a_state_has_what_was_found_aside(make_replica):
    training, reference = (pack(make_replica, "tanh", threads) for threads in (2, 0))
    for one in (training, reference):
        steps = one.each_update()
        while next(steps) < 5:
            pass
    for mine, other in zip(training.states(), reference.states(), strict=True):
        for name, columns in other.tables.items():
            for column, values in columns.items():
                if column != "seconds":
                    np.testing.assert_array_equal(mine.tables[name][column], values)
