"""What holds for whatever changes images: it sees them in every layout, in training only, and asks for some."""

import dataclasses

import pytest
import torch

from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.methods.remedies.augmentation import Augmentation
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import choices
from tests.methods.remedies.setting import CPU, SEEDS, remedy_of, replica_of

NAMES = [name for name in choices("remedies") if isinstance(remedy_of(name), Augmentation)]
pytestmark = pytest.mark.skipif(not NAMES, reason="nothing changes images")


@pytest.mark.parametrize("name", NAMES)
def test_a_task_without_images_is_refused_in_one_line(name):
    with pytest.raises(ConfigError, match=rf"remedies={name}: changes images, and this task shows none \(adding\)"):
        checked_job(composed("task=adding", f"remedies=[{name}]"))


@pytest.mark.parametrize("name", NAMES)
def test_the_order_in_which_pixels_are_shown_makes_no_difference(name):
    changed = []
    for variant in ("pixels", "permuted", "rows"):
        task = example("task/digits", variant=variant)
        batch = task.sample(Stream(SEEDS, "train"), 5)
        inputs = remedy_of(name).inputs(batch.inputs, task, Stream(SEEDS, "remedy", 3))
        assert inputs.shape == batch.inputs.shape
        assert not torch.equal(inputs, batch.inputs)
        changed.append(task.as_images(inputs))
    assert torch.equal(changed[0], changed[1])
    assert torch.equal(changed[0], changed[2])


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_trained_on_is_changed_and_anew_at_every_update(name):
    job = replica_of(name)
    training = Training([job.replica], job.engine, CPU)
    plain = Training([dataclasses.replace(job.replica, remedies={})], job.engine, CPU)
    batch = next(training.batches())
    (first, _), (second, _) = (training.gradients(update, batch) for update in (0, 1))
    assert not torch.equal(first.inputs, batch.inputs)
    assert not torch.equal(first.inputs, second.inputs)
    for ours, theirs in zip(training.evaluator.heldout, plain.evaluator.heldout, strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
    assert torch.equal(training.sequences.probe(3).inputs, plain.sequences.probe(3).inputs)
