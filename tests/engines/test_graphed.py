"""The graphed engine where there is no GPU: what it would record gives the bits of `batched` and waits for nobody."""

import pytest
import torch

from bench.engines.batched import Batched
from bench.engines.engine import Interventions
from bench.engines.graphed import CapturedFunction, Graphed
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.methods.remedies.remedy import Remedy
from bench.nets.network import Network
from bench.pack.fields import joined
from bench.pack.streams import Stream
from tests.conftest import choices, small_task
from tests.engines.absent import ABSENT, Meeting, alone
from tests.engines.test_engines import SEEDS, START, TASKS, example, setting, supported

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CELLS = ("tanh", "irnn", "gru", "lstm")
OTHER_LOSSES = [name for name in choices("remedies") if type(example(f"remedies/{name}")).losses is not Remedy.losses]
REPAIRING = [name for name in choices("clipping") if example(f"clipping/{name}").clips_state_gradient]


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


def absent(flat, batch):
    """The same on a device that is not there."""
    return flat.to(ABSENT), batch.mapped(lambda part: part.to(ABSENT))


def pass_alone(network, task, flat, batch, **interventions):
    """A pass and what it answers where host and device may not meet; the clipping rule and remedies are by name."""
    clipping = joined([example(f"clipping/{interventions.get('clipping', 'norm')}")] * len(flat), ABSENT)
    remedies = {
        name: joined([example(f"remedies/{name}")] * len(flat), ABSENT) for name in interventions.get("remedies", ())
    }
    program = Graphed().program(network, task, Interventions(clipping, remedies))
    flat, batch = absent(flat, batch)
    with alone() as operations:
        program.gradients(flat, batch, trace=True)
        program.answers(flat, batch)
    assert "bmm" in operations


@pytest.mark.parametrize("clipping", REPAIRING)
@pytest.mark.parametrize("cell_name", supported(Batched()))
def test_no_cell_and_no_clipping_on_the_way_back_waits_for_the_host(cell_name, clipping):
    pass_alone(*setting(cell_name, "lengths of a sequence", dtype=torch.float32), clipping=clipping)


@pytest.mark.parametrize("task_name", choices("task"))
def test_no_task_waits_for_the_host(task_name):
    task = small_task(task_name)
    network = Network(example("cell/irnn", hidden=10), task.inputs, task.outputs)
    flat = network.initial([START] * len(SEEDS), SEEDS).float()
    pass_alone(network, task, flat, task.sample(Stream(SEEDS, "train"), 2))


@pytest.mark.parametrize("remedy", OTHER_LOSSES)
def test_no_loss_of_a_remedy_waits_for_the_host(remedy):
    network, task, flat, batch = setting("tanh", "copying", dtype=torch.float32)
    pass_alone(network, task, flat, batch, remedies=[remedy])


@pytest.mark.parametrize(
    "wait",
    [
        lambda values, there: values.sum().item(),
        lambda values, there: bool((values > 0).all()),
        lambda values, there: values.nonzero(),
        lambda values, there: values[values > 0],
        lambda values, there: torch.equal(values, values),
        lambda values, there: values.cpu(),
        lambda values, there: values.tolist(),
        lambda values, there: values[[0, 2]],
        lambda values, there: values[there.long()],
        lambda values, there: values.copy_(there),
        lambda values, there: values + there,
        lambda values, there: there.to(values.device),
        lambda values, there: torch.tensor(1.0, device=values.device),
        lambda values, there: torch.as_tensor(1.0, device=values.device),
    ],
)
def test_what_waits_would_be_seen(wait):
    with pytest.raises((Meeting, RuntimeError)), alone():
        wait(torch.ones(3, device=ABSENT), torch.ones(3))


def test_what_does_not_wait_may_be_done():
    values, number = torch.ones(3, device=ABSENT), torch.tensor(2.0)
    with alone():
        values[..., 1] = 1
        assert (torch.where(values > 0, values, 0.0) * number + torch.arange(3, device=ABSENT)).device == ABSENT


def test_a_recording_keeps_its_own_batch():
    network, task, flat, batch = setting("lstm", "adding", dtype=torch.float32)
    program = Graphed().program(network, task)
    program.gradients(flat, batch)
    (recorded,) = program._passes.values()
    kept = [engine.activation_count(network, task.steps, batch.inputs.shape[1]) for engine in (Batched(), Graphed())]
    assert kept[1] - kept[0] == recorded.arguments[1].inputs[0].numel()


def test_a_recording_takes_and_gives_tuples_and_dicts():
    function = CapturedFunction(
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
    with pytest.raises(ConfigError, match=r"^engine=graphed: cannot train elman on cpu; engine=auto .*$"):
        checked_job(composed("engine=graphed", "device=cpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"^device=cuda: there is no CUDA device on this machine; use .*$"):
            checked_job(composed("device=cuda"))
