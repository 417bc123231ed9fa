"""The training loop: the same bits in any pack, measured or not; divergence is recorded, outcomes are named right."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from bench.engines.auto import Auto
from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.library import Library
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.training.loop import Training
from bench.training.outcome import Rule, ended
from bench.training.record import clipping_blocks
from tests.conftest import EVERYTHING_MEASURED, assert_same_tables, choices, one_of_each_class, small_task, with_seeds

CPU = torch.device("cpu")


def train(replicas, engine=None):
    training = Training(replicas, engine or Batched(), CPU)
    records = training.run()
    return training.flat, records


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    ("cell", "task"), [("tanh", "adding"), ("irnn", "copying"), ("lstm", "adding"), ("lstm", "copying")]
)
def test_bits_do_not_depend_on_width_order_or_neighbours(make_replica, cell, task, precision):
    """Widths 1, 2, 7, 31 and 32, over 200 updates, at a size that is no multiple of a vector register."""
    small = ("cell.hidden=10", "batch_size=3", "task.length=5", "updates=200", "evaluation.every=50")
    replica = make_replica(f"cell={cell}", f"task={task}", f"precision={precision}", "optimizer.lr=0.01", *small)
    settings = [
        dataclasses.replace(
            replica,
            seed=seed,
            optimizer=dataclasses.replace(replica.optimizer, lr=0.001 * (1 + seed % 3)),
            clipping=dataclasses.replace(replica.clipping, threshold=0.1 * (1 + seed % 5)),
        )
        for seed in range(32)
    ]
    weights, records = train(settings)
    for members in ([5], [17, 3], list(range(20, 27)), list(range(31, 0, -1))):
        part, part_records = train([settings[k] for k in members])
        assert torch.equal(part, weights[members])
        for k, record in zip(members, part_records, strict=True):
            assert_same_answers(record, records[k])


def test_progress_tells_the_best_skill_of_each_replica_so_far(make_replica):
    """Also of one that has diverged, whose skill is -inf and NaN then."""
    told = []
    settings = with_seeds(make_replica("evaluation.every=1", "optimizer.lr=0.1"), range(2))
    settings += with_seeds(
        make_replica("evaluation.every=1", "optimizer=sgd", "optimizer.lr=1e30", "clipping=none"), [0]
    )
    for replicas in (settings[:2], settings[2:]):
        told.clear()
        records = Training(replicas, Batched(), CPU).run(told.append)
        for r, record in enumerate(records):
            skill = record.table("evaluations")["skill"]
            best = np.fmax.accumulate(np.where(np.isfinite(skill), skill, -np.inf))
            assert [at.skill[r] for at in told] == best[: len(told)].tolist()
    assert not np.isfinite(skill).all()


def assert_same_answers(one, other):
    for name in ("loss", "accuracy"):
        assert np.array_equal(one.table("evaluations")[name], other.table("evaluations")[name], equal_nan=True)
    for name, series in one.table("clipping").items():
        assert np.array_equal(series, other.table("clipping")[name], equal_nan=True)
    assert one.outcome.final_loss == other.outcome.final_loss


@pytest.mark.parametrize("engine", [Eager(), Library(tf32=False)])
@pytest.mark.parametrize("hidden", [10, 16])
def test_bits_of_the_other_engines_do_not_depend_on_the_pack(make_replica, engine, hidden):
    replica = make_replica("cell=lstm", f"cell.hidden={hidden}", "updates=30")
    settings = with_seeds(replica, range(3))
    weights, _ = train(settings, engine)
    assert torch.equal(train(settings[1:2], engine)[0], weights[1:2])


@pytest.mark.parametrize("cell", choices("cell"))
def test_measuring_changes_no_bit(make_replica, cell):
    plain = with_seeds(make_replica(f"cell={cell}", "updates=20", "measurement=[]"), range(2))
    measured = with_seeds(make_replica(f"cell={cell}", "updates=20", *EVERYTHING_MEASURED), range(2))
    engine = Auto().chosen(plain[0].network, CPU)
    (without, _), (with_all, records) = train(plain, engine), train(measured, engine)
    assert torch.equal(without, with_all)
    assert {watched.table for watched in measured[0].measurement.values()} <= set(records[0].tables)


@pytest.mark.parametrize(
    ("cell", "hidden"),
    [*((cell, 10) for cell in ("tanh", "lstm", "lru")), *((cell, 16) for cell in one_of_each_class("cell"))],
)
def test_what_is_measured_is_the_same_in_any_pack_and_after_a_pause(make_replica, cell, hidden):
    replica = make_replica(f"cell={cell}", f"cell.hidden={hidden}", "updates=12", "batch_size=3", *EVERYTHING_MEASURED)
    pack = with_seeds(replica, range(3))
    engine = Auto().chosen(pack[0].network, CPU)
    _, records = train(pack, engine)
    paused = Training(pack, engine, CPU)
    steps = paused.each_update()
    while next(steps) < 5:
        pass
    states = paused.states()
    for members in ([1], [0, 2]):
        for begun in ((), [states[k] for k in members]):
            parts = Training([pack[k] for k in members], engine, CPU, begun).run()
            for k, part in zip(members, parts, strict=True):
                assert_same_tables(part, records[k])


@pytest.mark.parametrize("policy", choices("nonfinite"))
def test_a_replica_driven_to_nan_leaves_the_others_alone_and_is_recorded(make_replica, policy):
    replica = make_replica("cell=irnn", "initializer=identity", "updates=40", "task.length=20", f"nonfinite={policy}")
    healthy = with_seeds(replica, range(4))
    sick = dataclasses.replace(
        replica,
        seed=9,
        initializer=dataclasses.replace(
            replica.initializer, recurrent=example("initializer/recurrent/identity", gain=1e9)
        ),
    )
    alone, alone_records = train(healthy)
    weights, records = train([*healthy[:2], sick, *healthy[2:]])
    assert torch.equal(weights[[0, 1, 3, 4]], alone)
    assert weights.isfinite().all()
    for k, record in zip((0, 1, 3, 4), alone_records, strict=True):
        assert_same_answers(records[k], record)
    clipping = records[2].table("clipping")
    assert records[2].outcome.outcome == "diverged"
    if policy == "stop":
        assert records[2].outcome.diverged_at == 1
        assert clipping["nonfinite"].sum() == 1
        assert np.isnan(records[2].table("evaluations")["loss"][1:]).all()
    else:
        assert records[2].outcome.diverged_at is None
        assert clipping["nonfinite"].sum() == 40


@pytest.mark.parametrize("name", choices("optimizer"))
def test_a_skipped_update_leaves_weights_and_optimizer_as_they_were(make_replica, name):
    replicas = with_seeds(make_replica(f"optimizer={name}", "nonfinite=skip"), range(3))
    training = Training(replicas, Batched(), CPU)
    batches = list(training.batches())

    def step(update, spoilt):
        gradients = training.program.gradients(training.flat, batches[update])
        if spoilt:
            gradients.gradient[1, 7] = torch.inf
        training.advance(update, batches[update], gradients)
        state = training.optimizer.stepper.state[training.optimizer.delta]
        return training.flat.clone(), {k: v.clone() for k, v in state.items() if v.shape == training.flat.shape}

    before, state_before = step(0, spoilt=False)
    after, state_after = step(1, spoilt=True)
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])
    for key, value in state_after.items():
        assert torch.equal(value[1], state_before[key][1])


def test_pascanus_policy_shrinks_the_recurrent_weight_of_a_replica_without_gradient(make_replica):
    """W <- W - lr clip(0.02 W), all else as it was; the others step as they would alone."""
    overrides = (
        "nonfinite=pascanu",
        "optimizer=sgd",
        "optimizer.lr=0.5",
        "clipping.threshold=1e9",
        "precision=float64",
    )
    replicas = with_seeds(make_replica(*overrides), range(3))
    training = Training(replicas, Batched(), CPU)
    batch = next(training.batches())
    before = training.network.views(training.flat.clone())
    gradients = training.program.gradients(training.flat, batch)
    expected = training.flat - 0.5 * gradients.gradient
    gradients.gradient[1, 7] = torch.nan
    training.advance(0, batch, gradients)
    training.optimizer.read()
    assert torch.allclose(training.flat[[0, 2]], expected[[0, 2]], rtol=1e-12)
    for name, after in training.network.views(training.flat).items():
        factor = 1 - 0.5 * 0.02 if name == "W_hh" else 1.0
        assert torch.allclose(after[1], factor * before[name][1], rtol=1e-12)
    assert training.optimizer.history["nonfinite"][0].tolist() == [False, True, False]
    assert np.isfinite(training.optimizer.history["norms"][0]).all()
    assert training.optimizer.diverged_at == [None] * 3


def test_the_loop_does_what_a_plain_torch_loop_does(make_replica):
    """Fifty lines of suite against ten lines of torch: nn.RNN, Adam, clip_grad_norm_, the same batches."""
    replica = make_replica(
        "cell=tanh", "precision=float64", "updates=30", "clipping.threshold=0.05", "optimizer.weight_decay=0.1"
    )
    training = Training([replica], Batched(), CPU)
    batches = list(training.batches())
    weights = training.network.views(training.flat.clone())
    module = torch.nn.RNN(2, 8, batch_first=True, dtype=torch.float64)
    readout = torch.nn.Linear(8, 1, dtype=torch.float64)
    theirs = [module.weight_hh_l0, module.weight_ih_l0, module.bias_ih_l0, readout.weight, readout.bias]
    with torch.no_grad():
        module.bias_hh_l0.zero_()
        for name, parameter in zip(weights, theirs, strict=True):
            parameter.copy_(weights[name][0])
    optimizer = torch.optim.Adam(theirs, lr=0.001, weight_decay=0.1)
    clipped = 0
    for batch in batches[:30]:
        optimizer.zero_grad()
        outputs = readout(module(batch.inputs[0])[0][:, -1])
        torch.nn.functional.mse_loss(outputs, batch.targets[0]).backward()
        clipped += bool(torch.nn.utils.clip_grad_norm_(theirs, 0.05) > 0.05)
        optimizer.step()
    record = training.run()[0]
    ours = training.network.views(training.flat)
    for name, parameter in zip(weights, theirs, strict=True):
        assert torch.allclose(ours[name][0], parameter, rtol=1e-5, atol=1e-8)  # clip_grad_norm_ adds 1e-6 to the norm
    assert record.table("clipping")["clipped"].sum() == clipped
    assert clipped > 0


def test_clipping_takes_effect_and_is_counted(make_replica):
    tight, loose = (make_replica(f"clipping.threshold={c}", "updates=30") for c in ("1e-3", ".inf"))
    (_, (clipped,)), (_, (free,)) = train([tight]), train([loose])
    table = clipped.table("clipping")
    assert table["clipped"].sum() == 30
    assert np.allclose(table["shrink_sum"], 1e-3 / table["norm_min"], rtol=1e-5)
    assert np.allclose(table["cosine_sum"], 1, atol=1e-6)  # shorter, not turned
    assert free.table("clipping")["clipped"].sum() == 0
    assert (free.table("clipping")["shrink_sum"] == 1).all()
    assert (free.table("clipping")["cosine_sum"] == 1).all()


def test_clipping_by_value_turns_the_gradient(make_replica):
    replica = make_replica("clipping=value", "clipping.threshold=1e-9", "updates=3", "precision=float64")
    _, (record,) = train([replica])
    training = Training([replica], Eager(), CPU)
    gradient = training.gradients(0, next(training.batches()), traced=False)[1].gradient[0]
    lengths = gradient.norm() * (gradient != 0).sum().sqrt()  # of the gradient, and of its signs
    cosine = record.table("clipping")["cosine_sum"][0]
    assert cosine == pytest.approx(float(gradient.abs().sum() / lengths), rel=1e-3)
    assert cosine < 0.95


def test_training_learns(make_replica):
    replica = make_replica("task.length=4", "cell.hidden=16", "updates=600", "optimizer.lr=0.01", "batch_size=16")
    _, records = train(with_seeds(replica, range(2)))
    assert all(record.outcome.final_skill > 0.9 for record in records)


@pytest.mark.parametrize("name", choices("task"))
@pytest.mark.parametrize("cell", ["tanh", "irnn", "lstm"])
def test_every_task_trains_with_every_cell_in_the_same_bits_alone_and_in_a_pack(name, cell):
    task = small_task(name)
    overrides = (f"task={name}", f"cell={cell}", "cell.hidden=10", "updates=4", "batch_size=3", *EVERYTHING_MEASURED)
    judged = ("evaluation.sequences=8", "evaluation.final=8", "initializer=pytorch")
    replica = checked_job(composed(*overrides, *judged)).replica
    replicas = with_seeds(dataclasses.replace(replica, task=task), range(2))
    weights, records = train(replicas)
    alone, (record,) = train(replicas[1:2])
    assert torch.equal(alone[0], weights[1])
    assert_same_answers(record, records[1])
    assert np.isfinite(record.outcome.final_loss)
    assert record.outcome.steps == task.steps


def test_replicas_are_judged_on_the_whole_collection_of_their_task_and_on_the_same(make_replica):
    replica = checked_job(composed("task=digits", "task.variant=rows", "cell.hidden=8", "updates=2")).replica
    training = Training(with_seeds(replica, range(2)), Batched(), CPU)
    counts = [sum(batch.inputs.shape[1] for batch in training.sequences.judged(p, 4096)) for p in ("heldout", "final")]
    assert counts == [180, 360]
    first = list(training.sequences.judged("heldout", 100))
    assert [batch.inputs.shape[1] for batch in first] == [64, 36]
    assert torch.equal(first[0].inputs[0], first[0].inputs[1])
    assert torch.equal(first[0].inputs[0].double(), replica.task.collection("heldout").inputs[:64])
    assert torch.equal(training.sequences.probe(16).inputs[0], first[0].inputs[0, :16])


def test_the_historical_rule_asks_for_the_accuracy_of_the_source_once():
    overrides = ("task=adding", "task.variant=pascanu", "evaluation.rule=historical")
    replica = checked_job(composed(*overrides)).replica
    rule = replica.rules["solved"]
    assert (rule.quantity, rule.least, rule.in_a_row) == ("accuracy", 0.99, 1)
    assert rule.kept == pytest.approx(0.94)
    assert str(rule) == "accuracy of at least 0.99 at one evaluation"
    assert str(checked_job(composed()).replica.rules["solved"]) == "skill of at least 0.95 at 3 evaluations in a row"
    with pytest.raises(ConfigError, match=r"evaluation.rule=historical: the source of copying as tcn names none"):
        checked_job(composed("task=copying", "task.variant=tcn", "evaluation.rule=historical"))


def test_a_run_judged_by_the_historical_rule_is_solved_by_its_accuracy():
    overrides = ("task=permutation", "task.length=3", "task.kinds=4", "evaluation.rule=historical", "measurement=[]")
    sizes = ("cell.hidden=16", "updates=90", "optimizer.lr=0.01", "evaluation.every=5", "evaluation.sequences=256")
    record = train([checked_job(composed(*overrides, *sizes)).replica])[1][0]
    table = record.table("evaluations")
    met = np.flatnonzero(table["accuracy"] >= 0.99)
    assert record.outcome.solved_at == table["update"][met[0]] < record.outcome.mastered_at
    assert record.outcome.outcome == "solved"
    assert record.outcome.solved_rule == "accuracy of at least 0.99 at one evaluation"


def test_measurement_and_evaluation_grids(make_replica):
    replica = make_replica(*EVERYTHING_MEASURED, "updates=130", "evaluation.every=60")
    _, (record,) = train([replica])
    measured = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, 126, 130]
    assert np.unique(record.table("spectrum")["update"]).tolist() == measured
    assert record.table("evaluations")["update"].tolist() == [0, 60, 120, 130]
    assert np.unique(record.table("state_jacobian")["update"]).tolist() == [0, 1, 10, 100, 130]


def test_long_series_of_norms_are_kept_in_blocks(make_replica, monkeypatch):
    replica = make_replica("updates=25")
    whole = train([replica])[1][0].table("clipping")
    monkeypatch.setattr("bench.training.record.MOST_BLOCKS", 10)
    blocks = train([replica])[1][0].table("clipping")
    assert blocks["update"].tolist() == [3, 6, 9, 12, 15, 18, 21, 24, 25]
    assert blocks["count"].tolist() == [3] * 8 + [1]
    assert np.allclose(blocks["norm_max"][:8], whole["norm_max"][:24].reshape(8, 3).max(1))
    assert np.allclose(blocks["norm_log_mean"][:8], np.log(whole["norm_min"][:24]).reshape(8, 3).mean(1), rtol=1e-5)


def test_a_norm_beyond_float32_is_kept_as_a_number():
    norms = np.array([3.0, 1e39, 1e300, 1e-60])
    blocks = clipping_blocks(norms, np.minimum(1, 1 / norms), np.ones(4), np.zeros(4, dtype=bool))
    assert blocks["norm_min"].tolist() == blocks["norm_max"].tolist() == norms.tolist()
    assert np.allclose(blocks["norm_log_mean"], np.log(norms), rtol=1e-6)


def test_rule_needs_its_evaluations_in_a_row_and_dates_the_first():
    rule = Rule("skill", 0.95, in_a_row=3, kept=0.9)
    assert rule.first_met([0, 10, 20, 30, 40], [0.96, 0.9, 0.96, 0.97, 0.95]) == 20
    assert rule.first_met([0, 10, 20, 30], [0.96, 0.96, math.nan, 0.96]) is None
    assert rule.first_met([0, 10], [1.0, 1.0]) is None


@pytest.mark.parametrize(
    ("skills", "facts", "name"),
    [
        ([0.99] * 3, {"diverged": True}, "diverged"),
        ([0.5, -1e27, -1e27, -1e27], {}, "diverged"),
        ([0.5, math.nan, math.nan, math.nan], {}, "diverged"),
        ([0.5, math.nan, -1e27, math.nan], {}, "diverged"),
        ([0.99, 0.99, math.nan], {}, "diverged"),
        ([0.99, 0.99, -math.inf], {"solved_at": 10}, "diverged"),
        ([0.99] * 3, {"solved_at": 10, "final_skill": -math.inf}, "diverged"),
        ([0.5] * 3, {"final_skill": math.nan}, "diverged"),
        ([0.0] * 3, {"alive": False}, "dead"),
        ([0.99] * 3, {"solved_at": 10}, "solved"),
        ([0.99] * 3, {"solved_at": 10, "kept": False}, "relapsed"),
        ([0.99] * 3, {"solved_at": 10, "given_up": True}, "solved"),
        ([0.5] * 3, {"given_up": True}, "hopeless"),
        ([0.5] * 3, {"given_up": True, "alive": False}, "dead"),
        ([0.0, 0.2, 0.3], {}, "partial"),
        ([math.nan, 0.2, 0.3], {}, "partial"),
        ([0.0, 0.05, 0.3], {}, "stuck"),
        ([math.nan, -math.inf, 0.3], {}, "stuck"),
        ([-5.0, -50.0, -5.0], {}, "stuck"),
        ([0.0, 0.0, -1e27], {}, "stuck"),
        ([0.3], {}, "partial"),
    ],
)
def test_outcome_is_the_first_that_fits(skills, facts, name):
    usual = {"final_skill": 0.0, "diverged": False, "alive": True, "solved_at": None, "kept": True, "given_up": False}
    assert ended(skills, **{**usual, **facts}) == name


def test_no_word_below_diverged_goes_with_a_loss_that_is_no_number():
    """Every combination of what the last evaluations, the final number and the flags can be."""
    values = (0.99, 0.2, -5.0, -1e27, -math.inf, math.nan)
    flags = itertools.product((False, True), (False, True), (None, 10), (False, True))
    for *last, final, (diverged, alive, solved_at, kept) in itertools.product(*[values] * 4, list(flags)):
        settled = {"diverged": diverged, "alive": alive, "solved_at": solved_at, "kept": kept, "given_up": False}
        word = ended([0.0, *last], final, **settled)
        far_off = [not value >= -99 for value in last]
        assert (word == "diverged") == (diverged or not math.isfinite(final + last[-1]) or all(far_off))
        if word == "dead":
            assert not alive
        elif word != "diverged":
            assert alive
            assert (word in ("solved", "relapsed")) == (solved_at is not None)
            assert word != "solved" or kept
            assert word != "partial" or sum(value >= 0.1 for value in last) >= 2
            assert word != "stuck" or sum(value >= 0.1 for value in last) < 2


@pytest.mark.parametrize("policy", ["skip", "pascanu"])
@pytest.mark.parametrize("weight", [math.nan, 1e38])
def test_a_run_whose_weights_are_lost_under_a_policy_that_goes_on_has_diverged(make_replica, policy, weight):
    """After finite evaluations, and before one: the word and the number agree."""
    replica = make_replica(f"nonfinite={policy}", "updates=6", "evaluation.every=3")
    for lost_after in (5, 6):
        training = Training([replica], Batched(), CPU)
        for done in training.each_update():
            if done == lost_after:
                training.flat.fill_(weight)
        outcome = training.finish()[0].outcome
        assert outcome.outcome == "diverged"
        assert not math.isfinite(outcome.final_loss)
        assert outcome.diverged_at is None
