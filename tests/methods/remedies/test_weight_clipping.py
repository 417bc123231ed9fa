"""Weight clipping against numpy, and in a run."""

import dataclasses

import numpy as np
import torch

from bench.pack.fields import joined
from bench.training.loop import Training
from tests.methods.remedies.setting import CPU, remedy_of, replica_of, setting


def test_it_is_numpys_clip_with_each_replicas_own_limit():
    view = setting()
    limits = (0.05, 0.2, np.inf)
    ours = joined([remedy_of("weight_clipping", limit=limit) for limit in limits]).after(view, view.flat)
    for row, weights, limit in zip(ours, view.flat, limits, strict=True):
        assert np.array_equal(row, np.clip(weights.numpy(), -limit, limit))
    assert (ours[0] != view.flat[0]).any()


def test_no_weight_of_a_run_is_ever_beyond_its_limit():
    job = replica_of("weight_clipping", "cell=lstm", "initializer/bias=forget_gate", "optimizer.lr=0.1")
    training = Training([job.replica], job.engine, CPU)
    largest = [float(training.flat.abs().max()) for _ in training.each_update()]
    assert largest == [np.float32(0.1)] * job.replica.updates


def test_a_replica_that_makes_no_step_keeps_its_weights():
    job = replica_of("weight_clipping", "nonfinite=skip")
    pack = [dataclasses.replace(job.replica, seed=seed) for seed in (0, 1)]
    training = Training(pack, job.engine, CPU)
    before = training.flat.clone()
    batch, gradients = training.gradients(0, next(training.batches()))
    gradients.gradient[1, 7] = torch.inf
    training.advance(0, batch, gradients)
    assert torch.equal(training.flat[1], before[1])
    assert training.flat[0].abs().max() == np.float32(0.1)
