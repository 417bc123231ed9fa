"""Every remedy against a slow statement of its formula, and against being switched off."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.engines.batched import Batched
from bench.engines.compiled import Compiled, available
from bench.engines.eager import Eager
from bench.engines.engine import Interventions, Masks
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.methods.remedies.remedy import PackView
from bench.nets.network import Network
from bench.pack.fields import joined, per_replica_fields
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import choices, small_task

REMEDIES = choices("remedies")
SEEDS = [0, 1, 2]
CPU = torch.device("cpu")


def remedy_of(name, **fields):
    return example(f"remedies/{name}", **fields)


def replica_of(name, *overrides):
    small = ("task=copying", "task.length=3", "task.symbols=2", "cell.hidden=8", "batch_size=3", "updates=6")
    judged = ("evaluation.sequences=8", "evaluation.final=8", "measurement=[]", "initializer=pytorch")
    return checked_job(composed(*small, *judged, f"remedies=[{name}]", *overrides))


def trained(replicas, engine=None):
    training = Training(replicas, engine or Eager(), CPU)
    training.run()
    return training.flat


def setting(cell="tanh", hidden=8):
    """A pack with its batch, and the look at it that a remedy gets."""
    task = small_task("copying", length=3, symbols=2)
    network = Network(example(f"cell/{cell}", hidden=hidden), task.inputs, task.outputs)
    initializer = checked_job(composed("initializer=pytorch")).replica.initializer
    flat = network.initial([initializer] * 3, SEEDS)
    batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64), 4)
    return PackView(network, task, flat, network.mask(), batch, task.losses, update=3)


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


@pytest.mark.parametrize("name", [name for name in REMEDIES if per_replica_fields(remedy_of(name))])
def test_a_remedy_of_strength_zero_is_none(name):
    job = replica_of(name)
    remedy = job.replica.remedies[name]
    field = next(field for field in per_replica_fields(remedy))
    off = dataclasses.replace(job.replica, remedies={name: dataclasses.replace(remedy, **{field: 0.0})})
    assert torch.equal(trained([off]), trained([dataclasses.replace(job.replica, remedies={})]))


@pytest.mark.parametrize("name", REMEDIES)
def test_values_out_of_range_are_refused(name):
    for field in dataclasses.fields(remedy_of(name)):
        with pytest.raises(ConfigError, match=f"{field.name}=-1"):
            remedy_of(name, **{field.name: -1.0})


@pytest.mark.parametrize("name", REMEDIES)
def test_the_padding_stays_zero(name):
    job = replica_of(name)
    training = Training([job.replica], job.engine, CPU)
    training.run()
    assert (training.flat[:, ~training.network.mask()] == 0).all()


@pytest.mark.parametrize(
    ("name", "price"), [("l1_penalty", lambda w: w.abs().sum(-1)), ("l2_penalty", lambda w: w.square().sum(-1) / 2)]
)
def test_a_penalty_is_the_gradient_of_its_price(name, price):
    view = setting()
    remedy = joined([remedy_of(name, strength=s) for s in (0.1, 0.2, 0.3)])
    flat = view.flat.clone().requires_grad_()
    (expected,) = torch.autograd.grad((torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64) * price(flat)).sum(), flat)
    assert torch.allclose(remedy.penalty(view), expected, rtol=1e-12)


def test_label_smoothing_is_that_of_torch():
    outputs = torch.randn(3, 4, 5, 9, generator=torch.Generator().manual_seed(0)).double()
    targets = torch.randint(9, (3, 4, 5), generator=torch.Generator().manual_seed(1))
    smoothed = joined([remedy_of("label_smoothing", share=s) for s in (0.0, 0.1, 0.5)])
    ours = smoothed.losses(small_task("copying").losses)(outputs, targets)
    for r, share in enumerate((0.0, 0.1, 0.5)):
        theirs = torch.nn.functional.cross_entropy(
            outputs[r].flatten(0, 1), targets[r].flatten(), reduction="none", label_smoothing=share
        )
        assert torch.allclose(ours[r].flatten(), theirs, rtol=1e-12)


def test_label_smoothing_refuses_a_task_whose_answer_is_a_number():
    with pytest.raises(ConfigError, match=r"remedies=label_smoothing: smooths the classes .* number \(adding\)"):
        checked_job(composed("task=adding", "remedies=[label_smoothing]"))


def test_gradient_noise_fades_as_published_and_is_new_at_every_update():
    view = setting(hidden=64)
    noisy = joined([remedy_of("gradient_noise", variance=v, decay=0.55) for v in (0.01, 0.3, 1.0)])
    seen = []
    for update in (0, 9, 999):
        noise = noisy.noise(dataclasses.replace(view, update=update), Stream(SEEDS, "noise", update, torch.float64))
        assert (noise[:, ~view.trained] == 0).all()
        values = noise[:, view.trained]
        expected = torch.tensor([0.01, 0.3, 1.0]).double() / (1 + update) ** 0.55
        count = values.shape[1]
        assert torch.allclose(values.var(-1), expected, rtol=5 * (2 / count) ** 0.5)
        assert (values.mean(-1).abs() < 5 * (expected / count).sqrt()).all()
        seen.append(values / expected.sqrt()[:, None])
    assert not torch.allclose(seen[0], seen[1])


@pytest.mark.parametrize("name", ["input_dropout", "readout_dropout", "recurrent_dropout"])
def test_dropout_drops_its_share_and_scales_up_the_rest(name):
    rates = (0.0, 0.2, 0.75)
    mask = joined([remedy_of(name, rate=rate) for rate in rates]).mask(
        (50, 400), Stream(SEEDS, "mask", 7, torch.float64)
    )
    for row, rate in zip(mask, rates, strict=True):
        assert set(row.unique().tolist()) <= {0.0, 1 / (1 - rate)}
        assert abs((row == 0).double().mean() - rate) < 4 * (rate * (1 - rate) / row.numel()) ** 0.5 + 1e-12


def test_input_dropout_masks_every_input_of_the_training_batch_anew():
    job = replica_of("input_dropout", "remedies.input_dropout.rate=0.5")
    training = Training([job.replica], job.engine, CPU)
    batches = list(training.batches())
    (first, _), (second, _) = (training.gradients(update, batches[0], False) for update in (0, 1))
    shown = batches[0].inputs != 0
    assert set(first.inputs[shown].unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(first.inputs, second.inputs)
    assert torch.equal(
        training.evaluator.heldout[0].inputs,
        Training([dataclasses.replace(job.replica, remedies={})], job.engine, CPU).evaluator.heldout[0].inputs,
    )


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


def test_a_masked_net_is_trained_by_compiled_or_eager():
    job = replica_of("recurrent_dropout")
    assert job.engine == (Compiled() if available() else Eager())
    assert replica_of("l1_penalty").engine != Eager()
    with pytest.raises(ConfigError, match="engine=batched: cannot train"):
        replica_of("readout_dropout", "engine=batched")
    with pytest.raises(ConfigError, match="engine=library: takes no remedies"):
        replica_of("l1_penalty", "engine=library")


@pytest.mark.parametrize("cell_name", ["tanh", "lstm"])
def test_a_normalised_cell_sees_its_state_at_mean_zero_and_variance_one(cell_name):
    inner = example(f"cell/{cell_name}", hidden=6)
    cell = remedy_of("state_normalization", eps=1e-5).cell(inner)
    network = Network(cell, 2, 1)
    initializer = checked_job(composed("initializer=pytorch")).replica.initializer
    weights = network.views(network.initial([initializer], [0]))
    random = torch.Generator().manual_seed(0)
    state = tuple(torch.randn(1, 3, 6, generator=random).double() for _ in inner.states)
    x = torch.randn(1, 3, 2, generator=random).double()
    seen = torch.nn.functional.layer_norm(state[0], (6,), eps=1e-5)
    for ours, expected in zip(cell.step(weights, x, state), inner.step(weights, x, (seen, *state[1:])), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-12)
    assert (cell.states, cell.gates, cell.parameters) == (inner.states, inner.gates, inner.parameters)


@pytest.mark.parametrize("by", ["value", "norm"])
@pytest.mark.parametrize("cell", ["tanh", "irnn", "gru", "lstm"])
def test_clipping_on_the_way_back_is_the_same_in_both_engines_and_obeys_its_threshold(cell, by):
    view = setting(cell)
    rule = joined([example("clipping/state_norm", by=by, threshold=c) for c in (1e-3, 0.05, 1e9)])
    engines = [engine.program(view.network, view.task, Interventions(rule)) for engine in (Eager(), Batched())]
    eager, batched = (program.gradients(view.flat, view.batch, trace=True) for program in engines)
    assert torch.allclose(eager.gradient, batched.gradient, rtol=1e-10, atol=1e-16)
    for name, norms in eager.trace.items():
        assert torch.allclose(norms, batched.trace[name], rtol=1e-10)
    if by == "norm":
        assert (batched.trace["h"][0] <= 1e-3 * (1 + 1e-12)).all()
        assert (batched.trace["h"][0] > 0.999e-3).any()
    free = Batched().program(view.network, view.task).gradients(view.flat, view.batch)
    assert torch.allclose(batched.gradient[2], free.gradient[2], rtol=1e-12)
    assert not torch.allclose(batched.gradient[0], free.gradient[0])


def test_noise_and_decay_come_after_clipping():
    """The order of one update: with lr 1 and SGD the step is -(clipped gradient + noise + decay * w)."""
    job = replica_of(
        "gradient_noise", "optimizer=sgd", "optimizer.lr=1", "clipping.threshold=1e-3", "precision=float64"
    )
    replica = dataclasses.replace(job.replica, optimizer=dataclasses.replace(job.replica.optimizer, weight_decay=0.1))
    training = Training([replica], Batched(), CPU)
    batch = next(training.batches())
    before = training.flat.clone()
    batch, gradients = training.gradients(0, batch, False)
    training.advance(0, batch, gradients)
    training.optimizer.read()
    clipped = gradients.gradient * (1e-3 / gradients.gradient.norm())
    noise = training.remedies["gradient_noise"].noise(training._view(0, batch), training._stream("gradient_noise", 0))
    assert torch.allclose(training.flat - before, -(clipped + noise + 0.1 * before), rtol=1e-9)
    assert np.isclose(training.optimizer.history["norms"][0, 0], gradients.gradient.norm())
