"""What only a GPU can tell: every engine is exact, a replica's bits are its own, a run goes on where it stopped."""

import dataclasses
import math

import pytest
import torch

from bench.__main__ import main
from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.fused import Fused, FusedExact
from bench.engines.graphed import CapturedFunction, Graphed
from bench.engines.library import Library
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.speed.precision import errors
from bench.training.loop import Training
from tests.engines.test_engines import START, TASKS, assert_close, example

GPU = torch.device("cuda")
ENGINES = {  # none in TF32
    "fused": Fused(),
    "fused_exact": FusedExact(),
    "graphed": Graphed(),
    "batched": Batched(),
    "library": Library(tf32=False),
}
CELLS = ("tanh", "irnn", "lstm", "gru")
FUSED = [
    *(("tanh", 10), ("tanh", 64), ("tanh", 100), ("irnn", 100), ("irnn", 128), ("lstm", 33), ("lstm", 64)),
    *(("gru", 64), ("lem", 50), ("lru", 128), ("layer_norm_tanh", 100), ("antisymmetric", 64)),
]

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def setting(cell_name, task_name, hidden=64, dtype=torch.float32, sequences=21, replicas=5):
    """A pack and a batch on the GPU; 21 sequences are two tiles, the second of five."""
    name, fields = TASKS[task_name]
    task = example(f"task/{name}", **fields)
    network = Network(example(f"cell/{cell_name}", hidden=hidden), task.inputs, task.outputs)
    seeds = list(range(replicas))
    flat = network.initial([START] * replicas, seeds).to(GPU, dtype)
    return network, task, flat, task.sample(Stream(seeds, "train", dtype=dtype, device=GPU), sequences)


def in_float64(batch):
    return batch.mapped(lambda part: part.double() if part.is_floating_point() else part)


def supporting(network):
    return {name: engine for name, engine in ENGINES.items() if engine.supports(network, GPU)}


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize(("cell_name", "hidden"), [*FUSED, ("lstm", 128), ("gru", 128)])
def test_every_engine_agrees_with_eager_in_float64(cell_name, hidden, task_name):
    network, task, flat, batch = setting(cell_name, task_name, hidden)
    eager = Eager().program(network, task)
    oracle, answers = (
        eager.gradients(flat.double(), in_float64(batch), True),
        eager.answers(flat.double(), in_float64(batch)),
    )
    engines = supporting(network)
    assert ("fused" in engines) == ((cell_name, hidden) in FUSED)
    for engine in engines.values():
        program = engine.program(network, task)
        for _ in range(2):  # recorded, then replayed
            result = program.gradients(flat, batch, trace=True)
        assert_close(result.loss.double(), oracle.loss, 1e-5)
        for name, view in network.views(result.gradient).items():
            assert_close(view.double(), network.views(oracle.gradient)[name], 3e-5)  # of layer normalization 1.1e-5
        for name, norms in result.trace.items():
            assert_close(norms, oracle.trace[name], 1e-5)
        found = program.answers(flat, batch)
        assert_close(found.outputs.double(), answers.outputs, 1e-5)
        assert torch.equal(found.alive, answers.alive)


@pytest.mark.parametrize("cell_name", CELLS)
def test_float64_is_float64(cell_name):
    network, task, flat, batch = setting(cell_name, "adding", hidden=10, dtype=torch.float64)
    oracle = Eager().program(network, task).gradients(flat, batch).gradient
    for engine in supporting(network).values():
        assert_close(engine.program(network, task).gradients(flat, batch).gradient, oracle)


@pytest.mark.parametrize("engine", ["fused", "graphed"])
def test_a_recording_is_replayed_and_its_answers_are_kept(engine):
    network, task, flat, batch = setting("tanh", "adding")
    program = ENGINES[engine].program(network, task)
    first = program.gradients(flat, batch)
    kept = first.gradient.clone()
    second = program.gradients(2 * flat, batch)
    assert torch.equal(first.gradient, kept)
    assert not torch.equal(second.gradient, kept)
    assert torch.equal(program.gradients(flat, batch).gradient, kept)
    (recorded,) = program._passes.values()
    assert recorded.graph is not None


@pytest.mark.parametrize("engine", ["fused", "graphed"])
def test_a_recording_within_a_larger_one_gives_the_same_bits(engine):
    """As the training loop records a whole update; the pass has run before, and is asked with a trace first."""
    network, task, flat, batch = setting("lstm", "lengths of a sequence")
    program = ENGINES[engine].program(network, task)
    program.gradients(flat, batch, trace=True)
    expected = program.gradients(flat, batch).gradient
    whole = CapturedFunction(lambda flat, batch: 2 * program.gradients(flat, batch).gradient, flat, batch, warm_up=0)
    assert torch.equal(whole(flat, batch), 2 * expected)
    assert torch.equal(program.gradients(flat, batch).gradient, expected)
    assert torch.equal(whole(flat, batch), 2 * expected)


@pytest.mark.parametrize("engine", ["fused", "graphed"])
def test_memory_is_what_is_said(engine):
    """The memory of a pack through 1000 steps is within a fifth of the estimate."""
    task = example("task/adding", length=1000)
    network = Network(example("cell/lstm", hidden=64), task.inputs, task.outputs)
    replicas, sequences = 32, 32
    flat = network.initial([START], [0]).float().to(GPU).expand(replicas, -1).contiguous()
    batch = task.sample(Stream(list(range(replicas)), "train", device=GPU), sequences)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    program = ENGINES[engine].program(network, task)
    program.gradients(flat, batch)
    taken = torch.cuda.max_memory_allocated() - before
    said = 4 * replicas * ENGINES[engine].activation_count(network, task.steps, sequences)
    print(f"\n{engine}: {taken / said:.2f} of what is said", end="")
    assert abs(taken / said - 1) < 0.2


@pytest.mark.parametrize(("cell_name", "hidden"), FUSED)
def test_bits_do_not_depend_on_the_pack(cell_name, hidden):
    """A replica's bits are the same alone and among more replicas than there are multiprocessors."""
    network, task, flat, batch = setting(cell_name, "copying", hidden, replicas=200)
    program = Fused().program(network, task)
    whole = program.gradients(flat, batch, trace=True)
    for members in ([5], [199, 2], list(range(40, 47)), list(range(150))):
        part = program.gradients(flat[members], batch.at(members), trace=True)
        assert torch.equal(part.gradient, whole.gradient[members])
        for name in whole.trace:
            assert torch.equal(part.trace[name], whole.trace[name][members])


@pytest.mark.parametrize(("cell_name", "hidden"), FUSED)
def test_asking_for_the_trace_does_not_change_the_gradient(cell_name, hidden):
    network, task, flat, batch = setting(cell_name, "adding", hidden)
    program = Fused().program(network, task)
    without, with_trace = (program.gradients(flat, batch, trace).gradient for trace in (False, True))
    assert torch.equal(without, with_trace)


@pytest.mark.parametrize("case", ["near-identity ReLU", "orthogonal tanh", "LSTM that keeps"])
def test_the_gradient_through_1000_steps_is_exact(case):
    hidden = 64 if "LSTM" in case else 128
    found = errors(Fused(), case, steps=1000, hidden=hidden, device=GPU)
    print(f"\n{case}: {', '.join(f'{name} {error:.1e}' for name, error in found.items())}", end="")
    assert found["first state"] < 1e-3


@pytest.mark.parametrize("case", ["near-identity ReLU", "LSTM"])
def test_torch_nn_is_exact_unless_tf32_is_named(case):
    exact, rounded = (errors(Library(tf32), case, steps=200, hidden=64, device=GPU)["W_hh"] for tf32 in (False, True))
    assert exact < 1e-4
    assert rounded > 3 * exact


def test_a_trace_falls_on_to_1e_30():
    """.3^57 is 1e-30: its square is nothing in float32, and the least of its three parts is still a bfloat16."""
    task = example("task/adding", length=58)
    network = Network(example("cell/irnn", hidden=8), task.inputs, task.outputs)
    flat = torch.zeros(2, network.flat_size, device=GPU)
    weights = network.views(flat)
    weights["W_hh"].copy_(0.3 * torch.eye(8))
    for name in ("W_xh", "b", "W_hy"):
        weights[name].fill_(0.1)
    batch = task.sample(Stream([0, 1], "train", device=GPU), 4)
    slope = Fused().program(network, task).gradients(flat, batch, trace=True).trace["h"].log().diff(dim=-1)
    assert torch.allclose(slope, torch.full_like(slope, -math.log(0.3)), rtol=1e-4)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm"])
def test_nan_and_infinity_stay_in_their_replica(cell_name, poison):
    network, task, flat, batch = setting(cell_name, "adding", hidden=16)
    network.views(flat)["W_hh"][1, ..., 1, 0] = poison
    gradient = Fused().program(network, task).gradients(flat, batch).gradient
    expected = Batched().program(network, task).gradients(flat, batch).gradient
    assert torch.equal(gradient.isfinite().all(-1), expected.isfinite().all(-1))
    assert gradient[[0, 2, 3, 4]].isfinite().all()


def test_a_pack_of_more_numbers_than_32_bits_can_count():
    task = example("task/adding", length=1000)
    network = Network(example("cell/tanh", hidden=128), task.inputs, task.outputs)
    replicas, sequences = 530, 32
    assert replicas * sequences * task.steps * 128 > 2**31
    if torch.cuda.mem_get_info()[0] < 60 * 2**30:
        pytest.skip("needs 60 GiB of the GPU's memory")
    flat = network.initial([START], [0]).float().to(GPU).expand(replicas, -1).contiguous()
    batch = task.sample(Stream([0], "train", device=GPU), sequences)
    alone = Fused().program(network, task).gradients(flat[:1], batch).gradient
    many = batch.mapped(lambda part: part.expand(replicas, *part.shape[1:]).contiguous())
    gradient = Fused().program(network, task).gradients(flat, many).gradient
    assert torch.equal(gradient[-1:], alone)
    torch.cuda.empty_cache()


def runs(make_replica, cell_name, seeds, *overrides):
    small = (f"cell={cell_name}", "cell.hidden=33", "batch_size=5", "task.length=20", "updates=40")
    replica = make_replica(*small, "optimizer.lr=0.01", "evaluation.every=10", *overrides)
    return [dataclasses.replace(replica, seed=seed) for seed in seeds]


@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm"])
def test_bits_of_a_run_depend_on_no_neighbour_and_on_no_measurement(make_replica, cell_name):
    whole = Training(runs(make_replica, cell_name, range(20)), Fused(), GPU)
    whole.run()
    for members in ([5], [6, 2], list(range(20))):
        measured = "measurement=[training_gradient]" if len(members) == 20 else "measurement=[]"
        part = Training(runs(make_replica, cell_name, members, measured), Fused(), GPU)
        part.run()
        assert torch.equal(part.flat, whole.flat[members])


@pytest.mark.parametrize("engine", ["fused", "graphed", "batched"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_a_run_goes_on_in_the_same_bits(make_replica, engine, optimizer):
    replicas = runs(make_replica, "tanh", range(3), f"optimizer={optimizer}")
    whole = Training(replicas, ENGINES[engine], GPU)
    whole.run()
    first = Training(replicas, ENGINES[engine], GPU)
    states = next(first.states() for update in first.each_update() if update == 17)
    second = Training(replicas, ENGINES[engine], GPU, states)
    second.run()
    assert torch.equal(second.flat, whole.flat)


@pytest.mark.parametrize("engine", ["fused", "graphed", "auto"])
def test_a_sweep_runs_on_the_gpu(tmp_path, engine):
    small = ("cell.hidden=16", "task.length=10", "updates=5", "evaluation.sequences=8", "evaluation.final=8")
    command = ["-m", "cell=tanh,lstm", "seed=range(2)", "device=cuda", f"engine={engine}", *small]
    assert main([*command, f"results={tmp_path}", "hydra.launcher.workers=1"]) == 0
    assert len(list(tmp_path.rglob("finished"))) == 4
