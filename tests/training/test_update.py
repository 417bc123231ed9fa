"""What an update does to the weights: in the same bits when a GPU is given it as a whole, which waits for nobody."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.engines.batched import Batched
from bench.engines.graphed import Graphed
from bench.jobs.compose import example
from bench.pack import sums
from bench.training import update as training_update
from bench.training.loop import Training
from tests.conftest import choices, with_seeds
from tests.engines.absent import ABSENT, Meeting, alone

CPU = torch.device("cpu")
ALIKE = [name for name in choices("clipping") if example(f"clipping/{name}").same_every_update]


def sick(replica):
    """One whose gradient overflows at its first update."""
    identity = example("initializer/recurrent/identity", gain=1e9)
    return dataclasses.replace(replica, initializer=dataclasses.replace(replica.initializer, recurrent=identity))


def asks_nothing(monkeypatch):
    for module in (sums, training_update):
        monkeypatch.setattr(module, "everywhere", lambda condition: False)


def assert_same(ours, theirs):
    assert torch.equal(ours.flat, theirs.flat)
    for name, values in theirs.optimizer.history.items():
        torch.testing.assert_close(ours.optimizer.history[name], values, rtol=0, atol=0, equal_nan=True, msg=name)
    for mine, other in zip(ours.states(), theirs.states(), strict=True):
        assert mine.diverged_at == other.diverged_at
        assert all((mine.optimizer[name] == value).all() for name, value in other.optimizer.items())


@pytest.mark.parametrize(
    "overrides",
    [
        *(f"clipping={name}" for name in ALIKE),
        *(f"optimizer={name}" for name in choices("optimizer")),
        *(f"nonfinite={name}" for name in choices("nonfinite")),
        "optimizer.decoupled_decay=0.1",
        "schedule=cosine",
    ],
)
def test_an_update_as_a_whole_has_the_bits_of_one_in_parts(make_replica, monkeypatch, overrides):
    """From the second on, without asking anything; the pack has a replica that diverges."""
    replica = make_replica("cell=irnn", "task.length=20", "updates=20", "evaluation.every=8", overrides)
    replicas = [*with_seeds(replica, range(3)), sick(replica)]
    theirs = Training(replicas, Batched(), CPU)
    theirs.run()
    asks_nothing(monkeypatch)
    ours = Training(replicas, Graphed(), CPU)
    ours.run()
    assert ours._captured is not None
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", sorted(set(choices("clipping")) - set(ALIKE)))
def test_rules_that_change_from_update_to_update_are_not_recorded(make_replica, name):
    replicas = with_seeds(make_replica(f"clipping={name}", "updates=20"), range(2))
    ours, theirs = (Training(replicas, engine, CPU) for engine in (Graphed(), Batched()))
    for training in (ours, theirs):
        training.run()
    assert ours._captured is None
    assert_same(ours, theirs)


@pytest.mark.parametrize("policy", choices("nonfinite"))
@pytest.mark.parametrize("rule", ALIKE)
def test_no_update_waits_for_the_host(make_replica, rule, policy):
    """But for torch.optim, whose `capturable` steps say so of themselves."""
    replica = make_replica(f"clipping={rule}", f"nonfinite={policy}", "optimizer.decoupled_decay=0.1")
    training = whole_update_elsewhere(replica)
    batch, lr = next(training.batches()), training.optimizer.lrs[0]
    with alone() as operations:
        notes = training._captured_step(batch, lr)
    assert notes.shape == (5, 2)
    assert "bmm" in operations


def test_an_update_that_waits_would_be_seen(make_replica, monkeypatch):
    training = whole_update_elsewhere(make_replica())
    monkeypatch.setattr(training_update, "everywhere", lambda condition: bool(condition.all()))
    batch, lr = next(training.batches()), training.optimizer.lrs[0]
    with pytest.raises((Meeting, RuntimeError)), alone():
        training._captured_step(batch, lr)


def whole_update_elsewhere(replica):
    """A pack on a device that is not there, with an optimizer that keeps something."""
    training = Training(with_seeds(replica, range(2)), Graphed(), ABSENT)
    training.optimizer.stepper = torch.optim.SGD([training.optimizer.delta], lr=1.0, momentum=0.9)
    return training


def test_notes_are_read_some_updates_at_a_time_and_whenever_asked(make_replica):
    replica = make_replica("cell=irnn", "task.length=20", "updates=40", "measurement=[]", "evaluation.every=40")
    training = Training([sick(replica)], Batched(), CPU)
    known = [training.optimizer.ended.all() for _ in training.each_update()]
    assert known == [False] * (training_update.UNREAD - 1) + [True]
    assert training.optimizer.diverged_at == [1]
    other = Training([sick(replica)], Batched(), CPU)
    next(other.each_update())
    assert other.ended.all()


def test_the_history_does_not_depend_on_when_it_is_read(make_replica):
    often, seldom = (make_replica("updates=40", f"evaluation.every={every}") for every in (1, 40))
    histories = []
    for replica in (often, seldom):
        training = Training(with_seeds(replica, range(2)), Batched(), CPU)
        training.run()
        histories.append(training.optimizer.history)
    for name, values in histories[0].items():
        assert np.array_equal(values, histories[1][name]), name
    assert (histories[0]["norms"] > 0).all()
