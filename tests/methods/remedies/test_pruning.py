"""What holds for every way to prune: pruned weights stay zero, whatever moves weights, and also after a pause."""

import dataclasses

import pytest
import torch

from bench.jobs.build import ConfigError
from bench.methods.remedies.pruning import Pruning
from bench.runs.checkpoint import packed, unpacked
from bench.training.loop import Training
from tests.conftest import choices
from tests.methods.remedies.setting import CPU, remedy_of, replica_of

PRUNING = [name for name in choices("remedies") if isinstance(remedy_of(name), Pruning)]
pytestmark = pytest.mark.skipif(not PRUNING, reason="nothing prunes")
ALL_AT_ONCE = ("end=0.5", "begin=0.5", "every=1")


def pruned(name, *overrides, updates=12):
    """A run with its weights pruned at half of it."""
    at = [f"remedies.{name}.{override}" for override in ALL_AT_ONCE]
    return replica_of(name, *at, f"updates={updates}", *overrides)


def recurrent(training):
    return training.network.views(training.flat)["W_hh"].clone()


def counted(training):
    """Recurrent weights that are 0 after each update."""
    return [recurrent(training) == 0 for _ in training.each_update()]


@pytest.mark.parametrize("optimizer", choices("optimizer"))
@pytest.mark.parametrize("name", PRUNING)
def test_no_optimizer_brings_a_pruned_weight_back(name, optimizer):
    job = pruned(name, f"optimizer={optimizer}", "optimizer.decoupled_decay=0.1", "cell=lstm")
    zeros = counted(Training([job.replica], job.engine, CPU))
    assert [bool(now.any()) for now in zeros] == [False] * 5 + [True] * 7
    assert all(torch.equal(now, zeros[5]) for now in zeros[6:])


@pytest.mark.parametrize("name", PRUNING)
def test_which_are_pruned_is_read_from_a_checkpoint(name):
    job = pruned(name)
    training = Training([job.replica], job.engine, CPU)
    kept = [packed(training.states()[0], "run", {}) for _ in training.each_update()]
    for checkpoint in kept[4:-1]:
        rest = Training([job.replica], job.engine, CPU, [unpacked(checkpoint, "run", {})])
        rest.run()
        assert torch.equal(rest.flat, training.flat)
        assert torch.equal(rest.flat.signbit(), training.flat.signbit())


@pytest.mark.parametrize("name", PRUNING)
def test_a_weight_that_starts_at_zero_is_not_pruned(name):
    """Before the pruning it learns; after it, it may happen to be zero again, and learns on."""
    job = pruned(name, "initializer/recurrent=identity")
    training = Training([job.replica], job.engine, CPU)
    network = training.network
    network.views(training.flat)["W_hh"].mul_(-1)  # so that the zeros are -0.0, as those of a negative gain are
    before = recurrent(training)
    zeros = []
    for done in training.each_update():
        zeros.append(recurrent(training) == 0)
        if done == 8:
            spared = (~zeros[-1][0]).nonzero()[0]
            network.views(training.flat)["W_hh"][0, spared[0], spared[1]] = 0.0
    assert (before == 0).any()
    assert not zeros[0].any()
    assert torch.equal(zeros[5], zeros[-1])


@pytest.mark.parametrize("name", PRUNING)
def test_only_the_recurrent_weight_is_pruned(name):
    job = pruned(name)
    training = Training([job.replica], job.engine, CPU)
    training.run()
    weights = training.network.views(training.flat)
    assert (weights.pop("W_hh") == 0).any()
    assert not any((other == 0).any() for other in weights.values())


@pytest.mark.parametrize("name", PRUNING)
def test_an_end_before_the_beginning_is_refused(name):
    with pytest.raises(ConfigError, match=r"begin=0.6: must be at most end=0.5"):
        remedy_of(name, begin=0.6, end=0.5)
    assert dataclasses.replace(remedy_of(name), begin=0.5, end=0.5)
