"""A skip through time against a list of all states so far, and at share 1 against nets that take turns."""

import pytest
import torch

from bench.engines import compiled
from bench.engines.eager import Eager
from bench.jobs.compose import example
from bench.measurements.measurement import Snapshot
from bench.methods.remedies.skip import SkipCell
from bench.nets.initializers import Initializers, PyTorch
from bench.nets.network import Network
from bench.pack.streams import Stream
from tests.conftest import small_task
from tests.nets.unrolled import inputs, unrolled


def pair(cell_name, lag, share):
    inner = example(f"cell/{cell_name}", hidden=6)
    network = Network(inner, inputs=3, outputs=2)
    weights = network.views(3 * network.initial([Initializers(*[PyTorch()] * 5)], [0])[0])
    return SkipCell(6, inner, lag, share), inner, weights


@pytest.mark.parametrize(("lag", "share"), [(2, 0.5), (3, 0.2), (5, 1.0)])
@pytest.mark.parametrize("cell_name", ["tanh", "lstm", "lru"])
def test_a_cell_with_a_skip_steps_from_both_states(cell_name, lag, share):
    cell, inner, weights = pair(cell_name, lag, share)
    x = inputs(steps=12)
    ours = [torch.from_numpy(part) for part in unrolled(cell, weights, x)]
    prepared = inner.prepared(weights)
    history = [tuple(torch.zeros(4, 6, dtype=torch.float64) for _ in inner.states)] * lag
    for t in range(12):
        seen = tuple((1 - share) * new + share * old for new, old in zip(history[-1], history[-lag], strict=True))
        history.append(inner.step(prepared, x[:, t], seen))
        for back in range(lag):
            for k, part in enumerate(history[-1 - back]):
                assert torch.allclose(ours[back * len(inner.states) + k][:, t], part, rtol=1e-12, atol=1e-14)


def test_a_whole_skip_is_as_many_nets_that_take_turns():
    """Dilation 3: steps 1, 4, 7, ... know nothing of the others."""
    cell, inner, weights = pair("gru", 3, 1.0)
    x = inputs(steps=11)
    together = unrolled(cell, weights, x)[0]
    for first in range(3):
        alone = unrolled(inner, weights, x[:, first::3])[0]
        assert torch.allclose(*(torch.from_numpy(part) for part in (together[:, first::3], alone)), rtol=1e-13)


def test_parts_are_named_by_how_far_back_they_are():
    cell, _, _ = pair("lstm", 3, 0.5)
    assert cell.states == ("h", "c", "h-1", "c-1", "h-2", "c-2")


def test_units_are_saturated_in_every_part_as_in_the_newest():
    """h-2 of a step is h of two steps before."""
    cell, _, _ = pair("tanh", 3, 0.5)
    task = small_task("adding")
    network = Network(cell, task.inputs, task.outputs)
    flat = 8 * network.initial([Initializers(*[PyTorch()] * 5)], [0])
    heldout = task.sample(Stream([0], "heldout", dtype=torch.float64), 4)
    (rows,) = example("measurement/state").measure(Snapshot(network, task, flat, lambda count: heldout, {}))
    by_part = {name: rows["saturated"][rows["state"] == name] for name in cell.states}
    assert by_part["h"].max() > 0
    assert by_part["h-2"][2:].tolist() == by_part["h"][:-2].tolist()


@pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")
@pytest.mark.parametrize("task", ["copying", "adding"])
@pytest.mark.parametrize(("cell_name", "lag", "share"), [("tanh", 10, 0.5), ("lstm", 3, 0.5), ("lru", 2, 1.0)])
@pytest.mark.usefixtures("quickly_compiled")
def test_a_cell_with_a_skip_is_compiled(cell_name, lag, share, task):
    cell, _, _ = pair(cell_name, lag, share)
    task = small_task(task)
    network = Network(cell, task.inputs, task.outputs)
    flat = 2 * network.initial([Initializers(*[PyTorch()] * 5)] * 2, [0, 1])
    batch = task.sample(Stream([0, 1], "train", dtype=torch.float64), 3)
    ours, theirs = (
        engine.program(network, task).gradients(flat, batch, trace=True) for engine in (compiled.Compiled(), Eager())
    )
    assert torch.allclose(ours.gradient, theirs.gradient, rtol=1e-10, atol=1e-14)
    for name, norms in theirs.trace.items():
        assert torch.allclose(ours.trace[name], norms, rtol=1e-10, atol=1e-14)
