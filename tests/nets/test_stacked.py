"""Several layers of a cell: torch.nn's own, by every initialiser and engine, and as measured as one layer is."""

import dataclasses

import pytest
import torch

from bench.engines import compiled
from bench.engines.compiled import Compiled
from bench.engines.eager import Eager
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed, example
from bench.jobs.job import checked_job
from bench.measurements.jacobian import jacobians
from bench.nets.cells.stacked import Stacked, stacked
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.runs import references
from bench.training.loop import Training
from tests.conftest import EVERYTHING_MEASURED, assert_same_tables, choices, remedies_with, with_seeds
from tests.engines.test_engines import SEEDS, START, TASKS, assert_close
from tests.nets.test_cells import network_of, random_weights, unrolled


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("name", ["tanh", "irnn", "lstm", "gru"])
def test_layers_agree_with_those_of_torch_nn(name, layers):
    cell = stacked(example(f"cell/{name}", hidden=6), layers)
    weights = network_of(cell).views(random_weights(network_of(cell), 1)[0][0])
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(name, torch.nn.RNN)
    extra = {"nonlinearity": cell.core.activation} if kind is torch.nn.RNN else {}
    module = kind(3, 6, num_layers=layers, batch_first=True, dtype=torch.float64, **extra)
    with torch.no_grad():
        for k in range(layers):
            getattr(module, f"weight_hh_l{k}").copy_(weights[f"W_hh_{k + 1}"].reshape(-1, 6))
            getattr(module, f"weight_ih_l{k}").copy_(weights[f"W_xh_{k + 1}"].flatten(0, -2))
            getattr(module, f"bias_ih_l{k}").copy_(weights[f"b_{k + 1}"].reshape(-1))
            second = getattr(module, f"bias_hh_l{k}").zero_()
            if name == "gru":
                second[-6:] = weights[f"b_hn_{k + 1}"]
        x = torch.rand(4, 7, 3, dtype=torch.float64)
        assert torch.allclose(unrolled(cell, weights, x), module(x)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", choices("cell"))
def test_every_cell_can_be_stacked(name):
    cell = stacked(example(f"cell/{name}", hidden=6), 2)
    network = network_of(cell)
    _, weights = random_weights(network, 2)
    prepared = cell.prepared(weights)
    after = cell.step(cell.at(prepared, 0), torch.rand(2, 5, 3, dtype=torch.float64), network.zero_state(weights, 5))
    assert len(after) == len(cell.states) == len(set(cell.states)) == 2 * len(cell.core.states)
    assert all(part.shape == (2, 5, 6) for part in after)
    blocks = cell.recurrent_blocks(prepared)
    assert len(blocks) == 2 * len(cell.core.recurrent_blocks(example_weights(cell.core)))
    assert all(block.shape == (2, 6, 6) for block in blocks.values())


def example_weights(cell):
    return cell.prepared(random_weights(network_of(cell), 1)[1])


def test_the_last_layers_state_stands_first_and_the_others_have_numbers():
    cell = stacked(example("cell/lstm", hidden=6), 3)
    assert cell.states == ("h", "c", "h_1", "c_1", "h_2", "c_2")
    assert cell.name == "lstm of 3 layers"
    assert list(cell.recurrent_blocks(example_weights(cell)))[:5] == ["W_hi_1", "W_hf_1", "W_hg_1", "W_ho_1", "W_hi_2"]


def test_layers_start_by_the_initialisers_of_their_roles():
    starts = ("initializer=orthogonal", "initializer/input=orthogonal")
    replica = checked_job(composed("cell=lstm", "cell.layers=2", "cell.hidden=8", *starts)).replica
    network = replica.network
    assert network.shape("W_xh_1") == (4, 8, 2)
    assert network.shape("W_xh_2") == (4, 8, 8)
    weights = network.views(network.initial([replica.initializer], [0])[0])
    unit = torch.eye(8, dtype=torch.float64).expand(4, 8, 8)
    for name in ("W_hh_1", "W_hh_2", "W_xh_2"):
        assert torch.allclose(weights[name] @ weights[name].mT, unit)
    assert not torch.equal(weights["W_hh_1"], weights["W_hh_2"])


@pytest.mark.skipif(not compiled.available(), reason="there is no C compiler")
@pytest.mark.parametrize("task_name", ["adding", "copying"])
@pytest.mark.parametrize("hidden", [16, 12])
@pytest.mark.parametrize(
    ("name", "layers"), [("tanh", 2), ("tanh", 3), ("lstm", 2), ("lstm", 3), ("gru", 2), ("lru", 2)]
)
@pytest.mark.usefixtures("quickly_compiled")
def test_compiled_agrees_with_eager(name, layers, hidden, task_name):
    kind, fields = TASKS[task_name]
    task = example(f"task/{kind}", **fields)
    network = Network(stacked(example(f"cell/{name}", hidden=hidden), layers), task.inputs, task.outputs)
    flat = 2 * network.initial([START] * len(SEEDS), SEEDS)
    batch = task.sample(Stream(SEEDS, "train", dtype=torch.float64), 5)
    ours, theirs = (
        engine.program(network, task).gradients(flat, batch, trace=True) for engine in (Compiled(), Eager())
    )
    assert_close(ours.loss, theirs.loss, 1e-12)
    assert_close(ours.gradient, theirs.gradient, 1e-10)
    assert tuple(ours.trace) == network.cell.states
    for state, norms in theirs.trace.items():
        assert_close(ours.trace[state], norms, 1e-10)


def test_state_jacobian_holds_the_way_between_layers():
    """h of the first layer moves that of the second at the same step, and not the other way round."""
    cell = stacked(example("cell/tanh", hidden=4), 2)
    weights = example_weights(cell)
    generator = torch.Generator().manual_seed(0)
    x, *state = (torch.rand(1, 2, n, dtype=torch.float64, generator=generator) for n in (3, 4, 4))
    found = jacobians(cell, weights, x, tuple(state))
    second, first = cell.step(weights, x, tuple(state))
    of_first = (1 - first.square())[..., None] * weights["W_hh_1"]
    of_second = (1 - second.square())[..., None] * weights["W_hh_2"]
    between = (1 - second.square())[..., None] * (weights["W_xh_2"] @ of_first)
    expected = torch.cat(
        (torch.cat((of_second, between), -1), torch.cat((torch.zeros_like(of_first), of_first), -1)), -2
    )
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", remedies_with("cell"))
def test_a_remedy_of_the_cell_is_in_every_layer(name):
    bare, cell = (
        checked_job(composed(*layers, "cell.hidden=8", f"remedies=[{name}]")).replica.network.cell
        for layers in ((), ("cell.layers=2",))
    )
    assert isinstance(cell, Stacked)
    assert cell.inner == bare


def test_one_layer_is_the_cell_itself_and_keeps_its_run_id():
    plain, one, two = (composed("cell=lstm", *more) for more in ((), ("cell.layers=1",), ("cell.layers=2",)))
    assert plain == one != two
    assert checked_job(plain).replica == checked_job(one).replica
    stored = {run.run_id for run in references.read("quick")}
    assert {checked_job(composed(*question)).replica.run_id for question in QUICK} <= stored


QUICK = [
    ("experiment=quick", "task.length=100", "updates=2500", "cell=tanh", "optimizer.lr=0.001", "clipping.threshold=10"),
    ("experiment=quick", "task.length=100", "updates=2500", "cell=lstm", "optimizer.lr=0.01", "clipping.threshold=10"),
]


def test_a_budget_counts_all_layers():
    replica = checked_job(composed("cell=lstm", "cell.layers=2", "cell.parameters=20000")).replica
    assert replica.network.parameter_count <= 20000
    more = dataclasses.replace(replica, cell=stacked(example("cell/lstm", hidden=replica.cell.hidden + 1), 2))
    assert more.network.parameter_count > 20000


@pytest.mark.parametrize(
    ("given", "message"),
    [("0", "cell.layers=0: must be a whole number >= 1"), ("1.5", "cell.layers=1.5: must be a whole number")],
)
def test_a_mistaken_number_of_layers_is_one_line(given, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        checked_job(composed(f"cell.layers={given}"))


def test_a_stack_is_the_same_in_every_pack_with_everything_measured(make_replica):
    replicas = with_seeds(make_replica("cell=lstm", "cell.layers=2", *EVERYTHING_MEASURED), range(3))
    together = Training(replicas, Compiled(), torch.device("cpu")).run()
    (alone,) = Training(replicas[1:2], Compiled(), torch.device("cpu")).run()
    assert_same_tables(together[1], alone)
    assert set(alone.table("spectrum")["block"]) == {f"W_h{gate}_{layer}" for gate in "ifgo" for layer in (1, 2)}
    assert set(alone.table("gradient_through_time")["state"]) == {"h", "c", "h_1", "c_1"}
