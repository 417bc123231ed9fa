"""What holds for every remedy: bits that do not depend on the pack, ranges, padding; and what the loop does with it."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from bench.engines.batched import Batched
from bench.engines.compiled import available
from bench.engines.eager import Eager
from bench.engines.engine import Masks
from bench.jobs.build import ConfigError
from bench.methods.remedies.remedy import Remedy
from bench.pack.fields import joined, per_replica_fields
from bench.pack.streams import Stream
from bench.training.loop import Training
from tasks.ranges import ranges
from tests.conftest import choices, remedies_with
from tests.methods.remedies.setting import CPU, SEEDS, plain, remedy_of, replica_of, setting, trained

REMEDIES = choices("remedies")


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
@pytest.mark.parametrize("name", REMEDIES)
def test_a_pack_trains_in_the_bits_of_its_replicas_alone(name, cell):
    """Each with a value of its own where the remedy has one per replica."""
    job = replica_of(name, f"cell={cell}")
    remedy = job.replica.remedies[name]
    replicas = []
    for seed in SEEDS:
        fields = {field: getattr(remedy, field) * (1 + seed) / 3 for field in per_replica_fields(remedy)}
        own = {name: dataclasses.replace(remedy, **fields)}
        replicas.append(dataclasses.replace(job.replica, seed=seed, remedies=own))
    pack = trained(replicas, job.engine)
    for k, replica in enumerate(replicas):
        assert torch.equal(trained([replica], job.engine)[0], pack[k])
    assert pack.isfinite().all()


@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_changes_what_is_learned(name):
    job = replica_of(name)
    plain = dataclasses.replace(job.replica, remedies={})
    assert not torch.equal(trained([job.replica]), trained([plain]))
    assert job.replica.run_id != plain.run_id


@pytest.mark.parametrize("name", REMEDIES)
def test_a_run_that_was_paused_ends_in_the_same_bits(name):
    """Taken up by packs of other replicas, in the beginning and in the middle; the states are taken on the way."""
    job = replica_of(name)
    pack = [dataclasses.replace(job.replica, seed=seed) for seed in SEEDS]
    training = Training(pack, job.engine, CPU)
    states = [training.states()]
    states += [training.states() for _ in training.each_update()]
    for state in (states[0], states[3]):
        for members in ([2], [0, 1]):
            rest = Training([pack[k] for k in members], job.engine, CPU, [state[k] for k in members])
            rest.run()
            assert torch.equal(rest.flat, training.flat[members])


def nothing(remedy):
    """A value of one of its fields with which a remedy does nothing: strength 0, or an infinite limit."""
    for name in per_replica_fields(remedy):
        for value in (0.0, math.inf):
            if value in ranges(type(remedy))[name]:
                return {name: value}
    return None


@pytest.mark.parametrize("name", [name for name in REMEDIES if nothing(remedy_of(name))])
def test_a_remedy_of_no_strength_is_none(name):
    job = replica_of(name)
    remedy = job.replica.remedies[name]
    off = dataclasses.replace(job.replica, remedies={name: dataclasses.replace(remedy, **nothing(remedy))})
    assert torch.equal(trained([off]), trained([dataclasses.replace(job.replica, remedies={})]))


@pytest.mark.parametrize("name", REMEDIES)
def test_values_out_of_range_are_refused(name):
    for field in ranges(type(remedy_of(name))):
        with pytest.raises(ConfigError, match=f"{field}=-1"):
            remedy_of(name, **{field: -1.0})


@pytest.mark.parametrize("name", REMEDIES)
def test_the_padding_stays_zero(name):
    job = replica_of(name)
    training = Training([job.replica], job.engine, CPU)
    training.run()
    assert (training.flat[:, ~training.network.mask()] == 0).all()


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_masks_of_the_state_act_where_they_should(cell):
    """One mask for all steps in the recurrence, one for each step in the readout: against a plain unrolled net."""
    view = setting(cell)
    network, task, batch = view.network, view.task, view.batch
    random = torch.Generator().manual_seed(0)
    recurrent = torch.rand(3, 4, 8, generator=random).double()
    readout = torch.rand(3, 4, task.steps, 8, generator=random).double()
    flat = view.flat.clone().requires_grad_()
    weights = network.views(flat)
    state, outputs = network.zero_state(weights, 4), []
    for t, x in enumerate(batch.inputs.unbind(-2)):
        state = network.cell.step(weights, x, (state[0] * recurrent, *state[1:]))
        outputs.append(network.readout(weights, state[0] * readout[:, :, t]))
    loss = task.losses(torch.stack(outputs, -2), batch.targets).flatten(1).mean(-1)
    (expected,) = torch.autograd.grad(loss.sum(), flat)
    program = Eager().program(network, task)
    ours = program.gradients(view.flat, batch, masks=Masks(recurrent, readout))
    assert torch.allclose(ours.loss, loss)
    assert torch.allclose(ours.gradient, expected, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(ours.loss, program.gradients(view.flat, batch).loss)


@pytest.mark.parametrize("name", REMEDIES)
def test_who_trains_a_net_with_remedies(name):
    job, masks = replica_of(name), bool(remedy_of(name).masks)
    slow = bool(remedy_of(name).truncation) or (masks and not available())
    assert slow == (job.engine == Eager())
    with pytest.raises(ConfigError, match=r"engine=library: (takes no remedies|cannot train)"):
        replica_of(name, "engine=library")
    if masks:
        with pytest.raises(ConfigError, match="engine=batched: cannot train"):
            replica_of(name, "engine=batched")


@pytest.mark.parametrize("name", remedies_with("mask"))
def test_dropout_drops_its_share_and_scales_up_the_rest(name):
    rates = (0.0, 0.2, 0.75)
    mask = joined([remedy_of(name, rate=rate) for rate in rates]).mask(
        (50, 400), Stream(SEEDS, "mask", 7, torch.float64)
    )
    for row, rate in zip(mask, rates, strict=True):
        assert set(row.unique().tolist()) <= {0.0, 1 / (1 - rate)}
        assert abs((row == 0).double().mean() - rate) < 4 * (rate * (1 - rate) / row.numel()) ** 0.5 + 1e-12


@dataclass(frozen=True)
class Constant(Remedy):
    """A noise that is the same everywhere."""

    def noise(self, view, random):
        return 0.01 * view.trained.expand_as(view.flat)


def test_noise_and_decay_come_after_clipping():
    """The order of one update: with lr 1 and SGD the step is -(clipped gradient + noise + decay * w)."""
    replica = plain("optimizer=sgd", "optimizer.lr=1", "clipping.threshold=1e-3", "precision=float64")
    optimizer = dataclasses.replace(replica.optimizer, weight_decay=0.1)
    training = Training([dataclasses.replace(replica, optimizer=optimizer, remedies={"c": Constant()})], Batched(), CPU)
    batch = next(training.batches())
    before = training.flat.clone()
    batch, gradients = training.gradients(0, batch, False)
    training.advance(0, batch, gradients)
    training.optimizer.read()
    clipped = gradients.gradient * (1e-3 / gradients.gradient.norm())
    noise = 0.01 * training.network.mask()
    assert torch.allclose(training.flat - before, -(clipped + noise + 0.1 * before), rtol=1e-9)
    assert np.isclose(training.optimizer.history["norms"][0, 0], gradients.gradient.norm())
