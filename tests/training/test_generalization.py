"""How a net does on what it was trained on, beside how it does on what it was not."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.engines.auto import Auto
from bench.engines.eager import Eager
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.runs.checkpoint import packed, unpacked
from bench.training.loop import Training
from tests.conftest import assert_same_tables, with_seeds

CPU = torch.device("cpu")
DIGITS = ("task=digits", "task.variant=rows", "cell.hidden=8", "batch_size=4", "measurement=[]", "updates=12")


def trained(replicas, states=()):
    training = Training(replicas, Auto().chosen(replicas[0].network, CPU), CPU, states)
    return training, training.run()


def test_training_loss_is_the_mean_over_the_updates_since_the_last_evaluation(make_replica):
    """Against losses of the batches, one by one, by another engine, at the weights on the way."""
    replica = make_replica("updates=9", "evaluation.every=4", "precision=float64", "cell=lstm")
    training = Training([replica], Eager(), CPU)
    batches, losses = list(training.batches()), []
    weights = [training.flat.clone()]
    weights += [training.flat.clone() for _ in training.each_update()]
    program = Auto().chosen(replica.network, CPU).program(replica.network, replica.task)
    losses = [program.loss_alone(flat, batch).item() for flat, batch in zip(weights[:9], batches, strict=False)]
    table = training.records[0].table("evaluations")
    assert table["update"].tolist() == [0, 4, 8, 9]
    assert np.isnan(table["train_loss"][0])
    expected = [np.mean(losses[:4]), np.mean(losses[4:8]), losses[8]]
    assert table["train_loss"][1:] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", [4, 80])
def test_training_accuracy_is_that_of_the_last_sequences_trained_on(make_replica, size):
    """Of at most 64, or of one batch; as the net answers them now."""
    replica = make_replica(
        "task=temporal_order", "task.variant=hochreiter", "task.length=20", f"batch_size={size}", "updates=25"
    )
    replica = dataclasses.replace(replica, evaluation=dataclasses.replace(replica.evaluation, every=5))
    training = Training(with_seeds(replica, range(2)), Eager(), CPU)
    batches = list(training.batches())
    for done in training.each_update():
        if done in (5, 25):
            ours = training.evaluator.fitted(training.flat, done)["train_accuracy"]
            seen = [training.program.answers(training.flat, batch) for batch in batches[:done]]
            correct = [replica.task.correct(a.outputs, b.targets) for a, b in zip(seen, batches, strict=False)]
            last = torch.cat(correct, dim=1)[:, -max(64, size) :]
            assert ours == pytest.approx(last.flatten(1).double().mean(-1).numpy())
    table = training.finish()[0].table("evaluations")
    assert np.isnan(table["train_accuracy"][0])
    assert not np.isnan(table["train_accuracy"][1:]).any()


def test_a_fixed_part_of_the_training_set_is_judged_like_the_heldout_one():
    replica = checked_job(composed(*DIGITS, "evaluation.every=6")).replica
    training, (record,) = trained([replica])
    table = record.table("evaluations")
    images = replica.task.split.train
    inputs = (images.pixels[:180].float() / images.white)[None]
    answers = training.program.answers(training.flat, training.evaluator.known[0]._replace(inputs=inputs))
    targets = images.labels[None, :180, None]
    assert table["train_fixed_loss"][-1] == pytest.approx(replica.task.losses(answers.outputs, targets).mean().item())
    right = replica.task.correct(answers.outputs, targets).double().mean().item()
    assert table["train_fixed_accuracy"][-1] == pytest.approx(right)
    assert np.isfinite(table["train_fixed_loss"][0])


def test_a_task_without_a_training_set_has_no_fixed_part(make_replica):
    _, (record,) = trained([make_replica()])
    assert [name for name in record.table("evaluations") if name.startswith("train")] == [
        "train_loss",
        "train_accuracy",
    ]


@pytest.mark.parametrize("members", [[1], [2, 0]])
def test_a_pause_between_two_evaluations_changes_nothing(members):
    pack = with_seeds(checked_job(composed(*DIGITS, "evaluation.every=5")).replica, range(3))
    training, kept = Training(pack, Auto().chosen(pack[0].network, CPU), CPU), []
    for done in training.each_update():
        if done == 8:
            kept = [packed(state, "run", {}) for state in training.states()]
    records = training.finish()
    _, parts = trained([pack[k] for k in members], [unpacked(kept[k], "run", {}) for k in members])
    for k, part in zip(members, parts, strict=True):
        assert_same_tables(part, records[k])


def test_a_run_that_has_ended_keeps_its_last_numbers_and_one_that_has_diverged_has_none(make_replica):
    replica = make_replica("cell=irnn", "task.length=20", "updates=6", "evaluation.every=2")
    training = Training(with_seeds(replica, range(2)), Auto().chosen(replica.network, CPU), CPU)
    for done in training.each_update():
        if done == 3:
            training.optimizer.end(3, [0])
            training.flat[1].fill_(torch.nan)
    ended, diverged = (record.table("evaluations") for record in training.finish())
    for name in ("train_loss", "train_accuracy"):
        assert ended[name][-1] == ended[name][1]
        assert np.isnan(diverged[name][2:]).all()
