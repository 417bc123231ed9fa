"""Replica-updates per second on a GPU: our engines, and what one would write without them; `CUDA.md` keeps the log.

Times are those of CUDA events, in interleaved rounds; a ratio is the median of the rounds' ratios. cuDNN and JAX would
multiply in TF32 if nobody said otherwise: here each says how it does. Where a peer is not installed, a line says so.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import config
from bench.engines.eager import Eager
from bench.engines.engine import Engine
from bench.engines.fused import Fused
from bench.engines.graphed import Graphed
from bench.engines.library import Library
from bench.speed import ways
from bench.speed.precision import errors
from bench.speed.rounds import Rounds, flops, ratio, typical
from bench.training import Training

GPU = torch.device("cuda")
ROUNDS = 7
SETTINGS = [  # cell, H, T, B
    ("tanh", 128, 1000, 32),
    ("irnn", 128, 1000, 32),
    ("tanh", 64, 1000, 32),
    ("irnn", 64, 1000, 32),
    ("lstm", 64, 1000, 32),
    ("lstm", 128, 1000, 32),
    ("tanh", 100, 150, 16),
    ("irnn", 100, 150, 16),
    ("lstm", 100, 150, 16),
]
REPLICAS = (1, 16, 66, 132, 264)
PROCESSES = 4
NUMBERS_MOVED = {"tanh": 5, "irnn": 5, "lstm": 20}  # written or read per unit, step and sequence, each of 4 bytes
LARGE = 8192  # side of the matrices whose product is the yardstick for FLOPs
COPIED = 2**28  # numbers whose copy is the yardstick for bytes

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether cuDNN and cuBLAS may multiply in TF32 meanwhile."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def seconds(function: Callable[[], object]) -> float:
    """Of the GPU, for one call."""
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    function()
    ended.record()
    ended.synchronize()
    return began.elapsed_time(ended) / 1e3


def interleaved(functions: dict[str, Callable[[], object]]) -> Rounds:
    """Seconds of each in every round; before the first each has run twice."""
    for function in functions.values():
        function()
        function()
    return [{name: seconds(function) for name, function in functions.items()} for _ in range(ROUNDS)]


def training(engine: Engine, replicas: int, cell: str, hidden: int, steps: int, sequences: int) -> Training:
    """A pack of replicas that differ in their seed; they would train for ever."""
    settings = (f"cell={cell}", f"cell.hidden={hidden}", f"task.length={steps}", f"batch_size={sequences}")
    endless = ("measurement=[]", "updates=100000", "evaluation.sequences=1", "device=cpu")
    replica = config.job(config.composed(*settings, *endless)).replica
    return Training([dataclasses.replace(replica, seed=seed) for seed in range(replicas)], engine, GPU)


def update_of(pack: Training) -> Callable[[], None]:
    """A function that does one whole update: data, forward, backward, norms, clipping, step."""
    batches = pack._training_batches()

    def update() -> None:
        batch, gradients = pack._gradients(0, next(batches), traced=False)
        pack._step(0, gradients, batch)

    return update


def with_tf32(allowed: bool, function: Callable[[], object]) -> Callable[[], object]:
    """The function, told whether it may."""

    def told() -> None:
        with tf32(allowed):
            function()

    return told


def peers(setting: tuple[str, int, int, int], replicas: int) -> dict[str, Callable[[], object]]:
    """Whole updates of a pack by other means, as far as they are installed."""
    found: dict[str, Callable[[], object]] = {}
    if setting[2] <= 150:  # torch.func keeps a graph of every step, and takes seconds for 1000
        found["torch.func"] = ways._torch_func(training(Eager(), replicas, *setting)).update
    if importlib.util.find_spec("jax") is None:
        print("\njax is not installed and is left out: pip install 'jax[cuda12]'")
    else:
        pack = training(Eager(), replicas, *setting)
        batch = next(pack._training_batches()).mapped(lambda part: part.cpu())  # which JAX copies to the GPU again
        vars(pack)["_training_batches"] = functools.partial(itertools.repeat, batch)
        pack.flat = pack.flat.cpu()
        found["jax"] = ways._jax(pack).update
    return found


@pytest.mark.parametrize("replicas", REPLICAS)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting)))
def test_training_step(benchmark, setting: tuple[str, int, int, int], replicas: int) -> None:  # type: ignore[no-untyped-def]
    cell, hidden, steps, sequences = setting
    alone = training(Library(), 1, *setting)
    engines: dict[str, Engine] = {"fused": Fused(), "graphed": Graphed()}
    engines = {name: engine for name, engine in engines.items() if engine.supports(alone.network, GPU)}
    functions: dict[str, Callable[[], object]] = {
        "torch.nn": with_tf32(False, update_of(alone)),  # one after another: the rate of one is that of many
        "torch.nn in TF32": with_tf32(True, update_of(training(Library(), 1, *setting))),
        **{name: update_of(training(engine, replicas, *setting)) for name, engine in engines.items()},
        **peers(setting, replicas),
    }
    rounds = interleaved(functions)
    counts = {name: 1 if name.startswith("torch.nn") else replicas for name in functions}
    rates = {name: counts[name] / typical(rounds, name) for name in functions}

    network, task = alone.network, alone.task
    useful = flops(network.cell, task.inputs, task.outputs, steps, len(task.scored), sequences)
    moved = 4 * NUMBERS_MOVED[cell] * sequences * hidden * steps
    floor = max(useful / matmul_peak(), moved / copy_bandwidth())  # seconds of a replica-update, dW after the loop
    for name, rate in rates.items():
        times = ratio(rounds, "torch.nn", name) * counts[name]
        found = {"replica_updates_per_second": round(rate), "times_torch_nn": times, "times_floor": 1 / rate / floor}
        benchmark.extra_info[name] = {key: float(f"{value:.3g}") for key, value in found.items()}
    benchmark.group = f"{cell} adding H={hidden} T={steps} B={sequences}, {replicas} replicas on the GPU"
    benchmark.pedantic(functions["graphed"], rounds=1)
    lines = (
        f"  {name:17} {about['replica_updates_per_second']:8.0f}/s  torch.nn x {about['times_torch_nn']:6.2f}  "
        f"floor x {about['times_floor']:5.1f}"
        for name, about in benchmark.extra_info.items()
    )
    print(f"\n{benchmark.group}:", *lines, sep="\n")


@functools.cache
def matmul_peak() -> float:
    """FLOP/s of a large product in IEEE float32."""
    a, b = (torch.rand(LARGE, LARGE, device=GPU) for _ in range(2))
    with tf32(False):
        return 2 * LARGE**3 / typical(interleaved({"": lambda: a @ b}), "")


@functools.cache
def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a large copy."""
    source = torch.rand(COPIED, device=GPU)
    target = torch.empty_like(source)
    return 8 * COPIED / typical(interleaved({"": lambda: target.copy_(source)}), "")


@pytest.mark.parametrize("setting", [("tanh", 128, 1000, 32), ("lstm", 64, 1000, 32)], ids=str)
def test_torch_nn_in_several_processes(benchmark, setting: tuple[str, int, int, int]) -> None:  # type: ignore[no-untyped-def]
    """What they come to together, in wall-clock time."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        one = pool.apply(_rate, (setting,))
        several = sum(pool.map(_rate, [setting] * PROCESSES, chunksize=1))
    benchmark.group = f"torch.nn {setting} in {PROCESSES} processes"
    benchmark.extra_info.update({"alone": round(one), "together": round(several)})
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n{benchmark.group}: {several:.0f}/s, alone {one:.0f}/s")


def _rate(setting: tuple[str, int, int, int]) -> float:
    update = with_tf32(False, update_of(training(Library(), 1, *setting)))
    for _ in range(3):
        update()
    torch.cuda.synchronize()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        update()
        torch.cuda.synchronize()
        count += 1
    return count / (time.perf_counter() - began)


@pytest.mark.parametrize("replicas", [132, 264])
@pytest.mark.parametrize("setting", [s for s in SETTINGS if s[1] <= 64 or s[0] != "lstm"], ids=str)
def test_passes_of_the_same_layout(benchmark, setting: tuple[str, int, int, int], replicas: int) -> None:  # type: ignore[no-untyped-def]
    """Forward and back, against kernels that give every head of a net to a program of its own: heads are replicas.

    They get their input projected already and add up no gradients of a readout, ours does both.
    """
    pack = training(Fused(), replicas, *setting)
    batch = next(pack._training_batches())
    functions = {"fused": lambda: pack.program.gradients(pack.flat, batch), **_multi_head(setting, replicas)}
    rounds = interleaved(functions)
    benchmark.group = f"passes of {setting}, {replicas} replicas"
    benchmark.extra_info.update({name: replicas / typical(rounds, name) for name in functions})
    benchmark.pedantic(functions["fused"], rounds=1)
    print(f"\n{benchmark.group}: {', '.join(f'{n} {r:.0f}/s' for n, r in benchmark.extra_info.items())}")


def _multi_head(setting: tuple[str, int, int, int], replicas: int) -> dict[str, Callable[[], object]]:
    cell, hidden, steps, sequences = setting
    gates, found = 4 if cell == "lstm" else 1, {}

    def random(*shape: int, dtype: torch.dtype) -> Tensor:
        return (torch.randn(*shape, device=GPU) / hidden**0.5).to(dtype).requires_grad_()

    def pass_of(function: Callable[..., Any], *parameters: Tensor) -> Callable[[], object]:
        def both() -> None:
            hidden_states = function(*parameters)[0]
            torch.autograd.grad(hidden_states, parameters, torch.ones_like(hidden_states))

        return both

    if cell == "irnn":
        return {}  # neither has ReLU
    if importlib.util.find_spec("flashrnn") is None:
        print("\nflashrnn is not installed and is left out: pip install flashrnn")
    else:
        flashrnn = importlib.import_module("flashrnn").flashrnn
        dtype = torch.bfloat16
        given = [random(sequences, steps, gates, replicas, hidden, dtype=dtype)]
        given += [random(gates, replicas, hidden, hidden, dtype=dtype), random(gates, replicas, hidden, dtype=dtype)]
        kind = functools.partial(flashrnn, function="lstm" if gates == 4 else "elman", backend="cuda_fused")
        found["FlashRNN in bfloat16"] = pass_of(kind, *given)
    if importlib.util.find_spec("xma") is None:
        print(
            "\nxma is not installed and is left out: pip install git+https://github.com/open-lm-engine/"
            "accelerated-model-architectures"
        )
    elif gates == 1:
        rnn = importlib.import_module("xma.functional").rnn
        x, weight = (sequences, steps, replicas, hidden), (replicas, hidden, hidden)
        found["XMA"] = pass_of(rnn, random(*x, dtype=torch.float32), random(*weight, dtype=torch.float32))
    return found


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_what_the_trace_costs(benchmark, setting: tuple[str, int, int, int]) -> None:  # type: ignore[no-untyped-def]
    """At most 5 % of an update, if every update is traced."""
    pack = training(Graphed(), 132, *setting)
    if Fused().supports(pack.network, GPU):
        pack = training(Fused(), 132, *setting)
    batches = pack._training_batches()

    def update(traced: bool) -> None:
        batch, gradients = pack._gradients(0, next(batches), traced)
        pack._step(0, gradients, batch)

    updates: dict[str, Callable[[], object]] = {
        n: functools.partial(update, n == "traced") for n in ("without", "traced")
    }
    rounds = interleaved(updates)
    share = ratio(rounds, "traced", "without") - 1
    benchmark.group = f"trace at every update, {setting}, 132 replicas"
    benchmark.extra_info["share"] = round(share, 4)
    benchmark.pedantic(updates["traced"], rounds=1)
    print(f"\n{benchmark.group}: {share:+.1%}")


@pytest.mark.parametrize("case", ["near-identity ReLU", "orthogonal tanh", "LSTM"])
def test_error_through_1000_steps(benchmark, case: str) -> None:  # type: ignore[no-untyped-def]
    """Of dL/dh_0 against float64, relative; torch.nn with TF32 and without beside ours."""
    hidden = 64 if case == "LSTM" else 128
    found = {}
    for name, engine, allowed in (
        ("fused", Fused(), False),
        ("graphed", Graphed(), False),
        ("torch.nn", Library(), False),
        ("torch.nn in TF32", Library(), True),
    ):
        with tf32(allowed):
            found[name] = errors(engine, case, steps=1000, hidden=hidden, device=GPU)["first state"]
    benchmark.group = f"error of dL/dh_0, {case}, H={hidden} T=1000"
    benchmark.extra_info.update(found)
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n{benchmark.group}: {', '.join(f'{name} {error:.1e}' for name, error in found.items())}")
