"""The fused engine's kernels under Triton's interpreter, numpy in place of a GPU: their logic, not their precision.

Not collected by itself, for Triton decides when it is imported: `test_fused.py` runs this file with TRITON_INTERPRET=1.
"""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from bench.engines import building, fused
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS, Interventions
from bench.engines.fused import FusedProgram, Pass
from bench.engines.rehearsal import Rehearsal
from bench.engines.step.operations import TABLE
from bench.nets.network import Network
from bench.pack.streams import Stream
from tasks.task import Batch
from tests.engines.step.test_operations import CONDITIONS, EXACT, PRECISIONS, exact_within, numbers, same
from tests.engines.test_engines import SEEDS, START, Cubed, assert_close, example, network_mask
from tests.engines.test_own_cells import cells
from tests.engines.test_random_steps import RECIPES, Random

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of numbers that are not taken over

CELLS = ("tanh", "irnn", "lstm")
TASKS = {
    "adding": {"length": 5},
    "copying": {"length": 2, "symbols": 2},
    "varying lengths": {"variant": "hochreiter", "length": 20},
}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}  # over a few steps


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
    tolerance, eager = TOLERANCE[flat.dtype], Eager().program(network, task)
    oracle = eager.gradients(flat.double(), exactly(batch), trace=True)
    ours = program(network, task)
    result = ours.gradients(flat, batch, trace=True)
    assert_close(result.loss.double(), oracle.loss, tolerance)
    for name, view in network.views(result.gradient).items():
        assert_close(view.double(), network.views(oracle.gradient)[name], tolerance)
    assert (result.gradient[~network_mask(network, flat)] == 0).all()
    assert set(result.trace) == set(network.cell.states)
    for name, norms in result.trace.items():
        for t in range(task.least_steps):
            assert_close(norms[..., t], oracle.trace[name][..., t], tolerance)
    answers, exact = ours.answers(flat, batch), eager.answers(flat.double(), exactly(batch))
    assert_close(answers.outputs.double(), exact.outputs, tolerance)
    assert torch.equal(answers.alive, exact.alive)


def agree_in_float64(cell):
    """In sequences of one length and of their own, with an input, a batch and outputs that fill no tile."""
    network = Network(cell, inputs=2, outputs=3)
    flat = 1.5 * network.initial([START, START], [0, 1])
    for shortest in (3, 2):
        task = Rehearsal("random", 2, 3, 3, shortest)
        agree(network, task, flat, task.sample(Stream([0, 1], "train", dtype=torch.float64), 3))


@pytest.mark.parametrize("name", cells())
def test_every_cell_agrees_with_eager_in_float64(name):
    agree_in_float64(cells()[name])


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(RECIPES.map(tuple))
def test_a_random_step_agrees_with_eager_in_float64(recipe):
    agree_in_float64(Random(7, recipe))


@pytest.mark.parametrize("task_name", ["copying", "varying lengths"])
@pytest.mark.parametrize("cell_name", CELLS)
def test_it_agrees_with_eager(cell_name, task_name):
    agree(*setting(cell_name, task_name))


@pytest.mark.parametrize(("cell_name", "hidden"), [("tanh", 70), ("irnn", 128), ("lstm", 64)])
def test_it_agrees_with_eager_at_other_sizes(cell_name, hidden):
    """Two tiles of sequences, the second with one of them; more units than one program of `outer_products` takes."""
    agree(*setting(cell_name, "copying", hidden=hidden, sequences=17))


@pytest.mark.parametrize("cell_name", CELLS)
def test_weight_gradients_summed_in_parts_are_the_same(monkeypatch, cell_name):
    """102 steps of all sequences in three parts, which a program's 16 at a time do not divide."""
    monkeypatch.setattr(fused, "PART", 32)
    agree(*setting(cell_name, "copying", sequences=17))


@pytest.mark.parametrize("cell_name", ["lstm", "layer_norm_relu"])
def test_memory_that_nobody_has_written_is_not_read(cell_name):
    network, task, flat, batch = setting(cell_name, "copying")
    expected = program(network, task).gradients(flat, batch).gradient
    through_time = Pass(program(network, task), flat, batch, keep=True, trace=False)
    through_time.kept.fill_(torch.nan)
    outputs = through_time.forward().requires_grad_()
    losses = task.losses(outputs[..., : network.outputs][:, :, -len(task.scored) :], batch.targets)
    (d_outputs,) = torch.autograd.grad(losses.flatten(-2).mean(-1).sum(), outputs)
    assert torch.equal(through_time.backward(d_outputs)[0], expected)


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
    result, answers = program(network, task).gradients(flat, batch), program(network, task).answers(flat, batch)
    eager = Eager().program(network, task)
    expected, outputs = eager.gradients(flat, batch), eager.answers(flat, batch).outputs
    assert torch.equal(result.loss.isfinite(), expected.loss.isfinite())
    assert torch.equal(result.gradient.isfinite().all(-1), expected.gradient.isfinite().all(-1))
    assert torch.equal(answers.outputs.isfinite(), outputs.isfinite())
    assert outputs[[0, 2]].isfinite().all()


@pytest.mark.parametrize("cell_name", ["irnn", "lstm"])
def test_a_sequence_that_has_ended_holds_its_state(cell_name):
    network, task, flat, batch = setting(cell_name, "varying lengths")
    through_time = Pass(program(network, task), flat, batch, keep=True, trace=False)
    through_time.forward()
    held = torch.arange(task.steps) >= batch.lengths[..., None]
    assert held.any()
    for kept in through_time.kept[..., : 16 * len(network.cell.states)].split(16, dim=-1):
        kept = kept[..., : network.cell.hidden]
        last = kept.take_along_dim(batch.lengths[..., None, None] - 1, dim=2).expand_as(kept)
        assert torch.equal(kept[held], last[held])
        assert not torch.equal(kept[~held], last[~held])


@pytest.mark.parametrize(("cell_name", "start"), [("irnn", 1e-21), ("silu", 1e-18)])
def test_a_state_that_would_overflow_after_its_end_spoils_nothing(cell_name, start):
    """The states grow by 100 at every step to about 1e37 at the end of the sequences, and so to infinity after it."""
    task = example("task/adding", variant="pascanu", length=30)
    network = Network(example(f"cell/{cell_name}", hidden=4), task.inputs, task.outputs)
    batches = (task.sample(Stream([seed], "train"), 3) for seed in range(999))
    batch = next(batch for batch in batches if batch.lengths[0, 0] == 30)
    flat = torch.zeros(1, network.flat_size)
    weights = network.views(flat)
    weights["W_hh"].copy_(100 * torch.eye(4))
    weights["W_xh"].fill_(start)
    weights["W_hy"].fill_(1e-37)
    through_time = Pass(program(network, task), flat, batch, keep=True, trace=False)
    through_time.forward()
    assert 3.5e36 < through_time.kept[..., :4].max() < torch.inf
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
    ours = program(network, task, interventions).gradients(flat, batch).gradient
    assert_close(ours.double(), oracle, TOLERANCE[torch.float32])


def in_triton(name, *inputs):
    """What an operation's text makes of tensors of one precision."""
    dtype = next((part.dtype for part in inputs if part.dtype != torch.bool), torch.float32)
    size = 1 << (len(inputs[0]) - 1).bit_length()
    given = [torch.nn.functional.pad(part.to(dtype), (0, size - len(part)), value=1.0) for part in inputs]
    loads = [f"tl.load(x{k} + place){' != 0' if k < CONDITIONS.get(name, 0) else ''}" for k in range(len(inputs))]
    text = f"""import triton
import triton.language as tl

from bench.engines.triton_functions import *


@triton.jit
def run({", ".join(f"x{k}" for k in range(len(inputs)))}, y, size: tl.constexpr):
    place = tl.arange(0, size)
    tl.store(y + place, {TABLE[name].text.format(*(f"({load})" for load in loads))})
"""
    out = torch.empty(size, dtype=torch.bool if TABLE[name].condition else dtype)
    building.module(text).run[(1,)](*given, out, size)
    return out[: len(inputs[0])]


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", TABLE)
def test_triton_agrees_with_torch(name, dtype):
    inputs = numbers(name, dtype)
    same(name, in_triton(name, *inputs), TABLE[name].torch(*inputs))


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", EXACT)
def test_triton_is_exact_to_a_few_units_in_the_last_place(name, dtype):
    exact_within(name, dtype, lambda x: in_triton(name, x))
