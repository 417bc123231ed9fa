"""Small packs with a remedy, for the tests of remedies."""

import math

import torch

from bench.engines.eager import Eager
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.methods.remedies.remedy import PackView
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.training.loop import Training
from tasks.ranges import ranges
from tests.conftest import SMALL_TASKS, accepted_task, small_task

SEEDS = [0, 1, 2]
QUICK = (
    *("cell.hidden=8", "batch_size=3", "updates=6", "initializer=pytorch"),
    *("evaluation.sequences=8", "evaluation.final=8", "measurement=[]"),
)
CPU = torch.device("cpu")


def remedy_of(name, **fields):
    return example(f"remedies/{name}", **fields)


def replica_of(name, *overrides):
    """A job with a remedy, small, on a task that the remedy accepts; limits that may be infinite are tight."""
    accepted = ranges(type(remedy_of(name)))
    tight = [f"remedies.{name}.{field}=0.1" for field, values in accepted.items() if math.inf in values]
    return checked_job(composed(*QUICK, *accepted_task(name), f"remedies=[{name}]", *tight, *overrides))


def plain(*overrides):
    """A small run without remedies."""
    return checked_job(composed(*QUICK, *SMALL_TASKS[0], *overrides)).replica


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
    return PackView(network, task, flat, network.mask(), batch, task.losses, update=3, updates=10)
