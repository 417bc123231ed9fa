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

from bench import config
from bench.engines import fused
from bench.engines.batched import Batched
from bench.engines.engine import UNTREATED
from bench.engines.fused import Fused, FusedProgram, Pass
from bench.network import Network
from tasks.task import Batch
from tests.engines.test_engines import example, setting

triton = pytest.importorskip("triton", reason="there is no triton here: the fused engine's kernels are not checked")

ROOT = Path(__file__).parents[2]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
TARGET = triton.backends.compiler.GPUTarget("cuda", 90, 32)
REGISTERS, SHARED = 255, 227 * 1024  # of a thread, and bytes of a program, on sm_90
KERNELS = (*2 * ("forward", "readout"), "backward", *3 * ("outer_products",))


def test_the_kernels_are_right_under_the_interpreter():
    """In a process of its own: Triton decides when it is imported."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/engines/interpreted.py"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def compiled(kernel, warps, arguments):
    """A kernel as a launch with these arguments would compile it for `TARGET`."""
    backend, options = triton.compiler.make_backend(TARGET), {"num_warps": warps}
    bind = triton.runtime.jit.create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, _ = bind(*arguments, **options)
    parsed, signature, constants, attributes = kernel._pack_args(backend, options, bound, specialization, options)
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=TARGET, options=vars(parsed))


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
    made = []
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))  # empty, so that they are compiled
    monkeypatch.setattr(
        fused,
        "launch",
        lambda kernel, grid, warps, *given: made.append((kernel.__name__, compiled(kernel, warps, given))),
    )

    def kernels(cell_name, hidden, channels, varying=False):
        task = example("task/adding", length=1000, variant="hochreiter" if varying else "halves")
        network = Network(example(f"cell/{cell_name}", hidden=hidden), inputs=channels, outputs=channels)
        batch = Batch(torch.zeros(1, 32, task.steps, channels), torch.zeros(1, 32, 1))
        if varying:
            batch = batch._replace(lengths=torch.full((1, 32), task.steps))
        program, flat = FusedProgram(network, task, UNTREATED), torch.zeros(1, network.flat_size)
        answering, training = (
            Pass(program._kind, program._shape(keep, varying, trace=keep), flat, batch) for keep in (False, True)
        )
        answering.forward()
        training.backward(training.forward())
        return made

    return kernels


@pytest.mark.parametrize(
    ("cell_name", "hidden", "channels", "varying"),
    [("tanh", 128, 64, True), ("irnn", 128, 2, False), ("tanh", 64, 64, True), ("lstm", 64, 32, True)],
)
def test_the_kernels_fit_the_gpu(launched, tmp_path, cell_name, hidden, channels, varying):
    """At the largest sizes that `supports` allows no register is spilled, and the weights stay on chip.

    No product is in TF32, Triton's default, which cuts 13 bits off; no sum is in an order that may differ.
    """
    kernels = launched(cell_name, hidden, channels, varying)
    assert len(kernels) == len(KERNELS)
    for (name, kernel), expected in zip(kernels, KERNELS, strict=True):
        assert name.endswith(expected)
        registers, spilled, shared = usage(kernel, tmp_path)
        print(f"\n{cell_name} H={hidden} I=O={channels} {name}: {registers} registers, {shared / 1024:.0f} KiB", end="")
        assert registers <= REGISTERS
        assert spilled == 0
        assert shared <= SHARED
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


def test_without_a_gpu_one_line_says_so():
    with pytest.raises(config.ConfigError, match=r"^engine=fused: cannot train a Elman on cpu; engine=auto .*$"):
        config.job(config.composed("engine=fused", "device=cpu"))


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
