"""Dropout of the inputs: a new mask at every update, and none in judging."""

import dataclasses

import torch

from bench.training.loop import Training
from tests.methods.remedies.setting import CPU, replica_of


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
