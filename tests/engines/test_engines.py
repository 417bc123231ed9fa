"""All engines agree with `eager`, and `eager` with finite differences and torch.nn."""

import dataclasses
import functools
import math

import pytest
import torch

from bench.engines import compiled
from bench.engines.auto import Auto
from bench.engines.batched import Batched
from bench.engines.compiled import Compiled
from bench.engines.eager import Eager
from bench.engines.engine import Interventions
from bench.engines.library import Library
from bench.engines.sweeps.elman import ELMAN_SWEEPS
from bench.jobs import compose
from bench.methods.remedies.remedy import Remedy
from bench.nets.cells.elman import Elman
from bench.nets.cells.gru import GRU
from bench.nets.cells.lstm import LSTM
from bench.nets.initializers import Initializers, PyTorch
from bench.nets.network import Network
from bench.pack.streams import Stream
from tasks.task import Batch
from tests.conftest import choices, one_of_each_class

TASKS = {
    "adding": ("adding", {"length": 12}),
    "copying": ("copying", {"length": 4, "symbols": 3}),
    "lengths of a batch": ("adding", {"variant": "pascanu", "length": 30}),
    "lengths of a sequence": ("temporal_order", {"variant": "hochreiter", "length": 30}),
}
VARYING = ["lengths of a batch", "lengths of a sequence"]
COMPILED = pytest.param(
    Compiled(), marks=pytest.mark.skipif(not compiled.available(), reason="there is no C compiler"), id="compiled"
)
ENGINES = {"batched": Batched(), "compiled": Compiled(), "library": Library(tf32=False)}
SEEDS = [0, 1, 2]
CPU = torch.device("cpu")
START = Initializers(*[PyTorch()] * 5)


@functools.cache
def as_in_yaml(choice):
    return compose.example(choice)


def example(choice, **fields):
    """`compose.example`, reading each yaml once."""
    return dataclasses.replace(as_in_yaml(choice), **fields)


def supported(engine):
    """Cells of `conf/` that an engine can train."""
    networks = {name: Network(example(f"cell/{name}"), inputs=2, outputs=1) for name in choices("cell")}
    return [name for name, network in networks.items() if engine.supports(network, CPU)]


CELLS = supported(Eager())
BATCHED = supported(Batched())
DIFFERENTIABLE = [name for name in CELLS if not example(f"cell/{name}").surrogate_gradient]
FAST = [(name, cell) for name, engine in ENGINES.items() for cell in supported(engine)]
ALL = [(engine, cell) for engine in (*ENGINES.values(), Eager()) for cell in supported(engine)]
EACH = [(engine, cell) for engine, cell in ALL if cell in {*one_of_each_class("cell"), "tanh", "irnn"}]
APART = [name for name in CELLS if not example(f"cell/{name}").population_size]  # no sequence sees another


class Cubed(Remedy):
    """A loss that no kernel has: L + L^3."""

    def losses(self, losses):
        return lambda outputs, targets: losses(outputs, targets) + losses(outputs, targets) ** 3


def test_who_trains_what():
    assert choices("cell") == CELLS
    kinds = {name: example(f"cell/{name}") for name in CELLS}
    gated = [name for name, cell in kinds.items() if type(cell) in (LSTM, GRU)]
    elman = [name for name, cell in kinds.items() if type(cell) is Elman and cell.activation in ELMAN_SWEEPS]
    assert sorted(gated + elman) == BATCHED
    assert supported(Library(tf32=False)) == ["gru", "irnn", "lstm", "tanh"]
    timeless = [name for name in CELLS if not as_in_yaml(f"cell/{name}").varies]
    assert supported(Compiled()) == (timeless if compiled.available() else [])


def setting(cell_name, task_name, hidden=10, dtype=torch.float64, sequences=5, scale=2.0):
    """A network off its start, so that gates saturate and ReLUs die here and there, and a batch."""
    name, fields = TASKS[task_name]
    task = example(f"task/{name}", **fields)
    network = Network(example(f"cell/{cell_name}", hidden=hidden), task.inputs, task.outputs)
    flat = scale * network.initial([START] * len(SEEDS), SEEDS)
    batch = task.sample(Stream(SEEDS, "train", dtype=dtype), sequences)
    return network, task, flat.to(dtype), batch


def assert_close(ours, theirs, tolerance=1e-10):
    assert ((ours - theirs).norm() <= tolerance * theirs.norm()).item()


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize(("engine", "cell_name"), FAST)
def test_loss_gradient_and_trace_agree_with_eager(engine, cell_name, task_name):
    network, task, flat, batch = setting(cell_name, task_name)
    oracle = Eager().program(network, task).gradients(flat, batch, trace=True)
    result = ENGINES[engine].program(network, task).gradients(flat, batch, trace=True)
    assert_close(result.loss, oracle.loss)
    for name, view in network.views(result.gradient).items():
        assert_close(view, network.views(oracle.gradient)[name])
    assert set(result.trace) == set(network.cell.states)
    for name, norms in result.trace.items():
        assert norms.shape == (3, 5, task.least_steps)
        for t in range(task.least_steps):
            assert_close(norms[..., t], oracle.trace[name][..., t])


@pytest.mark.parametrize("task_name", ["copying", *VARYING])
@pytest.mark.parametrize(("engine", "cell_name"), FAST)
def test_answers_agree_with_eager(engine, cell_name, task_name):
    network, task, flat, batch = setting(cell_name, task_name)
    oracle = Eager().program(network, task).answers(flat, batch)
    result = ENGINES[engine].program(network, task).answers(flat, batch)
    assert_close(result.outputs, oracle.outputs)
    assert torch.equal(result.alive, oracle.alive)


@pytest.mark.parametrize(("engine", "cell_name"), [(engine, cell) for engine, cell in EACH if cell in APART])
@pytest.mark.parametrize("variant", ["pascanu", "hochreiter"])
def test_a_padded_batch_is_its_sequences_one_by_one_without_padding(engine, cell_name, variant):
    task = example("task/adding", variant=variant, length=20)
    network = Network(example(f"cell/{cell_name}", hidden=10), task.inputs, task.outputs)
    flat = 2 * network.initial([START] * len(SEEDS), SEEDS)
    batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64), 4)
    padded = engine.program(network, task).gradients(flat, batch, trace=True)
    answers = engine.program(network, task).answers(flat, batch).outputs
    assert len(batch.lengths.unique()) > 1
    loss, gradient = torch.zeros(3, dtype=torch.float64), torch.zeros_like(flat)
    fixed = example("task/adding", variant="halves")
    for r in range(3):
        for b in range(4):
            length = int(batch.lengths[r, b])
            alone = Batch(batch.inputs[r : r + 1, b : b + 1, :length], batch.targets[r : r + 1, b : b + 1])
            program = engine.program(network, dataclasses.replace(fixed, length=length))
            solo = program.gradients(flat[r : r + 1], alone, trace=True)
            loss[r] += solo.loss[0] / 4
            gradient[r] += solo.gradient[0] / 4
            assert_close(answers[r, b], program.answers(flat[r : r + 1], alone).outputs[0, 0])
            for name, norms in solo.trace.items():
                assert torch.allclose(padded.trace[name][r, b], norms[0, 0, -task.least_steps :], rtol=1e-9)
    assert_close(padded.loss, loss)
    assert_close(padded.gradient, gradient)


@pytest.mark.parametrize("engine", [Batched(), COMPILED, Eager()])
def test_a_state_that_would_overflow_after_its_end_spoils_nothing(engine):
    """A state of 1e34 after 100 steps is 1e39 after 109: a sequence that has ended must not go on growing."""
    task = example("task/adding", variant="pascanu", length=100)
    network = Network(example("cell/irnn", hidden=8), task.inputs, task.outputs)
    flat = torch.zeros(1, network.flat_size)
    weights = network.views(flat)
    weights["W_hh"].copy_(4 * torch.eye(8))
    weights["W_xh"].fill_(1e-26)
    weights["W_hy"].fill_(1e-34)
    seed = next(s for s in range(999) if task.sample(Stream([s], "train"), 1).lengths[0, 0] == 100)
    batch = task.sample(Stream([seed], "train"), 4)
    gradient = engine.program(network, task).gradients(flat, batch).gradient
    assert gradient.isfinite().all()
    fixed = example("task/adding", variant="halves", length=100)
    alone = engine.program(network, fixed).gradients(flat, Batch(batch.inputs[:, :, :100], batch.targets)).gradient
    assert torch.equal(gradient, alone)


@pytest.mark.parametrize("cell_name", BATCHED)
def test_padding_at_the_end_changes_no_bit(cell_name):
    """Where a whole batch has one length, `batched` gives the bits of the batch without its padding."""
    task = example("task/adding", variant="pascanu", length=60)
    network = Network(example(f"cell/{cell_name}", hidden=10), task.inputs, task.outputs)
    flat = network.initial([START], [0]).float()
    batch = task.sample(Stream([1], "train"), 5)
    length = int(batch.lengths[0, 0])
    assert length < task.steps
    whole = Batched().program(network, task).gradients(flat, batch)
    fixed = example("task/adding", variant="halves", length=length)
    cut = Batched().program(network, fixed).gradients(flat, Batch(batch.inputs[:, :, :length], batch.targets))
    assert torch.equal(whole.loss, cut.loss)
    assert torch.equal(whole.gradient, cut.gradient)


@pytest.mark.parametrize("engine", [Batched(), COMPILED, Library(tf32=False), Eager()])
def test_a_dead_net_is_seen(engine):
    network, task, flat, batch = setting("irnn", "adding")
    network.views(flat[1])["b"].fill_(-100.0)
    assert engine.program(network, task).answers(flat, batch).alive.tolist() == [True, False, True]


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("cell_name", DIFFERENTIABLE)
def test_eager_gradient_agrees_with_finite_differences(cell_name, task_name):
    if cell_name not in APART and task_name in VARYING:
        pytest.skip("such a run is refused")
    network, task, flat, batch = setting(cell_name, task_name, hidden=4, scale=1.0)
    program = Eager().program(network, task)
    gradient = program.gradients(flat, batch).gradient
    generator = torch.Generator().manual_seed(0)
    mask = (network_mask(network, flat)).double()
    directions = torch.stack([torch.randn(flat.shape, generator=generator, dtype=torch.float64) for _ in range(5)])
    directions *= mask
    slopes, checks = (slopes_along(program, flat, batch, directions, step) for step in (2e-6, 1e-6))
    smooth = torch.isclose(slopes, checks, rtol=1e-5, atol=1e-8)  # no kink or jump lies between
    assert (smooth.sum(-1) >= len(SEEDS) - 1).all()
    slopes = checks + (checks - slopes) / 15  # a layer norm is so curved that step^4 is seen
    assert torch.allclose((gradient * directions).sum(-1)[smooth], slopes[smooth], rtol=1e-6, atol=1e-9)


def slopes_along(program, flat, batch, directions, step):
    """Derivatives of each replica's loss along directions [D, R, P], by differences; their error is of order step^4."""
    moves = step * torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
    moved = flat + moves[:, None, None, None] * directions
    pack = batch.at([*range(len(flat))] * (len(moves) * len(directions)))
    losses = program.loss_alone(moved.flatten(0, -2), pack).unflatten(0, moved.shape[:-1])
    far_behind, behind, ahead, far_ahead = losses
    return (8 * (ahead - behind) - (far_ahead - far_behind)) / (12 * step)


def network_mask(network, flat):
    """True where a parameter is, False in the padding."""
    mask = torch.zeros_like(flat)
    for view in network.views(mask).values():
        view.fill_(1)
    return mask != 0


WHOLE, PADDED = (16, torch.float64), (10, torch.float32)  # units with and without padding
OTHERS = [(16, torch.float32), (10, torch.float64)]  # for `compiled` in test_own_cells.py


@pytest.mark.parametrize(
    ("engine", "cell_name", "hidden", "precision"),
    [
        *((engine, cell, *size) for engine, cell in EACH for size in (WHOLE, PADDED)),
        *((engine, cell, *size) for engine, cell in EACH for size in OTHERS if isinstance(engine, Batched | Library)),
    ],
)
def test_bits_do_not_depend_on_the_pack(engine, cell_name, hidden, precision):
    """With an odd number of sequences, so that no replica is a whole number of vector registers by chance."""
    task = example("task/adding", length=5)
    network = Network(example(f"cell/{cell_name}", hidden=hidden), task.inputs, task.outputs)
    flat = 2 * network.initial([START] * 7, list(range(7))).to(precision)
    batch = task.sample(Stream(list(range(7)), "train", dtype=precision), 3)
    program = engine.program(network, task)
    whole, answers = program.gradients(flat, batch), program.answers(flat, batch).outputs
    for members in ([5], [6, 2], [4, 0, 3], [1, 6, 5, 2, 0]):
        part = program.gradients(flat[members], batch.at(members))
        assert torch.equal(part.loss, whole.loss[members])
        assert torch.equal(part.gradient, whole.gradient[members])
        assert torch.equal(program.answers(flat[members], batch.at(members)).outputs, answers[members])


@pytest.mark.parametrize(("engine", "cell_name"), ALL)
def test_gradient_of_the_padding_is_zero(engine, cell_name):
    network, task, flat, batch = setting(cell_name, "copying")
    gradient = engine.program(network, task).gradients(flat, batch).gradient
    assert (gradient[~network_mask(network, flat)] == 0).all()


@pytest.mark.parametrize("cell_name", sorted({*DIFFERENTIABLE} & {*APART}))
def test_trace_is_the_derivative_of_a_sequences_own_loss(cell_name):
    """Against a kick: the loss of one sequence when its hidden state is moved at one step."""
    network, task, flat, batch = setting(cell_name, "copying", hidden=4, scale=1.0)
    trace = Eager().program(network, task).gradients(flat, batch, trace=True).trace["h"]
    weights, kicked_at, hidden, step = network.cell.prepared(network.views(flat)), 5, 4, 1e-6

    def loss(kick):
        state, outputs = network.zero_state(weights, 5), []
        for t, x in enumerate(batch.inputs.unbind(-2)):
            state = network.cell.step(network.cell.at(weights, t), x, state)
            if t == kicked_at:
                state = (state[0] + kick, *state[1:])
            outputs.append(network.readout(weights, state[0]))
        return task.losses(torch.stack(outputs, dim=-2), batch.targets).mean(-1)

    slopes = [(loss(step * unit) - loss(-step * unit)) / (2 * step) for unit in torch.eye(hidden, dtype=torch.float64)]
    assert torch.allclose(torch.stack(slopes, -1).norm(dim=-1), trace[..., kicked_at], rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", choices("engine"))
def test_asking_for_the_trace_does_not_change_the_gradient(name):
    network, task, flat, batch = setting("lstm", "adding", dtype=torch.float32)
    engine = example(f"engine/{name}")
    engine = engine.chosen(network, CPU) if isinstance(engine, Auto) else engine
    if not engine.supports(network, CPU):
        pytest.skip(f"{name} cannot train here")
    without, with_trace = (engine.program(network, task).gradients(flat, batch, trace) for trace in (False, True))
    assert torch.equal(without.gradient, with_trace.gradient)
    assert without.trace == {}


@pytest.mark.parametrize("cell_name", BATCHED)
def test_float32_is_near_float64(cell_name):
    network, task, flat, batch = setting(cell_name, "adding", scale=1.0)
    exact = Batched().program(network, task).gradients(flat, batch, trace=True)
    single = Batch(batch.inputs.float(), batch.targets.float())
    result = Batched().program(network, task).gradients(flat.float(), single, trace=True)
    assert_close(result.gradient.double(), exact.gradient, 1e-5)
    assert_close(result.trace["h"].double(), exact.trace["h"], 1e-5)


@pytest.mark.parametrize("engine", [Eager(), Batched()])
def test_trace_reaches_down_to_the_smallest_float32(engine):
    """.3^72 is 1e-38: its square is nothing in float32, the gradient itself is not."""
    task = example("task/adding", length=73)
    network = Network(example("cell/irnn", hidden=8), task.inputs, task.outputs)
    flat = torch.zeros(2, network.flat_size)
    weights = network.views(flat)
    weights["W_hh"].copy_(0.3 * torch.eye(8))
    for name in ("W_xh", "b", "W_hy"):
        weights[name].fill_(0.1)
    batch = task.sample(Stream([0, 1], "train"), 4)
    trace = engine.program(network, task).gradients(flat, batch, trace=True).trace["h"]
    slope = trace.log().diff(dim=-1)
    assert torch.allclose(slope, torch.full_like(slope, -math.log(0.3)), rtol=1e-4)


def test_small_states_keep_their_relative_precision():
    """2 sigmoid(2x) - 1 would lose them: at 1e-6 its relative error is a few percent."""
    network, task, flat, batch = setting("tanh", "adding", dtype=torch.float32)
    flat = flat * 1e-6
    outputs = Batched().program(network, task).answers(flat, batch).outputs
    batch = Batch(batch.inputs.double(), batch.targets.double())
    exact = Eager().program(network, task).answers(flat.double(), batch).outputs
    assert_close(outputs.double(), exact, 1e-5)


@pytest.mark.parametrize("cell_name", BATCHED)
def test_nan_and_infinity_come_through(cell_name):
    network, task, flat, batch = setting(cell_name, "adding", dtype=torch.float32)
    network.views(flat)["W_xh"][1, ..., 0, 0] = torch.nan
    result = Batched().program(network, task).gradients(flat, batch)
    assert result.loss.isnan().tolist() == [False, True, False]
    assert result.gradient.isfinite().all(-1).tolist() == [True, False, True]
    assert (Batched().program(network, task).answers(flat, batch).outputs[1]).isnan().any()


def test_saturation_gives_no_nan():
    network, task, flat, batch = setting("lstm", "adding", dtype=torch.float32, scale=1e4)
    assert Batched().program(network, task).gradients(flat, batch).gradient.isfinite().all()


@pytest.mark.parametrize("compiler", [True, False])
def test_auto_takes_the_fastest_that_can_do_what_is_asked(monkeypatch, compiler):
    monkeypatch.setattr(compiled, "available", lambda: compiler)
    without = {"lstm": Batched(), "silu": Batched(), "lru": Eager()}
    clipping = Interventions(example("clipping/state_norm"))
    for name, engine in without.items():
        network = setting(name, "adding")[0]
        assert (
            Auto().chosen(network, CPU) == Auto().chosen(network, CPU, clipping) == (Compiled() if compiler else engine)
        )


def test_identity_net_has_a_flat_trace_and_a_linear_one_its_power():
    """With all units active a ReLU net is linear: ||dL/dh_t|| = |error| ||(W^T)^(T-t) w||."""
    task = example("task/adding", length=12)
    network = Network(example("cell/irnn", hidden=8), task.inputs, task.outputs)
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.eye(8), 0.5 * torch.eye(8), torch.rand(8, 8, generator=generator) / 4]
    flat = torch.zeros(3, network.flat_size, dtype=torch.float64)
    weights = network.views(flat)
    weights["W_hh"].copy_(torch.stack(matrices))
    weights["W_xh"].fill_(0.3)
    weights["b"].fill_(0.1)  # positive weights and inputs: every unit is active
    weights["W_hy"].copy_(torch.rand(8, generator=generator))
    batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64), 4)
    for engine in (Eager(), Batched()):
        trace = engine.program(network, task).gradients(flat, batch, trace=True).trace["h"]
        outputs = engine.program(network, task).answers(flat, batch).outputs[..., 0]
        error = (2 * (outputs - batch.targets)).abs()
        for replica in range(3):
            vector = weights["W_hy"][replica, 0]
            for t in reversed(range(12)):
                assert torch.allclose(trace[replica, :, t], error[replica, :, 0] * vector.norm(), rtol=1e-10)
                vector = weights["W_hh"][replica].mT @ vector
        assert torch.allclose(trace[0], trace[0, :, -1:].expand(4, 12), rtol=1e-12)
