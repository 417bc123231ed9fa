"""The graphed engine where there is no GPU: what it would record gives the bits of `batched` and waits for nobody."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench import config
from bench.engines.batched import Batched
from bench.engines.engine import Treatment
from bench.engines.graphed import Graphed, Recorded
from bench.network import Network
from tests.engines.test_engines import TASKS, example, setting

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CELLS = ("tanh", "irnn", "gru", "lstm")
# what makes the host wait until the GPU has come so far, or makes the size of a tensor depend on what it found
WAITING = {"_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select", "unique2", "_unique2"}


def same(ours, theirs):
    assert torch.equal(ours.loss, theirs.loss)
    assert torch.equal(ours.gradient, theirs.gradient)
    assert set(ours.trace) == set(theirs.trace)
    assert all(torch.equal(ours.trace[name], theirs.trace[name]) for name in theirs.trace)


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("cell_name", CELLS)
def test_the_bits_are_those_of_batched(cell_name, task_name):
    network, task, flat, batch = setting(cell_name, task_name, dtype=torch.float32)
    ours, theirs = (engine.program(network, task) for engine in (Graphed(), Batched()))
    for trace in (True, False):
        same(ours.gradients(flat, batch, trace), theirs.gradients(flat, batch, trace))
    answers, expected = ours.answers(flat, batch), theirs.answers(flat, batch)
    assert torch.equal(answers.outputs, expected.outputs)
    assert torch.equal(answers.alive, expected.alive)


def test_every_call_takes_what_it_is_given_and_leaves_earlier_answers_alone():
    """A recording reads and writes where it did when it was made."""
    network, task, flat, batch = setting("lstm", "lengths of a sequence", dtype=torch.float32)
    ours, theirs = (engine.program(network, task) for engine in (Graphed(), Batched()))
    other = batch.mapped(lambda part: part.flip(0))
    calls = [(flat, batch), (2 * flat, batch), (flat, other), (flat[:2], batch.at(slice(2)))]
    results = [ours.gradients(*call, trace=True) for call in calls]
    for result, call in zip(results, calls, strict=True):
        same(result, theirs.gradients(*call, trace=True))
    assert len(ours._passes) == 2
    assert all(kept.graph is None for kept in ours._passes.values())


class Operations(TorchDispatchMode):
    """The names of the operations that run meanwhile."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("clipping", ["norm", "state_norm", "state_value"])
@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("cell_name", CELLS)
def test_nothing_in_a_pass_waits_for_the_host(cell_name, task_name, clipping):
    network, task, flat, batch = setting(cell_name, task_name, dtype=torch.float32)
    program = Graphed().program(network, task, Treatment(example(f"clipping/{clipping}")))
    with Operations() as operations:
        program.gradients(flat, batch, trace=True)
        program.answers(flat, batch)
    assert "bmm" in operations.names
    assert not operations.names & WAITING


def test_what_waits_would_be_seen():
    with Operations() as operations:
        flat = torch.ones(3)
        _ = flat.sum().item(), bool((flat > 0).all()), flat.nonzero(), torch.equal(flat, flat + 1), flat[flat > 0]
    assert {"_local_scalar_dense", "nonzero", "equal"} <= operations.names


def test_a_recording_takes_and_gives_tuples_and_dicts():
    function = Recorded(
        lambda pair, table: {"sum": (pair[0] + table["x"],)}, (torch.ones(2), None), {"x": torch.ones(2)}
    )
    first = function((torch.ones(2), None), {"x": torch.full((2,), 2.0)})
    second = function((torch.zeros(2), None), {"x": torch.zeros(2)})
    assert first["sum"][0].tolist() == [3, 3]
    assert second["sum"][0].tolist() == [0, 0]


def test_who_is_trained():
    assert Graphed().supports(Network(example("cell/lstm", hidden=300), 2, 1), GPU)
    assert not Graphed().supports(Network(example("cell/lru"), 2, 1), GPU)
    assert not Graphed().supports(Network(example("cell/lstm"), 2, 1), CPU)


def test_without_a_gpu_one_line_says_so():
    with pytest.raises(config.ConfigError, match=r"^engine=graphed: cannot train a Elman on cpu; engine=auto .*$"):
        config.job(config.composed("engine=graphed", "device=cpu"))
    if not torch.cuda.is_available():
        with pytest.raises(config.ConfigError, match=r"^device=cuda: there is no CUDA device on this machine; use .*$"):
            config.job(config.composed("device=cuda"))
