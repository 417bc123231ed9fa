"""Targets at every step: what is right so far, weighed as said, for training alone."""

import pytest
import torch

from bench.engines.compiled import Compiled, available
from bench.engines.eager import Eager
from bench.engines.engine import Interventions
from bench.jobs.build import ConfigError
from bench.nets.cells.elman import Elman
from bench.nets.network import Network
from bench.pack.fields import joined
from bench.pack.streams import Stream
from bench.training.loop import Training
from tests.conftest import small_task
from tests.engines.test_engines import START, assert_close
from tests.methods.remedies.setting import CPU, SEEDS, remedy_of, replica_of
from tests.tasks.test_so_far import TASKS

WEIGHTS = (0.5, 1.0, 3.0)


@pytest.mark.parametrize(("name", "fields"), TASKS)
@pytest.mark.parametrize(
    "engine", [Eager(), pytest.param(Compiled(), marks=pytest.mark.skipif(not available(), reason="no compiler"))]
)
def test_loss_and_gradient_are_those_of_the_definition(name, fields, engine):
    """L + weight mean_t l_t of a plainly unrolled net, a weight for each replica; lengths too."""
    task = small_task(name, **fields)
    remedy = joined([remedy_of("intermediate_targets", weight=weight) for weight in WEIGHTS])
    stepwise = remedy.task(task, 0, 1)

    network = Network(Elman(6, "tanh"), task.inputs, task.outputs)
    flat = network.initial([START] * 3, SEEDS).requires_grad_()
    plain, batch = (one.sample(Stream(SEEDS, "train", dtype=torch.float64), 4) for one in (task, stepwise))
    assert torch.equal(plain.inputs, batch.inputs)
    right, weights, losses = task.so_far(plain), network.views(flat), []
    for r, weight in enumerate(WEIGHTS):
        own = {symbol: value[r] for symbol, value in weights.items()}
        for b in range(4):
            length = task.steps if plain.lengths is None else int(plain.lengths[r, b])
            state, of_steps = network.zero_state(own, 1), []
            for t in range(length):
                state = network.cell.step(own, plain.inputs[r, b : b + 1, t], state)
                of_steps.append(task.losses(network.readout(own, state[0]), right[r, b, t : t + 1]).squeeze())
            last = torch.stack(of_steps[-task.least_steps :])
            losses.append(last[-1] + weight * last.mean())
    expected = torch.stack(losses).view(3, 4).mean(-1)
    (gradient,) = torch.autograd.grad(expected.sum(), flat)
    program = engine.program(network, stepwise, Interventions(None, {"intermediate_targets": remedy}))
    found = program.gradients(flat.detach(), batch)
    assert_close(found.loss, expected.detach(), 1e-12)
    assert_close(found.gradient, gradient, 1e-10)


def test_judged_is_the_task_itself():
    replica = replica_of("intermediate_targets").replica
    training = Training([replica], Eager(), CPU)
    assert training.evaluator.task == replica.task
    training.run()
    assert training.program.task != replica.task


def test_a_task_without_targets_at_its_steps_is_refused():
    with pytest.raises(ConfigError, match="remedies=intermediate_targets: offers no targets at its steps"):
        replica_of("intermediate_targets", "task=copying")
