"""Sequences that grow within a run: by the schedule, of the same task, judged at the full length, in the same bits."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.engines.compiled import Compiled, available
from bench.engines.eager import Eager
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import assert_same_tables
from tests.methods.remedies.setting import CPU, QUICK

ASKED = (
    *QUICK,
    *("task=adding", "task.length=20", "updates=12", "remedies=[length_curriculum]", "measurement=[training_gradient]"),
    *(
        "remedies.length_curriculum.first=4",
        "remedies.length_curriculum.stages=4",
        "measurement.training_gradient.every=1",
    ),
)


def replica(*overrides):
    return checked_job(composed(*ASKED, *overrides)).replica


def test_the_length_follows_the_schedule():
    lengths = [replica().task_at(update).length for update in range(13)]
    assert lengths == [4, 4, 8, 12, 12, 16, 20, 20, 20, 20, 20, 20, 20]
    assert replica("remedies.length_curriculum.share=1").task_at(11).length == 16


def test_each_batch_is_what_the_task_of_that_length_draws():
    one = replica()
    training = Training([one], Eager(), CPU)
    for update, batch in enumerate(training.batches()):
        expected = one.task_at(update).sample(Stream([one.seed], "train", [update]), one.batch_size).at(0)
        assert torch.equal(batch.inputs, expected.inputs)
        assert torch.equal(batch.targets, expected.targets)
    assert update == 12


def test_judged_and_probed_at_full_length_and_the_training_gradient_is_that_of_its_own():
    training = Training([replica()], Eager(), CPU)
    assert training.evaluator.task.length == 20
    (record,) = training.run()
    table = record.table("gradient_through_time")
    steps = [int((table["update"] == update).sum()) for update in range(13)]
    assert steps == [4, 4, 8, 12, 12, 16, 20, 20, 20, 20, 20, 20, 20]
    for update, last in enumerate(steps):
        assert table["step"][table["update"] == update].tolist() == list(range(1, last + 1))


@pytest.mark.parametrize(
    "engine", [Eager(), pytest.param(Compiled(), marks=pytest.mark.skipif(not available(), reason="no compiler"))]
)
def test_a_run_paused_in_the_middle_of_it_goes_on_in_the_same_bits(engine):
    pack = [dataclasses.replace(replica(), seed=seed) for seed in range(3)]
    whole = Training(pack, engine, CPU)
    states = {update: whole.states() for update in whole.each_update()}
    records = whole.finish()
    for update in (1, 3, 5, 7):
        rest = Training(pack[1:2], engine, CPU, states[update][1:2])
        (record,) = rest.run()
        assert torch.equal(rest.flat[0], whole.flat[1])
        assert_same_tables(record, records[1])


def test_with_targets_at_every_step_too():
    both = replica("remedies=[intermediate_targets,length_curriculum]")
    task = both.task_at(2)
    assert (task.steps, len(task.scored)) == (8, 8)
    (record,) = Training([both], Eager(), CPU).run()
    assert np.isfinite(record.outcome.final_loss)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("task=digits",), "there is no length that could grow"),
        (("remedies.length_curriculum.first=30",), "first=30 is longer than length=20"),
        (("task.variant=hochreiter",), "first=4: length=4: must be >= 11 for adding as hochreiter"),
    ],
)
def test_what_cannot_grow_is_refused_in_one_line(overrides, reason):
    short = [override for override in ASKED if not (overrides[0] == "task=digits" and override.startswith("task"))]
    with pytest.raises(ConfigError, match=f"^remedies=length_curriculum: {reason}"):
        checked_job(composed(*short, *overrides))


def test_ids_of_runs_without_it_are_as_they_were():
    assert "curriculum" not in str(composed("cell=lstm"))
    assert example("remedies/length_curriculum").task(replica().task, 0, 1).length == 10
