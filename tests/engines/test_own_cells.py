"""Any cell is compiled from its `step` alone: exact, the same in every pack, with all that is done within a pass."""

import dataclasses
import logging

import pytest
import torch

from bench.engines import building, compiled
from bench.engines.compiled import Compiled, CompiledProgram
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Interventions, Masks
from bench.methods.clipping import StateGradientClipping
from bench.nets.network import Network
from bench.pack.fields import joined
from bench.pack.streams import Stream
from tests.conftest import choices
from tests.engines.own_cells import OWN, Normalizing, Plain
from tests.engines.test_engines import CPU, SEEDS, START, TASKS, assert_close, example

pytestmark = pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")


def cells(hidden=10):
    """All of `conf/cell`, of `own_cells`, and some that see their state normalised."""
    known = {name: example(f"cell/{name}", hidden=hidden) for name in choices("cell")}
    known = {name: cell for name, cell in known.items() if not cell.varies}
    own = {kind.__name__: kind(hidden) for kind in OWN}
    normal = {f"normalised {n}": Normalizing(hidden, {**known, **own}[n]) for n in ("lstm", "lru", "lem")}
    return {**known, **own, **normal}


ALL = list(cells())
OF_CONF = ("tanh", "lstm", "gru", "lru", "exprnn", "lem", "slstm", "s5")  # unlike each other; test_engines.py has all
NAMES = [name for name in ALL if name in OF_CONF or name not in choices("cell")]


def setting(name, task_name, hidden=10, dtype=torch.float64, sequences=5, seeds=SEEDS, masked=False, scale=2.0):
    kind, fields = TASKS[task_name]
    task = example(f"task/{kind}", **fields)
    network = Network(cells(hidden)[name], task.inputs, task.outputs, masked)
    flat = scale * network.initial([START] * len(seeds), seeds)
    batch = task.sample(Stream(seeds, "train", dtype=dtype), sequences)
    return network, task, flat.to(dtype), batch


def assert_agrees(network, task, flat, batch, interventions=NO_INTERVENTIONS, masks=NO_MASKS, tolerance=1e-10):
    ours, theirs = (
        engine.program(network, task, interventions).gradients(flat, batch, trace=True, masks=masks)
        for engine in (Compiled(), Eager())
    )
    assert_close(ours.loss, theirs.loss, tolerance)
    views = network.views(theirs.gradient)
    for name, view in network.views(ours.gradient).items():
        assert_close(view, views[name], tolerance)
    assert list(ours.trace) == list(network.cell.states)
    for name, norms in ours.trace.items():
        assert_close(norms, theirs.trace[name], tolerance)
    untraced = Compiled().program(network, task, interventions).gradients(flat, batch, masks=masks)
    assert torch.equal(untraced.gradient, ours.gradient)
    mask = network.mask()
    assert (ours.gradient[:, ~mask] == 0).all()


@pytest.mark.parametrize("task_name", ["copying", "lengths of a sequence"])
@pytest.mark.parametrize("name", NAMES)
def test_loss_gradient_and_trace_agree_with_eager(name, task_name):
    assert_agrees(*setting(name, task_name))


@pytest.mark.parametrize(
    ("name", "hidden"), [*((name, hidden) for name in NAMES for hidden in (2, 16)), *((name, 34) for name in ALL)]
)
def test_other_numbers_of_units_agree_with_eager(name, hidden):
    assert_agrees(*setting(name, "copying", hidden=hidden, sequences=3, scale=1.0))


@pytest.mark.parametrize("name", ["tanh", "lstm", "lem", "Crossed", "Delayed", "normalised lru"])
def test_every_instruction_set_agrees_with_eager(name):
    """With so many units that weights are packed where vectors are short."""
    network, task, flat, batch = setting(name, "adding", hidden=64, sequences=3, scale=1.0)
    theirs = Eager().program(network, task).gradients(flat, batch)
    for march in building.instruction_sets():
        ours = CompiledProgram(network, task, NO_INTERVENTIONS, march).gradients(flat, batch)
        assert_close(ours.loss, theirs.loss)
        assert_close(ours.gradient, theirs.gradient)


@pytest.mark.parametrize("name", NAMES)
def test_answers_agree_with_eager(name):
    network, task, flat, batch = setting(name, "lengths of a sequence")
    ours, theirs = (engine.program(network, task).answers(flat, batch) for engine in (Compiled(), Eager()))
    assert_close(ours.outputs, theirs.outputs)
    assert torch.equal(ours.alive, theirs.alive)


def masks_of(network, task, flat, sequences=5):
    """Some of what is dropped, both masks."""
    generator = torch.Generator().manual_seed(1)
    read = len(Eager().program(network, task).read)

    def drawn(*shape):
        shape = (len(flat), sequences, *shape, network.cell.hidden)
        return (torch.rand(shape, generator=generator, dtype=torch.float64) > 0.3).double() / 0.7

    return Masks(drawn(), drawn(read))


@pytest.mark.parametrize("task_name", ["copying", "lengths of a sequence"])
@pytest.mark.parametrize("which", ["both", "recurrent", "readout", "none"])
@pytest.mark.parametrize("name", ["tanh", "lstm", "gru", "lru", "lem", "Delayed", "normalised lstm"])
@pytest.mark.usefixtures("quickly_compiled")
def test_dropout_within_a_pass_agrees_with_eager(name, which, task_name):
    network, task, flat, batch = setting(name, task_name, masked=True)
    both = masks_of(network, task, flat)
    masks = {"both": both, "recurrent": Masks(both.recurrent), "readout": Masks(None, both.readout), "none": NO_MASKS}
    assert_agrees(network, task, flat, batch, masks=masks[which])


@pytest.mark.parametrize(("name", "by"), [*((name, "value") for name in NAMES), *((name, "norm") for name in ALL)])
@pytest.mark.usefixtures("quickly_compiled")
def test_clipping_on_the_way_back_agrees_with_eager(name, by):
    network, task, flat, batch = setting(name, "lengths of a sequence")
    free = Eager().program(network, task).gradients(flat, batch, trace=True)
    norms = torch.stack(list(free.trace.values()), dim=1)  # [R, parts, B, T]
    usual = [own[own > 0].median().item() / (3 if by == "value" else 1) for own in norms]
    thresholds = (0.5 * usual[0], usual[1], torch.inf)
    interventions = Interventions(joined([StateGradientClipping(threshold, by) for threshold in thresholds]))
    assert_agrees(network, task, flat, batch, interventions)
    clipped = Compiled().program(network, task, interventions).gradients(flat, batch)
    changed = [
        not torch.allclose(one, two, rtol=1e-6) for one, two in zip(clipped.gradient, free.gradient, strict=True)
    ]
    assert changed == [True, True, False]


def test_clipping_and_dropout_together_agree_with_eager():
    network, task, flat, batch = setting("lem", "copying", masked=True)
    rule = joined([StateGradientClipping(0.01, "norm")] * len(SEEDS))
    assert_agrees(network, task, flat, batch, Interventions(rule), masks_of(network, task, flat))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [10, 16])
@pytest.mark.parametrize("name", NAMES)
def test_bits_do_not_depend_on_the_pack(name, hidden, dtype):
    """With an odd number of sequences, so that no replica is a whole number of vector registers by chance."""
    network, task, flat, batch = setting(name, "adding", hidden, dtype, sequences=3, seeds=list(range(31)))
    program = Compiled().program(network, task)
    whole, answers = program.gradients(flat, batch, trace=True), program.answers(flat, batch).outputs
    for members in ([5], [6, 2], [4, 0, 30, 1, 7, 5, 2]):
        part = program.gradients(flat[members], batch.at(members), trace=True)
        assert torch.equal(part.loss, whole.loss[members])
        assert torch.equal(part.gradient, whole.gradient[members])
        for state, norms in part.trace.items():
            assert torch.equal(norms, whole.trace[state][members])
        assert torch.equal(program.answers(flat[members], batch.at(members)).outputs, answers[members])


@pytest.mark.parametrize(
    ("name", "poison"),
    [*((name, poison) for name in NAMES for poison in (torch.inf, -torch.inf)), *((name, torch.nan) for name in ALL)],
)
def test_what_is_not_finite_comes_through_and_stays_in_its_replica(name, poison):
    network, task, flat, batch = setting(name, "copying", dtype=torch.float32)
    batch.inputs[1, 2, 3, 0] = poison
    ours, theirs = (
        engine.program(network, task).gradients(flat, batch, trace=True) for engine in (Compiled(), Eager())
    )
    assert torch.equal(ours.loss.isfinite(), theirs.loss.isfinite())
    assert ours.gradient[[0, 2]].isfinite().all()
    if not theirs.loss[1].isfinite():
        assert torch.equal(ours.gradient[1].isfinite().all(), theirs.gradient[1].isfinite().all())
    assert (ours.gradient[:, ~network.mask()] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_kept_are_as_many_as_are_said(name):
    """By the buffers of a pass for 20 steps against those for 10."""
    sizes = []
    for length in (10, 20):
        task = example("task/adding", length=length)
        network = Network(cells()[name], task.inputs, task.outputs)
        batch = task.sample(Stream([0], "train"), 3)
        program = Compiled().program(network, task)
        flat = torch.zeros(1, network.flat_size)
        sizes.append(program._pass(flat, batch, keep=True).memory.numel())
    counts = [Compiled().activation_count(network, length, 3) for length in (10, 20)]
    assert abs((sizes[1] - sizes[0]) - (counts[1] - counts[0])) < 16 * 30  # every array ends on a whole vector


def test_what_is_kept_of_the_known_cells():
    """An Elman step keeps h, a GRU's also r, z, n and W_hn h + b_hn, an LSTM's i, f, g, o, c and tanh(c)."""
    for name, parts in {"tanh": 1, "irnn": 1, "linear": 1, "gru": 5, "lstm": 7, "lem": 6, "Leaky": 2}.items():
        network = setting(name, "adding", hidden=16)[0]
        per_step = Compiled().activation_count(network, 2, 5) - Compiled().activation_count(network, 1, 5)
        assert per_step == parts * 5 * 16, name


@dataclasses.dataclass(frozen=True)
class Sorted(Plain):
    def step(self, weights, x, state):
        (h,) = state
        return (torch.tanh(self.sum_of(weights, x, h)).sort(-1).values,)


@dataclasses.dataclass(frozen=True)
class Branching(Plain):
    def step(self, weights, x, state):
        (h,) = state
        return (self.sum_of(weights, x, h) if h.sum() > 0 else 2 * self.sum_of(weights, x, h),)


@dataclasses.dataclass(frozen=True)
class InPlace(Plain):
    def step(self, weights, x, state):
        (h,) = state
        a = self.sum_of(weights, x, h)
        a.tanh_()
        return (a,)


@dataclasses.dataclass(frozen=True)
class AcrossSequences(Plain):
    def step(self, weights, x, state):
        (h,) = state
        a = self.sum_of(weights, x, h)
        return (a - a.mean(-2, keepdim=True),)


@dataclasses.dataclass(frozen=True)
class ByNumpy(Plain):
    def step(self, weights, x, state):
        (h,) = state
        return (torch.from_numpy(h.numpy()) + self.sum_of(weights, x, h),)


REFUSED = {
    Sorted: "sort",
    Branching: "a sum over all sequences|sum over all sequences",
    InPlace: "tanh_",
    AcrossSequences: "mean over sequences",
    ByNumpy: "numpy",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_step_that_does_what_is_not_known_is_refused_in_one_line(kind, caplog):
    network = Network(kind(6), 2, 1)
    with caplog.at_level(logging.WARNING):
        assert [Compiled().supports(network, CPU) for _ in range(2)] == [False, False]
    (record,) = caplog.records
    assert kind.__name__ in record.getMessage()
    assert any(word in record.getMessage() for word in REFUSED[kind].split("|"))
    assert "\n" not in record.getMessage()


def test_a_wrong_derivative_would_be_seen(monkeypatch):
    """The tests above can fail: with the sign of one rule changed they do."""
    from bench.engines import kernels
    from bench.engines.step import operations

    rule = operations.TABLE["tanh"]
    wrong = dataclasses.replace(rule, derivative=lambda d, y, a: (operations.neg(rule.derivative(d, y, a)[0]),))
    monkeypatch.setitem(operations.TABLE, "tanh", wrong)
    kernels.kernel.cache_clear()
    try:
        with pytest.raises(AssertionError):
            assert_agrees(*setting("lem", "copying"))
    finally:
        kernels.kernel.cache_clear()
