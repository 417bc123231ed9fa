"""Replica-updates per second on a GPU: our engines, and what one would write without them; `CUDA.md` keeps the log.

    python -m pytest bench/speed/test_cuda.py -s

Whole updates (data, forward, backward, norms, clipping, step) in wall-clock time between two moments at which the GPU
is done, in interleaved rounds; a ratio is the median of the rounds' ratios. cuDNN and JAX would multiply in TF32 if
nobody said otherwise: here each says how it does. Where a peer is not installed, or fails, a line says so.

What matters most comes first, every figure is written to `results/speed/cuda.json` when it is there, and what there is
no time for within `MOST_SECONDS` is left out, with a line.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.engines.eager import Eager
from bench.engines.engine import Engine
from bench.engines.fused import Fused, FusedExact
from bench.engines.graphed import Graphed
from bench.engines.library import Library
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.speed import contenders
from bench.speed.precision import errors
from bench.speed.timing import Rounds, flops, ratio, typical
from bench.training.loop import Training

Setting = tuple[str, int, int, int]  # cell, H, T, B
Ways = dict[str, Callable[[], object]]

DEVICE = torch.device("cuda")
ENGINES: dict[str, Engine] = {"fused": Fused(), "fused_exact": FusedExact(), "graphed": Graphed()}
FIRST: list[Setting] = [
    ("tanh", 128, 1000, 32),
    ("tanh", 100, 150, 16),
    ("lstm", 64, 1000, 32),
    ("tanh", 64, 1000, 32),
    ("lstm", 128, 1000, 32),
]
LATER: list[Setting] = [
    ("irnn", 128, 1000, 32),
    ("irnn", 64, 1000, 32),
    ("irnn", 100, 150, 16),
    ("lstm", 100, 150, 16),
]
REPLICAS = 132  # as many as an H200 has multiprocessors
OTHER_WIDTHS = (264, 66, 16, 1)
CASES = {"near-identity ReLU": 128, "orthogonal tanh": 128, "LSTM that keeps": 64}  # of `precision.errors`, with H
STEPS = 1000
PROCESSES = 4
ROUNDS = 7
LEAST_SECONDS = 0.1  # that a contender takes in a round
MOST_SECONDS = 540  # that all of it may take
NUMBERS_MOVED = {"tanh": 5, "irnn": 5, "lstm": 20}  # written or read per unit, step and sequence, each of 4 bytes
LARGE = 8192  # side of the matrices whose product is the yardstick for FLOPs
COPIED = 2**28  # numbers whose copy is the yardstick for bytes
FILE = Path("results/speed/cuda.json")

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    pytest.mark.filterwarnings("default"),  # a peer may warn of what it likes
]
_began = time.monotonic()


@pytest.fixture
def figures(benchmark, request) -> Iterator[dict[str, Any]]:  # type: ignore[no-untyped-def]
    """Where a test leaves its figures; skips it where there is no time left."""
    passed = time.monotonic() - _began
    if passed > MOST_SECONDS:
        pytest.skip(f"left out after {passed:.0f} seconds: {request.node.name}")
    benchmark.group = request.node.name
    yield benchmark.extra_info
    benchmark.pedantic(done, rounds=1)  # pytest-benchmark keeps what has been timed
    if benchmark.extra_info:
        save(FILE, request.node.name, benchmark.extra_info)
        print(f"\n{request.node.name}", *told(benchmark.extra_info), sep="\n")
    torch.cuda.empty_cache()


def save(file: Path, name: str, found: dict[str, Any]) -> None:
    """Add the figures of a test to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    there = {"device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu", "torch": torch.__version__}
    file.write_text(json.dumps({**kept, name: {**there, **found}}, indent=1), encoding="utf-8")


def told(found: dict[str, Any]) -> Iterator[str]:
    """The figures of a test, a line for each contender."""
    for name, value in found.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        yield f"  {name:20} {', '.join(f'{part} {number:.4g}'.strip() for part, number in parts)}"


def done() -> None:
    """Wait until the GPU has done all it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(function: Callable[[], object], count: int) -> float:
    """For one call, of `count`."""
    done()
    began = time.perf_counter()
    for _ in range(count):
        function()
    done()
    return (time.perf_counter() - began) / count


def interleaved(functions: Ways) -> Rounds:
    """Seconds of each for one call in every round; before the first each has run four times, the first to set up."""
    counts = {}
    for name, function in functions.items():
        seconds(function, 3)
        counts[name] = max(1, round(LEAST_SECONDS / seconds(function, 1)))
    return [{name: seconds(function, counts[name]) for name, function in functions.items()} for _ in range(ROUNDS)]


def training(engine: Engine, replicas: int, setting: Setting) -> Training:
    """A pack of replicas that differ in their seed; they would train for long."""
    cell, hidden, steps, sequences = setting
    settings = (f"cell={cell}", f"cell.hidden={hidden}", f"task.length={steps}", f"batch_size={sequences}")
    endless = ("measurement=[]", "updates=20000", "evaluation.sequences=1", "device=cpu")
    replica = checked_job(composed(*settings, *endless)).replica
    return Training([dataclasses.replace(replica, seed=seed) for seed in range(replicas)], engine, DEVICE)


def update_of(pack: Training) -> Callable[[], None]:
    """A function that does one whole update: data, forward, backward, norms, clipping, step."""
    batches = pack.batches()

    def update() -> None:
        pack.advance(0, next(batches))

    return update


def packs(replicas: int, setting: Setting) -> dict[str, Training]:
    """By each of our engines that can train it."""
    made = {name: training(engine, replicas, setting) for name, engine in ENGINES.items()}
    return {name: pack for name, pack in made.items() if ENGINES[name].supports(pack.network, DEVICE)}


def peers(replicas: int, setting: Setting) -> Ways:
    """Whole updates of a pack by other means, as far as they work here."""
    found: Ways = {}
    if setting[2] <= 150:  # torch.func keeps a graph of every step, and takes seconds for 1000
        add(found, "torch.func", lambda: contenders._torch_func(training(Eager(), replicas, setting)).update)
    if importlib.util.find_spec("jax") is None:
        print("\njax is not installed and is left out: pip install 'jax[cuda12]'")
    else:
        add(found, "jax", lambda: _jax(replicas, setting))
    return found


def add(found: Ways, name: str, make: Callable[[], Callable[[], object]]) -> None:
    """A contender, if it can be made and run once; else a line that says why not."""
    try:
        contender = make()
        contender()
    except Exception as error:  # whatever a library of others may raise
        print(f"\n{name} fails here and is left out: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    else:
        found[name] = contender


def _jax(replicas: int, setting: Setting) -> Callable[[], object]:
    """It gets its batch from the host at every update."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes three quarters of the memory
    jax = importlib.import_module("jax")
    if (jax.default_backend() == "gpu") != (DEVICE.type == "cuda"):
        raise RuntimeError(f"it would run on {jax.default_backend()}: pip install 'jax[cuda12]'")
    pack = training(Eager(), replicas, setting)
    batch = next(pack.batches()).mapped(lambda part: part.cpu())
    vars(pack)["batches"] = functools.partial(itertools.repeat, batch)
    pack.optimizer.flat = pack.flat.cpu()
    return contenders._jax(pack).update


def step_figures(setting: Setting, replicas: int) -> dict[str, dict[str, float]]:
    """Replica-updates per second of whole updates, and the ratios to torch.nn and to the floor."""
    alone = training(Library(tf32=False), 1, setting)
    functions: Ways = {
        "torch.nn": update_of(alone),  # one after another: the rate of one is that of many
        "torch.nn in TF32": update_of(training(Library(tf32=True), 1, setting)),
        **{name: update_of(pack) for name, pack in packs(replicas, setting).items()},
        **peers(replicas, setting),
    }
    rounds = interleaved(functions)
    floor = floor_of(alone, setting)
    figures = {}
    for name in functions:
        count = 1 if name.startswith("torch.nn") else replicas
        taken = typical(rounds, name) / count
        times = count * ratio(rounds, "torch.nn", name)
        figures[name] = {"replica_updates_per_second": 1 / taken, "times_torch_nn": times, "times_floor": taken / floor}
    return figures


def floor_of(pack: Training, setting: Setting) -> float:
    """Seconds of a replica-update by FLOPs or by bytes, whichever are more; weight gradients after the loop."""
    cell, hidden, steps, sequences = setting
    task = pack.task
    useful = flops(pack.network.cell, task.inputs, task.outputs, steps, len(task.scored), sequences)
    moved = 4 * NUMBERS_MOVED[cell] * sequences * hidden * steps
    return max(useful / matmul_peak(), moved / copy_bandwidth())


@functools.cache
def matmul_peak() -> float:
    """FLOP/s of a large product in IEEE float32."""
    a, b = (torch.rand(LARGE, LARGE, device=DEVICE) for _ in range(2))
    return 2 * LARGE**3 / typical(interleaved({"": lambda: a @ b}), "")


@functools.cache
def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a large copy."""
    source = torch.rand(COPIED, device=DEVICE)
    target = torch.empty_like(source)
    return 8 * COPIED / typical(interleaved({"": lambda: target.copy_(source)}), "")


def trace_figures(setting: Setting, replicas: int) -> dict[str, float]:
    """What recording the gradient through time adds to a pass, as a share of a whole update."""
    pack = next(iter(packs(replicas, setting).values()))
    batch, update = next(pack.batches()), update_of(pack)
    rounds = interleaved(
        {
            "update": update,
            "pass": lambda: pack.program.gradients(pack.flat, batch),
            "traced": lambda: pack.program.gradients(pack.flat, batch, trace=True),
        }
    )
    return {"share": statistics.median((times["traced"] - times["pass"]) / times["update"] for times in rounds)}


def error_figures(case: str, hidden: int, steps: int) -> dict[str, float]:
    """Relative errors of dL/dh_0 against float64: ours beside torch.nn with TF32 and without."""
    compared = {**ENGINES, "torch.nn": Library(tf32=False), "torch.nn in TF32": Library(tf32=True)}
    return {name: errors(engine, case, steps, hidden, DEVICE)["first state"] for name, engine in compared.items()}


def layout_figures(setting: Setting, replicas: int) -> dict[str, float]:
    """Replicas per second of forward and back, against kernels that give each head of a net to a program of its own.

    Heads are replicas. They get their input projected already and add up no gradients of a readout, ours does both.
    """
    pack = training(ENGINES["fused"], replicas, setting)
    batch = next(pack.batches())
    functions: Ways = {"fused": lambda: pack.program.gradients(pack.flat, batch)}
    for name, module in (("FlashRNN in bfloat16", "flashrnn"), ("XMA", "xma")):
        if importlib.util.find_spec(module) is None:
            print(f"\n{module} is not installed and is left out")
        else:
            add(functions, name, functools.partial(MULTI_HEAD[module], setting, replicas))
    rounds = interleaved(functions)
    return {name: replicas / typical(rounds, name) for name in functions}


def _flashrnn(setting: Setting, replicas: int) -> Callable[[], object]:
    cell, hidden, steps, sequences = setting
    gates = {"tanh": 1, "lstm": 4}[cell]
    scale = hidden**-0.5
    inputs, weight, bias = (
        _random(scale, torch.bfloat16, *shape)
        for shape in (
            (sequences, steps, gates, replicas, hidden),
            (gates, replicas, hidden, hidden),
            (gates, replicas, hidden),
        )
    )
    function = importlib.import_module("flashrnn").flashrnn
    name = {"tanh": "elman", "lstm": "lstm"}[cell]

    def both() -> None:
        states, _ = function(inputs, weight, bias, function=name, backend="cuda_fused")
        torch.autograd.grad(states[0], (inputs, weight, bias), torch.ones_like(states[0]))

    return both


def _xma(setting: Setting, replicas: int) -> Callable[[], object]:
    cell, hidden, steps, sequences = setting
    if cell != "tanh":
        raise ValueError("it has tanh only")
    inputs = _random(1.0, torch.float32, sequences, steps, replicas, hidden)
    weight = _random(hidden**-0.5, torch.float32, replicas, hidden, hidden)
    function = importlib.import_module("xma.functional").rnn

    def both() -> None:
        hidden_states, _ = function(inputs, weight)
        torch.autograd.grad(hidden_states, (inputs, weight), torch.ones_like(hidden_states))

    return both


MULTI_HEAD = {"flashrnn": _flashrnn, "xma": _xma}


def _random(scale: float, dtype: torch.dtype, *shape: int) -> Tensor:
    return (scale * torch.randn(*shape, device=DEVICE)).to(dtype).requires_grad_()


def together(setting: Setting, processes: int, least: float) -> float:
    """Updates per second of torch.nn in several processes at the same time, `least` seconds long."""
    context = multiprocessing.get_context("spawn")
    start, rates = context.Barrier(processes), context.Queue()
    arguments = (setting, DEVICE.type, least, start, rates)
    workers = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    total = sum(rates.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    return float(total)


def _work(setting: Setting, device: str, least: float, start: Any, rates: Any) -> None:
    global DEVICE
    DEVICE = torch.device(device)
    update = update_of(training(Library(tf32=False), 1, setting))
    seconds(update, 3)
    start.wait()
    began, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < least:
        seconds(update, 1)
        count += 1
    rates.put(count / passed)


@pytest.mark.parametrize("setting", FIRST, ids=str)
def test_training_step(figures, setting: Setting) -> None:  # type: ignore[no-untyped-def]
    figures.update(step_figures(setting, REPLICAS))


@pytest.mark.parametrize("case", CASES)
def test_error_through_1000_steps(figures, case: str) -> None:  # type: ignore[no-untyped-def]
    figures.update(error_figures(case, CASES[case], STEPS))


@pytest.mark.parametrize("setting", LATER, ids=str)
def test_training_step_of_other_nets(figures, setting: Setting) -> None:  # type: ignore[no-untyped-def]
    figures.update(step_figures(setting, REPLICAS))


@pytest.mark.parametrize("setting", FIRST, ids=str)
def test_what_the_trace_costs(figures, setting: Setting) -> None:  # type: ignore[no-untyped-def]
    figures.update(trace_figures(setting, REPLICAS))


@pytest.mark.parametrize("replicas", OTHER_WIDTHS)
def test_training_step_of_other_widths(figures, replicas: int) -> None:  # type: ignore[no-untyped-def]
    figures.update(step_figures(FIRST[0], replicas))


@pytest.mark.parametrize("setting", [FIRST[0], FIRST[2]], ids=str)
def test_torch_nn_in_several_processes(figures, setting: Setting) -> None:  # type: ignore[no-untyped-def]
    """What they come to together; they share the GPU in turns."""
    figures.update({f"{count} at a time": together(setting, count, least=3) for count in (1, PROCESSES)})


@pytest.mark.parametrize("setting", [FIRST[0], FIRST[2], FIRST[3]], ids=str)
def test_passes_of_the_same_layout(figures, setting: Setting) -> None:  # type: ignore[no-untyped-def]
    figures.update(layout_figures(setting, REPLICAS))
