"""Truncated backpropagation is its definition: each stretch of losses alone, the state before its window a constant."""

import pytest
import torch

from bench.check.gradcheck import check
from bench.engines.compiled import available
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS, Interventions
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.network import Network
from bench.pack.streams import Stream
from tests.engines.test_engines import START, TASKS, assert_close, example
from tests.methods.remedies.setting import SEEDS, remedy_of, replica_of

CUTS = [(1, 1), (1, 4), (3, 3), (3, 5), (5, 100)]


def setting(cell, task_name):
    kind, fields = TASKS[task_name]
    task = example(f"task/{kind}", **fields)
    network = Network(example(f"cell/{cell}", hidden=5), task.inputs, task.outputs)
    flat = 2 * network.initial([START] * 3, SEEDS)
    return network, task, flat, task.sample(Stream(SEEDS, "train", dtype=torch.float64), 3)


def found(network, task, flat, batch, cut=None):
    remedies = {"cut": remedy_of("truncated_backpropagation", k1=cut[0], k2=cut[1])} if cut else {}
    return Eager().program(network, task, Interventions(None, remedies)).gradients(flat, batch, trace=True)


def defined(network, task, flat, batch, k1, k2):
    """The gradient [R, P], one stretch, one sequence after the other, each run from its first step."""
    flat = flat.clone().requires_grad_()
    total = torch.zeros(())
    for r in range(3):
        weights = network.views(flat[r])
        for b in range(3):
            length = task.steps if batch.lengths is None else int(batch.lengths[r, b])
            scored = [t - (task.steps - length) for t in task.scored]
            for start in range(0, task.steps, k1):
                stop = min(start + k1, task.steps)
                state = network.zero_state(weights, 1)
                for t in range(min(stop, length)):
                    if t == stop - k2:
                        state = tuple(part.detach() for part in state)
                    state = network.cell.step(weights, batch.inputs[r, b : b + 1, t], state)
                    if t >= start and t in scored:
                        target = batch.targets[r, b, None, scored.index(t)]
                        loss = task.losses(network.readout(weights, state[0]), target).sum()
                        total = total + loss / 3 / len(scored)
    return torch.autograd.grad(total, flat)[0]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("cell", "task_name"),
    [("tanh", "copying"), ("lstm", "copying"), ("tanh", "adding"), ("lstm", "lengths of a sequence")],
)
def test_gradient_is_that_of_the_definition(cell, task_name, cut):
    case = setting(cell, task_name)
    ours = found(*case, cut)
    assert_close(ours.gradient, defined(*case, *cut), 1e-10)
    assert_close(ours.loss, found(*case).loss, 1e-12)


@pytest.mark.parametrize("k1", [1, 3, 100])
@pytest.mark.parametrize("task_name", ["copying", "lengths of a batch"])
def test_a_way_back_as_long_as_the_sequence_is_the_gradient(task_name, k1):
    case = setting("lstm", task_name)
    ours, whole = found(*case, (k1, 100)), found(*case)
    assert_close(ours.gradient, whole.gradient, 1e-11)
    for state, norms in whole.trace.items():
        assert_close(ours.trace[state], norms, 1e-11)


def test_the_trace_ends_where_the_way_back_does():
    trace = found(*setting("tanh", "adding"), (1, 4)).trace["h"]
    assert (trace[..., :-4] == 0).all()
    assert (trace[..., -4:] > 0).all()


def test_only_eager_trains_it():
    assert replica_of("truncated_backpropagation").engine == Eager()
    for engine in ("batched", *(["compiled"] if available() else [])):
        with pytest.raises(ConfigError, match=f"^engine={engine}: cannot truncate backpropagation through time; "):
            replica_of("truncated_backpropagation", f"engine={engine}")


def test_more_than_goes_back_at_a_time_is_refused_in_one_line():
    with pytest.raises(
        ConfigError, match=r"^remedies\.truncated_backpropagation\.k1=9: must be <= k2=5, or some losses"
    ):
        checked_job(composed("remedies=[truncated_backpropagation]", "remedies.truncated_backpropagation.k1=9"))


def test_its_gradient_is_that_of_no_loss():
    with pytest.raises(ConfigError, match="remedies=truncated_backpropagation: its gradient is by definition not that"):
        check(["remedies=[truncated_backpropagation]"], 1e-6)
    assert NO_INTERVENTIONS.truncation is None
