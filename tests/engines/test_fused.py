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
from bench.engines.batched import Batched
from bench.engines.engine import NO_INTERVENTIONS
from bench.engines.fused import Fused, FusedProgram, Pass
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.nets.network import Network
from tasks.task import Batch
from tests.engines.absent import ABSENT, alone
from tests.engines.test_engines import SEEDS, TASKS, example, setting

triton = pytest.importorskip("triton", reason="there is no triton here: the fused engine's kernels are not checked")

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
REGISTERS, SHARED = 255, 227 * 1024  # of a thread, and bytes of a program, on GPUs of `fused.GENERATIONS`
TRAINING, ANSWERING = ("forward", "readout", "backward", *3 * ("outer_products",)), ("forward", "readout")


def test_the_kernels_are_right_under_the_interpreter():
    """In a process of its own: Triton decides when it is imported."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/engines/interpreted.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def compiled(kernel, warps, arguments, generation):
    """A kernel as a launch with these arguments would compile it for a GPU of this generation."""
    target = triton.backends.compiler.GPUTarget("cuda", 10 * generation, 32)
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

    def kernels(cell_name, hidden, channels, varying, generation):
        made = []

        def launch(kernel, grid, warps, *given):
            made.append((kernel.__name__, compiled(kernel, warps, given, generation)))

        monkeypatch.setattr(fused, "launch", launch)
        task = example("task/adding", length=1000, variant="hochreiter" if varying else "halves")
        network = Network(example(f"cell/{cell_name}", hidden=hidden), inputs=channels, outputs=channels)
        batch = Batch(torch.zeros(1, 32, task.steps, channels), torch.zeros(1, 32, 1))
        if varying:
            batch = batch._replace(lengths=torch.full((1, 32), task.steps))
        program, flat = FusedProgram(network, task, NO_INTERVENTIONS), torch.zeros(1, network.flat_size)
        answering, training = (
            Pass(program._kind, program._shape(keep, varying, trace=keep), flat, batch) for keep in (False, True)
        )
        answering.forward()
        training.backward(training.forward())
        return made

    return kernels


@pytest.mark.parametrize(
    ("cell_name", "hidden", "channels", "varying", "generation"),
    [
        ("tanh", 128, 64, True, 9),
        ("tanh", 128, 64, True, 10),
        ("irnn", 128, 2, False, 9),
        ("tanh", 64, 64, True, 9),
        ("lstm", 64, 32, True, 9),
        ("lstm", 64, 32, True, 10),
    ],
)
def test_the_kernels_fit_the_gpu(launched, tmp_path, cell_name, hidden, channels, varying, generation):
    """At the largest sizes that `supports` allows no register is spilled, and the weights stay on chip.

    No product is in TF32, Triton's default, which cuts 13 bits off; no sum is in an order that may differ; a launch
    allocates nothing, which it could not while a graph is recorded.
    """
    kernels = launched(cell_name, hidden, channels, varying, generation)
    for (name, kernel), expected in zip(kernels, (*ANSWERING, *TRAINING), strict=True):
        assert name.endswith(expected)
        registers, spilled, shared = usage(kernel, tmp_path)
        print(f"\n{cell_name} H={hidden} I=O={channels} {name}: {registers} registers, {shared / 1024:.0f} KiB", end="")
        assert registers <= REGISTERS
        assert spilled == 0
        assert shared <= SHARED
        assert kernel.metadata.global_scratch_size == 0
        products = re.findall(r"tt\.dot .*", kernel.asm["ttir"])
        assert bool(products)
        assert all("inputPrecision = bf16x6" in product for product in products)
        assert "tf32" not in kernel.asm["ptx"]
        assert not re.search(r"\b(atom|red)\.", kernel.asm["ptx"])


def test_who_is_trained(monkeypatch):
    monkeypatch.setattr(fused, "available", lambda device: True)

    def supported(cell_name, hidden=64, inputs=2, outputs=1, device=GPU, masked=False):
        return Fused().supports(Network(example(f"cell/{cell_name}", hidden=hidden), inputs, outputs, masked), device)

    assert [supported("tanh", hidden) for hidden in (1, 128, 129)] == [True, True, False]
    assert [supported("irnn", hidden) for hidden in (1, 128, 129)] == [True, True, False]
    assert [supported("lstm", hidden) for hidden in (1, 64, 65)] == [True, True, False]
    assert not any(supported(cell_name) for cell_name in ("gru", "silu", "sigmoid", "lru"))
    assert [supported("tanh", inputs=64, outputs=64), supported("tanh", inputs=65)] == [True, False]
    assert [supported("lstm", inputs=32, outputs=32), supported("lstm", outputs=33)] == [True, False]
    assert not supported("tanh", masked=True)
    assert not supported("tanh", device=CPU)


@pytest.fixture
def launches(monkeypatch):
    """What is launched by a pass, and with which tensors; nothing runs."""
    made = []

    def launch(kernel, grid, warps, *given):
        made.append((kernel.__name__, [part for part in given if isinstance(part, torch.Tensor)]))

    monkeypatch.setattr(fused, "launch", launch)
    return made


@pytest.mark.parametrize("task_name", TASKS)
@pytest.mark.parametrize("cell_name", ["tanh", "irnn", "lstm"])
def test_nothing_around_the_kernels_waits_for_the_host(launches, cell_name, task_name):
    network, task, flat, batch = setting(cell_name, task_name, dtype=torch.float32)
    program = Fused().program(network, task)
    flat, batch = flat.to(ABSENT), batch.mapped(lambda part: part.to(ABSENT))
    with alone():
        program.gradients(flat, batch, trace=True)
        program.answers(flat, batch)
    for (name, _), expected in zip(launches, (*TRAINING, *ANSWERING), strict=True):
        assert name.endswith(expected)
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


def test_a_gpu_must_hold_the_kernels_and_triton_know_their_products(monkeypatch):
    known = []
    monkeypatch.setattr(fused, "_knows_precision", lambda: bool(known))
    for generation, fits in ((8, False), (9, True), (10, True), (12, False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, number=generation: (number, 0))
        assert not fused.available(GPU)
        known.append(None)
        assert fused.available(GPU) == fits
        known.clear()


def test_this_triton_knows_the_products(monkeypatch):
    fused._knows_precision.cache_clear()
    assert fused._knows_precision()
    fused._knows_precision.cache_clear()
    monkeypatch.setattr(fused, "PRECISION", "another")
    assert not fused._knows_precision()
    fused._knows_precision.cache_clear()


def test_without_a_gpu_one_line_says_so():
    with pytest.raises(ConfigError, match=r"^engine=fused: cannot train elman on cpu; engine=auto .*$"):
        checked_job(composed("engine=fused", "device=cpu"))


def test_float64_is_left_to_batched():
    network, task, flat, batch = setting("lstm", "copying")
    ours, theirs = (engine.program(network, task) for engine in (Fused(), Batched()))
    assert torch.equal(ours.gradients(flat, batch, True).gradient, theirs.gradients(flat, batch, True).gradient)
    assert torch.equal(ours.answers(flat, batch).outputs, theirs.answers(flat, batch).outputs)


def test_a_tensor_off_its_place_is_brought_to_one():
    row = torch.arange(9.0)
    assert fused.aligned(row) is row
    moved = fused.aligned(row[1:])
    assert moved.data_ptr() % 16 == 0
    assert torch.equal(moved, row[1:])
