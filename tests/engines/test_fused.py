"""The fused engine where there is no GPU: its kernels compile for one and fit it, and their logic is right.

What only a GPU can tell (precision, bits, speed) stands in `tests/test_cuda.py` and `bench/speed/test_cuda.py`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.engines import fused
from bench.engines.engine import NO_INTERVENTIONS
from bench.engines.fused import Fused, FusedProgram, Pass, kernels, unfit
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.network import Network
from tasks.task import Batch
from tests.conftest import choices
from tests.engines.absent import ABSENT, alone
from tests.engines.own_cells import Moved
from tests.engines.test_engines import SEEDS, TASKS, example, setting
from tests.engines.test_own_cells import Sorted

triton = pytest.importorskip("triton", reason="there is no triton here: the fused engine's kernels are not checked")

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
REGISTERS = 255  # of a thread
SHARED = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}  # bytes of a program, by the kind of GPU
ANSWERING = ["forward", "readout"]


def training(network):
    """The kernels of a pass forward and back."""
    return [*ANSWERING, "backward", *(1 + len(kernels(network).source.gathered)) * ["outer_products"]]


def test_the_kernels_are_right_under_the_interpreter():
    """In a process of its own: Triton decides when it is imported."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/engines/interpreted.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def compiled(kernel, warps, arguments, kind):
    """A kernel as a launch with these arguments would compile it for a GPU of this kind, sm_80 and so on."""
    target = triton.backends.compiler.GPUTarget("cuda", kind, 32)
    backend, options = triton.compiler.make_backend(target), {"num_warps": warps}
    bind = triton.runtime.jit.create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, _ = bind(*arguments, **options)
    parsed, signature, constants, attributes = kernel._pack_args(backend, options, bound, specialization, options)
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options=vars(parsed))


def usage(kernel, folder):
    """Registers of a thread, bytes that it spills to memory, bytes of shared memory of a program."""
    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack, local = (int(re.search(rf"{name}:(\d+)", said)[1]) for name in ("REG", "STACK", "LOCAL"))
    return registers, stack + local, kernel.metadata.shared


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """The kernels of a pass with T = 1000 and B = 32: compiled, where on a GPU they would run."""
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))  # empty, so that they are compiled

    def kernels(cell_name, hidden, channels, varying, kind):
        made = []

        def launch(kernel, grid, warps, *given):
            made.append((kernel.__name__, compiled(kernel, warps, given, kind)))

        monkeypatch.setattr(fused, "launch", launch)
        task = example("task/adding", length=1000, variant="hochreiter" if varying else "halves")
        network = Network(example(f"cell/{cell_name}", hidden=hidden), inputs=channels, outputs=channels)
        batch = Batch(torch.zeros(1, 32, task.steps, channels), torch.zeros(1, 32, 1))
        if varying:
            batch = batch._replace(lengths=torch.full((1, 32), task.steps))
        program = FusedProgram(network, task, NO_INTERVENTIONS)
        rows = torch.zeros(1, program.kernels.step.row)
        answering, forth_and_back = (Pass(program, rows, batch, keep, trace=keep) for keep in (False, True))
        answering.forward()
        forth_and_back.backward(forth_and_back.forward())
        assert [name for name, _ in made] == [*ANSWERING, *training(network)]
        assert unfit(network, SHARED[kind], 6) is None
        return made

    return kernels


@pytest.mark.parametrize(
    ("cell_name", "hidden", "channels", "varying", "kinds"),
    [
        ("tanh", 128, 64, True, (80, 90)),
        ("tanh", 128, 32, True, (100,)),
        ("irnn", 128, 2, False, (90,)),
        ("lstm", 64, 32, True, (80, 90, 100)),
        ("gru", 64, 32, True, (90,)),
        ("lem", 64, 16, True, (90,)),
        ("min_lstm", 128, 16, True, (80,)),
        ("lru", 128, 16, True, (100,)),
    ],
)
def test_the_kernels_fit_the_gpu(launched, tmp_path, cell_name, hidden, channels, varying, kinds):
    """At the largest sizes that fit no register is spilled, and the weights stay on chip.

    No product is in TF32, Triton's default, which cuts 13 bits off; no sum is in an order that may differ; a launch
    allocates nothing, which it could not while a graph is recorded.
    """
    for kind in kinds:
        for name, kernel in launched(cell_name, hidden, channels, varying, kind):
            registers, spilled, shared = usage(kernel, tmp_path)
            print(f"\nsm_{kind} {cell_name} H={hidden} I=O={channels} {name}: ", end="")
            print(f"{registers} registers, {shared / 1024:.0f} KiB, {spilled} bytes spilled", end="")
            assert registers <= REGISTERS
            assert spilled == 0
            assert shared <= SHARED[kind]
            assert kernel.metadata.global_scratch_size == 0
            products = re.findall(r"tt\.dot .*", kernel.asm["ttir"])
            assert bool(products) or name == "forward"
            wanted = "bf16x6" if name in ("forward", "backward") else "ieee"
            assert all(("inputPrecision = bf16x6" in product) == (wanted == "bf16x6") for product in products)
            assert "tf32" not in kernel.asm["ptx"]
            assert not re.search(r"\b(atom|red)\.", kernel.asm["ptx"])


def refusal(monkeypatch, network, memory=SHARED[90], device=GPU):
    """Why a network is not trained by a GPU with so much memory on chip."""
    monkeypatch.setattr(fused, "available", lambda device, precision: True)
    monkeypatch.setattr(fused, "room", lambda device: memory)
    reason = Fused().refusal(network, device, NO_INTERVENTIONS)
    assert (reason is None) == Fused().supports(network, device)
    return reason


@pytest.mark.parametrize("memory", [SHARED[80], SHARED[90]])
@pytest.mark.parametrize("name", choices("cell"))
def test_every_cell_is_trained_up_to_a_size(monkeypatch, name, memory):
    """None with H = 1024; all with H = 32 but those whose weights differ from step to step."""
    large, small = (Network(example(f"cell/{name}", hidden=hidden), 2, 1) for hidden in (1024, 32))
    if small.cell.varies:
        assert "weights differ from step to step" in refusal(monkeypatch, small, memory)
        return
    assert refusal(monkeypatch, small, memory) is None
    reason = refusal(monkeypatch, large, memory)
    assert reason is None or f"KiB of shared memory, where the GPU has {memory // 1024}" in reason


def test_who_is_trained(monkeypatch):
    def trained(cell_name, hidden=64, inputs=2, outputs=1, masked=False, memory=SHARED[80]):
        network = Network(example(f"cell/{cell_name}", hidden=hidden), inputs, outputs, masked)
        return refusal(monkeypatch, network, memory) is None

    assert [trained("tanh", hidden) for hidden in (1, 128, 129)] == [True, True, False]
    assert [trained("lstm", hidden) for hidden in (1, 64, 65)] == [True, True, False]
    assert [trained("gru", hidden) for hidden in (1, 64, 65)] == [True, True, False]
    assert [trained("tanh", 128, inputs=64, outputs=64), trained("tanh", 128, inputs=65)] == [True, False]
    assert [trained("lstm", inputs=32, outputs=32), trained("lstm", inputs=33)] == [True, False]
    assert [trained("tanh", memory=99 * 1024), trained("tanh", 128, memory=99 * 1024)] == [True, False]
    assert not trained("tanh", masked=True)


def test_what_is_refused_says_why(monkeypatch):
    network = Network(Moved(32), 2, 1)
    assert "32 runs of units side by side, more than 16" in refusal(monkeypatch, network)
    assert "sort" in refusal(monkeypatch, Network(Sorted(6), 2, 1))
    assert (
        refusal(monkeypatch, Network(example("cell/tanh", hidden=8), 2, 1), device=CPU) == "cannot train elman on cpu"
    )


@pytest.fixture
def launches(monkeypatch):
    """What is launched by a pass, and with which tensors; nothing runs."""
    made = []

    def launch(kernel, grid, warps, *given):
        made.append((kernel.__name__, [part for part in given if isinstance(part, torch.Tensor)]))

    monkeypatch.setattr(fused, "launch", launch)
    return made


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm", "layer_norm_relu"])
def test_nothing_around_the_kernels_waits_for_the_host(launches, cell_name, task_name):
    network, task, flat, batch = setting(cell_name, task_name, dtype=torch.float32)
    program = Fused().program(network, task)
    assert program.capturable
    flat, batch = flat.to(ABSENT), batch.mapped(lambda part: part.to(ABSENT))
    with alone():
        program.gradients(flat, batch, trace=True)
        program.answers(flat, batch)
    assert [name for name, _ in launches] == [*training(network), *ANSWERING]
    assert all(part.device == ABSENT for _, given in launches for part in given)


@pytest.mark.parametrize("cell_name", ["antisymmetric", "exprnn", "lru", "s5", "layer_norm_lstm"])
def test_what_a_cell_prepares_is_made_where_its_parameters_are(launches, cell_name):
    """Not recorded, for it may wait for the host."""
    network, task, flat, batch = setting(cell_name, "adding", dtype=torch.float32)
    program = Fused().program(network, task)
    assert not program.capturable
    result = program.gradients(flat.to(ABSENT), batch.mapped(lambda part: part.to(ABSENT)), trace=True)
    assert result.gradient.device == ABSENT
    assert all(part.device == ABSENT for _, given in launches for part in given)


class Made(TorchDispatchMode):
    """Counts the numbers of the tensors that are made meanwhile to be filled by kernels."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if function.overloadpacket.__name__ in ("new_empty", "empty_like") and result.device == ABSENT:
            self.numbers += result.numel()
        return result


@pytest.mark.parametrize("cell_name", ["tanh", "lstm"])
def test_it_keeps_what_it_says(launches, cell_name):
    """By what a pass through 20 steps makes against one through 10, and by the batch that its recording has."""
    found, said = [], []
    for steps in (10, 20):
        task = example("task/adding", length=steps)
        network = Network(example(f"cell/{cell_name}", hidden=20), task.inputs, task.outputs)
        flat = torch.zeros(len(SEEDS), network.flat_size, device=ABSENT)
        inputs, targets = (torch.zeros(len(SEEDS), 5, *shape, device=ABSENT) for shape in ((steps, 2), (1,)))
        program = Fused().program(network, task)
        with Made() as made:
            program.gradients(flat, Batch(inputs, targets))
        (recorded,) = program._passes.values()
        found.append(made.numbers + recorded.arguments[1].inputs.numel())
        said.append(len(SEEDS) * Fused().activation_count(network, steps, 5))
    assert found[1] - found[0] == said[1] - said[0]


def test_a_gpu_and_triton_must_know_the_products(monkeypatch):
    known = []
    monkeypatch.setattr(fused, "_precisions", lambda: tuple(known))
    for capability, fits in (((7, 5), False), ((8, 0), True), ((8, 9), True), ((9, 0), True), ((10, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, number=capability: number)
        assert not fused.available(GPU, "ieee")
        known.append("ieee")
        assert fused.available(GPU, "ieee") == fits
        assert not fused.available(GPU, "bf16x6")
        known.clear()


def test_this_triton_knows_the_products():
    fused._precisions.cache_clear()
    assert set(fused.PER_WEIGHT) <= set(fused._precisions())


def test_without_a_gpu_one_line_says_so():
    with pytest.raises(ConfigError, match=r"^engine=fused: cannot train elman on cpu; engine=auto .*$"):
        checked_job(composed("engine=fused", "device=cpu"))


def test_a_tensor_off_its_place_is_brought_to_one():
    row = torch.arange(9.0)
    assert fused.aligned(row) is row
    moved = fused.aligned(row[1:])
    assert moved.data_ptr() % 16 == 0
    assert torch.equal(moved, row[1:])
