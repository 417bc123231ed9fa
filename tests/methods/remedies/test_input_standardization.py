"""Standardised inputs: their moments, and that the net is judged with what it was trained with."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.methods.remedies.input_standardization import constants
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import choices, small_task
from tests.methods.remedies.setting import CPU, plain, remedy_of, replica_of


@pytest.mark.parametrize("name", choices("task"))
def test_channels_have_mean_0_and_variance_1_on_fresh_training_sequences(name):
    task = small_task(name)
    batch = task.sample(Stream(5, "train", dtype=torch.float64), 2000)
    seen = remedy_of("input_standardization", sequences=2000).shown(batch.inputs, task)
    if batch.lengths is None:
        varying = batch.inputs.flatten(0, 1).std(0) > 0
        moments = seen.flatten(0, 1)[:, varying]
        assert moments.mean(0).abs().max() < 0.2
        assert ((moments.std(0) - 1).abs() < 0.2).all()
    assert seen.isfinite().all()


def test_padding_does_not_count():
    task = small_task("adding", variant="hochreiter", length=30)
    batch = task.sample(Stream(0, "standardization", dtype=torch.float64), 50)
    own = np.concatenate([x[:length] for x, length in zip(batch.inputs.numpy(), batch.lengths, strict=True)])
    assert len(own) < 50 * task.steps
    for ours, expected in zip(constants(task, 50), (own.mean(0), own.std(0)), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_a_channel_that_does_not_vary_becomes_0():
    task = small_task("digits", variant="rows")
    images = task.split.train.pixels[: len(task.split.train.labels)]
    assert (images[..., 0] == 0).float().mean() > 0.9  # of the first column hardly a pixel is not black
    mean, deviation = constants(task, 1)
    still = deviation == 1
    assert still.any()
    assert (mean[still] == 0).any()


def test_the_net_is_judged_measured_and_trained_with_the_same_constants():
    """A net on standardised inputs is one on the inputs themselves, with W / deviation and b - W mean / deviation."""
    job = replica_of("input_standardization", "precision=float64", "cell=tanh")
    training = Training([dataclasses.replace(job.replica, seed=seed) for seed in (0, 3)], job.engine, CPU)
    bare = Training([dataclasses.replace(r, remedies={}) for r in training.replicas], job.engine, CPU)
    mean, deviation = constants(job.replica.task, job.replica.remedies["input_standardization"].sequences)
    weights = bare.network.views(bare.flat)
    weights["W_xh"].div_(deviation)
    weights["b"].sub_(weights["W_xh"] @ mean)
    for judged in ("judged", "judged_finally"):
        ours, theirs = (getattr(one.evaluator, judged)(one.flat) for one in (training, bare))
        np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-10)
    fitted = [one.evaluator.fitted(one.flat, 2)["train_accuracy"] for one in (training, bare)]
    np.testing.assert_array_equal(*fitted)
    batch = next(training.batches())
    losses = [one.gradients(0, batch)[1].loss for one in (training, bare)]
    assert torch.allclose(*losses, rtol=1e-10)
    seen = (bare.sequences.probe(3).inputs - mean) / deviation
    assert torch.allclose(training.sequences.probe(3).inputs, seen, rtol=1e-12)


def test_a_collection_is_judged_as_the_net_sees_it():
    bare = dataclasses.replace(plain(), task=small_task("digits", variant="rows"))
    remedy = remedy_of("input_standardization")
    ours, theirs = (
        Training([dataclasses.replace(bare, remedies=remedies)], replica_of("input_standardization").engine, CPU)
        for remedies in ({"s": remedy}, {})
    )
    for one, other in (
        (ours.evaluator.heldout, theirs.evaluator.heldout),
        (ours.evaluator.known, theirs.evaluator.known),
    ):
        for seen, shown in zip(one, other, strict=True):
            assert torch.equal(seen.inputs, remedy.shown(shown.inputs, bare.task))
