"""The fused engine's kernels under Triton's interpreter, numpy in place of a GPU: their logic, not their precision.

Not collected by itself, for Triton decides when it is imported: `test_fused.py` runs this file with TRITON_INTERPRET=1.
"""

import dataclasses

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from bench.engines import triton_kernels
from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS, Interventions
from bench.engines.fused import FusedProgram, Pass
from bench.nets.network import Network
from bench.pack.streams import Stream
from tasks.task import Batch
from tests.engines.test_engines import SEEDS, START, Cubed, assert_close, example, network_mask

CELLS = ("tanh", "irnn", "lstm")
TASKS = {
    "adding": {"length": 5},
    "copying": {"length": 2, "symbols": 2},
    "varying lengths": {"variant": "hochreiter", "length": 20},
}
TOLERANCE = 1e-6  # of float32, over a few steps


def setting(cell_name, task_name="adding", hidden=10, sequences=5, scale=1.0):
    """A network and a batch in float32."""
    task = example(f"task/{'copying' if task_name == 'copying' else 'adding'}", **TASKS[task_name])
    network = Network(example(f"cell/{cell_name}", hidden=hidden), task.inputs, task.outputs)
    flat = (scale * network.initial([START] * len(SEEDS), SEEDS)).float()
    return network, task, flat, task.sample(Stream(SEEDS, "train"), sequences)


def program(network, task, interventions=NO_INTERVENTIONS):
    return FusedProgram(network, task, interventions)


def exactly(batch):
    """In float64."""
    return batch.mapped(lambda part: part.double() if part.is_floating_point() else part)


def agree(network, task, flat, batch):
    """Loss, gradient by parameter, trace and answers are those of `eager` in float64."""
    eager = Eager().program(network, task)
    oracle = eager.gradients(flat.double(), exactly(batch), trace=True)
    ours = program(network, task)
    result = ours.gradients(flat, batch, trace=True)
    assert_close(result.loss.double(), oracle.loss, TOLERANCE)
    for name, view in network.views(result.gradient).items():
        assert_close(view.double(), network.views(oracle.gradient)[name], TOLERANCE)
    assert (result.gradient[~network_mask(network, flat)] == 0).all()
    assert set(result.trace) == set(network.cell.states)
    for name, norms in result.trace.items():
        for t in range(task.least_steps):
            assert_close(norms[..., t], oracle.trace[name][..., t], TOLERANCE)
    answers, exact = ours.answers(flat, batch), eager.answers(flat.double(), exactly(batch))
    assert_close(answers.outputs.double(), exact.outputs, TOLERANCE)
    assert torch.equal(answers.alive, exact.alive)


@pytest.mark.parametrize("task_name", ["copying", "varying lengths"])
@pytest.mark.parametrize("cell_name", CELLS)
def test_it_agrees_with_eager(cell_name, task_name):
    agree(*setting(cell_name, task_name))


@pytest.mark.parametrize(("cell_name", "hidden"), [("tanh", 70), ("irnn", 128), ("lstm", 64)])
def test_it_agrees_with_eager_at_other_sizes(cell_name, hidden):
    """Two tiles of sequences, the second with one of them; more units than one program of `outer_products` takes."""
    agree(*setting(cell_name, "copying", hidden=hidden, sequences=17))


@pytest.mark.parametrize("cell_name", ["tanh", "lstm"])
def test_asking_for_the_trace_does_not_change_the_gradient(cell_name):
    network, task, flat, batch = setting(cell_name)
    without, with_trace = (program(network, task).gradients(flat, batch, trace) for trace in (False, True))
    assert torch.equal(without.gradient, with_trace.gradient)
    assert without.trace == {}


@pytest.mark.parametrize("cell_name", CELLS)
def test_bits_do_not_depend_on_the_pack(cell_name):
    network, task, flat, batch = setting(cell_name)
    whole = program(network, task).gradients(flat, batch)
    for members in ([1], [2, 0]):
        part = program(network, task).gradients(flat[members], batch.at(members))
        assert torch.equal(part.gradient, whole.gradient[members])
        assert torch.equal(part.loss, whole.loss[members])


@pytest.mark.parametrize(("where", "poison"), [("x", torch.nan), ("x", torch.inf), ("W_hh", torch.inf)])
@pytest.mark.parametrize("cell_name", CELLS)
def test_nan_and_infinity_come_through_where_they_do_in_torch(cell_name, where, poison):
    network, task, flat, batch = setting(cell_name)
    if where == "x":
        batch.inputs[1, 2, 3, 0] = poison
    else:
        network.views(flat)[where][1, ..., 1, 0] = poison
    with np.errstate(all="ignore"):
        result, answers = program(network, task).gradients(flat, batch), program(network, task).answers(flat, batch)
    batched = Batched().program(network, task)
    expected, outputs = batched.gradients(flat, batch), batched.answers(flat, batch).outputs
    assert torch.equal(result.loss.isfinite(), expected.loss.isfinite())
    assert torch.equal(result.gradient.isfinite().all(-1), expected.gradient.isfinite().all(-1))
    assert torch.equal(answers.outputs.isfinite(), outputs.isfinite())
    assert outputs[[0, 2]].isfinite().all()


@pytest.mark.parametrize("cell_name", ["irnn", "lstm"])
def test_a_sequence_that_has_ended_holds_its_state(cell_name):
    network, task, flat, batch = setting(cell_name, "varying lengths")
    ours = program(network, task)
    through_time = Pass(ours._kind, ours._shape(keep=True, varying=True, trace=False), flat, batch)
    through_time.forward()
    held = torch.arange(task.steps) >= batch.lengths[..., None]
    assert held.any()
    for kept in (through_time.states, *([through_time.cells] if cell_name == "lstm" else [])):
        last = kept.take_along_dim(batch.lengths[..., None, None] - 1, dim=2).expand_as(kept)
        assert torch.equal(kept[held], last[held])
        assert not torch.equal(kept[~held], last[~held])


def test_a_state_that_would_overflow_after_its_end_spoils_nothing():
    """The states grow by 100 at every step to about 1e37 at the end of the sequences, and so to infinity after it."""
    task = example("task/adding", variant="pascanu", length=30)
    network = Network(example("cell/irnn", hidden=4), task.inputs, task.outputs)
    batches = (task.sample(Stream([seed], "train"), 3) for seed in range(999))
    batch = next(batch for batch in batches if batch.lengths[0, 0] == 30)
    flat = torch.zeros(1, network.flat_size)
    weights = network.views(flat)
    weights["W_hh"].copy_(100 * torch.eye(4))
    weights["W_xh"].fill_(1e-21)
    weights["W_hy"].fill_(1e-37)
    with np.errstate(all="ignore"):  # in what is not taken over
        gradient = program(network, task).gradients(flat, batch).gradient
    fixed = dataclasses.replace(task, variant="halves", length=30)
    alone = program(network, fixed).gradients(flat, Batch(batch.inputs[:, :, :30], batch.targets)).gradient
    assert gradient.isfinite().all()
    assert torch.allclose(gradient, alone, rtol=1e-6, atol=0)


def test_trace_reaches_down_to_the_smallest_float32():
    """.03^24 is 1e-37: its square is nothing in float32, the gradient itself is not."""
    task = example("task/adding", length=25)
    network = Network(example("cell/irnn", hidden=8), task.inputs, task.outputs)
    flat = torch.zeros(1, network.flat_size)
    weights = network.views(flat)
    weights["W_hh"].copy_(0.03 * torch.eye(8))
    for name in ("W_xh", "b", "W_hy"):
        weights[name].fill_(0.1)
    batch = task.sample(Stream([0], "train"), 2)
    slope = program(network, task).gradients(flat, batch, trace=True).trace["h"].log().diff(dim=-1)
    assert torch.allclose(slope, torch.full_like(slope, -np.log(0.03)), rtol=1e-4)


def test_a_dead_net_is_seen():
    network, task, flat, batch = setting("irnn")
    network.views(flat[1])["b"].fill_(-100.0)
    assert program(network, task).answers(flat, batch).alive.tolist() == [True, False, True]


def test_a_loss_of_a_remedy_is_trained_on():
    network, task, flat, batch = setting("tanh", "copying")
    interventions = Interventions(remedies={"cubed": Cubed()})
    oracle = Eager().program(network, task, interventions).gradients(flat.double(), exactly(batch)).gradient
    assert_close(program(network, task, interventions).gradients(flat, batch).gradient.double(), oracle, TOLERANCE)


@triton.jit
def both(x_at, tanh_at, sigmoid_at, size: tl.constexpr):
    place = tl.arange(0, size)
    x = tl.load(x_at + place)
    tl.store(tanh_at + place, triton_kernels.tanh(x))
    tl.store(sigmoid_at + place, triton_kernels.sigmoid(x))


def test_tanh_and_sigmoid_are_exact_to_a_few_units_in_the_last_place():
    """From the smallest numbers over where the formula changes to infinity."""
    size = np.concatenate([np.geomspace(1e-30, 0.5, 1000), np.linspace(0.5, 20, 1045), [80.0, 500.0, np.inf]])
    x = torch.from_numpy(np.concatenate([-size[::-1], size])).float()
    tanh, sigmoid = torch.empty_like(x), torch.empty_like(x)
    with np.errstate(all="ignore"):
        both[(1,)](x, tanh, sigmoid, len(x))
    epsilon = torch.finfo(torch.float32).eps
    exact = torch.tanh(x.double())
    assert ((tanh - exact).abs() <= 2 * epsilon * exact.abs()).all()
    assert torch.equal(tanh, -tanh.flip(0))
    exact = torch.sigmoid(x.double())
    assert ((sigmoid - exact).abs() <= 3 * epsilon * exact)[x > -80].all()
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()
