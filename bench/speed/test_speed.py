"""Replica-updates per second of a whole training step, our engines against what one would write without them.

Data, forward, backward, norms, clipping, update; beside the speed the gradient's error against float64, and the useful
FLOPs against torch.matmul. `make speed` prints all of it, saves the JSON, and `bench.speed.figure` draws it.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_class

from bench.engines import building
from bench.engines.compiled import Compiled, CompiledProgram
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS
from bench.engines.library import Library
from bench.jobs.compose import composed, options
from bench.nets.network import Network
from bench.pack.streams import Stream
from bench.speed import workers
from bench.speed.contenders import ENGINES, contender, names, pack
from bench.speed.precision import CASES, errors
from bench.speed.timing import PEAK_SIZE, flops, interleaved, matmul, ratio, register_sums, seconds, typical
from bench.training.loop import Training
from tasks.images import ImageSequences
from tasks.task import Task

ROUNDS = 7
DATA_UPDATES = 64  # data are made for several updates at once: so many together tell what one takes
SETTINGS = [
    ("adding", "tanh", 64, 100),
    ("adding", "irnn", 64, 100),
    ("adding", "lstm", 64, 100),
    ("copying", "lstm", 64, 10),
    ("adding", "tanh", 100, 150),
    ("adding", "irnn", 100, 150),
    ("adding", "lstm", 100, 150),
    ("adding", "tanh", 16, 100),
    ("adding", "tanh", 128, 100),
    ("adding", "tanh", 256, 100),
]
HEADLINE = [setting for setting in SETTINGS if setting[0] == "adding" and setting[2] in (64, 100)]


def overrides(task: str, cell: str, hidden: int, length: int) -> tuple[str, ...]:
    """The command line of a setting."""
    return (f"task={task}", f"cell={cell}", f"cell.hidden={hidden}", f"task.length={length}")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("replicas", [1, 16])
@pytest.mark.parametrize(("task", "cell", "hidden", "length"), SETTINGS)
def test_training_step(benchmark, task: str, cell: str, hidden: int, length: int, replicas: int) -> None:  # type: ignore[no-untyped-def]
    asked = overrides(task, cell, hidden, length)
    contenders = {name: contender(name, replicas, *asked) for name in names()}
    rounds = interleaved({**{name: one.update for name, one in contenders.items()}, "matmul": matmul()}, ROUNDS)

    training = pack(ENGINES["eager"], replicas, *asked)
    batch, exact_batch = (
        training.task.sample(Stream(training.seeds, "train", dtype=dtype), 16)
        for dtype in (torch.float32, torch.float64)
    )
    exact = training.program.gradients(training.flat.double(), exact_batch).gradient
    off = {
        n: float((w.gradient(training.flat, batch).double() - exact).norm() / exact.norm())
        for n, w in contenders.items()
    }

    useful = flops_of(training)
    rates = {name: [replicas / times[name] for times in rounds] for name in contenders}
    about = {"task": task, "cell": cell, "hidden": hidden, "length": length, "replicas": replicas}
    speed = {n: useful * statistics.median(rates[n]) for n in contenders}
    found = {n: {"rates": rates[n], "error": off[n], "flops": speed[n]} for n in contenders}
    peak = 2 * PEAK_SIZE**3 / typical(rounds, "matmul")
    note(benchmark, "step", about, found, {"matmul": peak}, matmul())
    lines = [
        f"  {n:10} {statistics.median(rates[n]):8.1f}/s  torch.nn x {ratio(rounds, 'torch.nn', n):5.2f}  "
        f"error {off[n]:.0e}  {speed[n] / 1e9:6.1f} GFLOP/s = {speed[n] / peak:.2f} of matmul"
        for n in contenders
    ]
    print(f"\n{benchmark.group}:", *lines, sep="\n")


@pytest.mark.parametrize(("task", "cell", "hidden", "length"), HEADLINE)
def test_a_worker_on_every_core(benchmark, task: str, cell: str, hidden: int, length: int) -> None:  # type: ignore[no-untyped-def]
    """16 replicas, shared out; wall-clock time."""
    chosen = [name for name in names() if name not in ("eager", "torch.func")]
    rounds = workers.rates(chosen, 16, ROUNDS, 1.0, *overrides(task, cell, hidden, length))
    about = {"task": task, "cell": cell, "hidden": hidden, "length": length, "replicas": 16}
    found = {name: {"rates": [rates[name] for rates in rounds]} for name in chosen}
    note(benchmark, "workers", about, found, {"workers": len(workers.cores())}, matmul())
    times = {n: statistics.median(r["compiled"] / r[n] for r in rounds) for n in chosen}
    parts = ", ".join(f"{n} {statistics.median(found[n]['rates']):.0f}/s (1/{times[n]:.2f})" for n in chosen)
    print(f"\n{benchmark.group}, {len(workers.cores())} workers: {parts}")


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, ProcessPoolExecutor]]:
    """One for every instruction set of this CPU, and torch in it limited to the same."""
    limits = {"x86-64-v3": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
    started = {}
    for march in building.instruction_sets():
        started[march] = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in limits.get(march, {}).items():
                patch.setenv(name, value)
            started[march].submit(int).result()  # starts it, with this environment
    yield started
    for process in started.values():
        process.shutdown()


@pytest.mark.parametrize("hidden", [64, 100, 128, 256])
@pytest.mark.parametrize("cell", ["tanh", "irnn", "lstm"])
def test_kernel_against_matmul(benchmark, processes: dict[str, ProcessPoolExecutor], cell: str, hidden: int) -> None:  # type: ignore[no-untyped-def]
    """Forward, backward and the weights' gradients, useful FLOPs, against torch.matmul of 512^3 and the CPU's peak."""
    length = 150 if hidden == 100 else 100
    about = {"task": "adding", "cell": cell, "hidden": hidden, "length": length, "replicas": 16}
    asked = overrides("adding", cell, hidden, length)
    found = {march: process.submit(kernel_flops, march, *asked).result() for march, process in processes.items()}
    note(benchmark, "kernel", about, {}, {"sets": found}, matmul())
    for march, speed in found.items():
        parts = ", ".join(f"{speed['kernel'] / speed[name]:.2f} of {name}" for name in ("matmul", "peak"))
        print(f"\n{benchmark.group} {march}: {speed['kernel'] / 1e9:.1f} GFLOP/s, {parts}")


def kernel_flops(march: str, *asked: str) -> dict[str, float]:
    """Floating point operations per second of the kernel, of torch.matmul and of nothing but registers."""
    torch.set_num_threads(1)
    training = pack(Compiled(), 16, *asked)
    batch = next(training.batches())
    program = CompiledProgram(training.network, training.task, NO_INTERVENTIONS, march)
    through_time = program._pass(training.flat, batch, keep=True)
    (registers, operations), product = register_sums(march), matmul()

    def matmuls() -> None:  # a single one is over before its matrices are in the cache again
        for _ in range(8):
            product()

    contenders = {
        "kernel": lambda: through_time.gradients(training.flat, batch, NO_MASKS, 0, NO_INTERVENTIONS),
        "matmul": matmuls,
        "peak": registers,
    }
    rounds = interleaved(contenders, 3 * ROUNDS)
    useful = {"kernel": 16 * flops_of(training), "matmul": 8 * 2 * PEAK_SIZE**3, "peak": operations}
    return {name: useful[name] / typical(rounds, name) for name in contenders}


LENGTHS, WIDTHS = (50, 100, 200, 500, 1000, 2000), (8, 16, 32, 64, 128)


@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_cost_grows_linearly_in_time_and_in_replicas(benchmark, cell: str) -> None:  # type: ignore[no-untyped-def]
    """H = 100: seconds per step of a sequence, and per replica, over those of the middle; all are to lie near 1."""
    by_length = {t: contender("compiled", 8, *overrides("adding", cell, 100, t)).update for t in LENGTHS}
    by_width = {r: contender("compiled", r, *overrides("adding", cell, 100, 50)).update for r in WIDTHS}
    for axis, updates in (("length", by_length), ("replicas", by_width)):
        rounds = interleaved({str(size): update for size, update in updates.items()}, ROUNDS)
        cost = {size: typical(rounds, str(size)) / size for size in updates}
        middle = statistics.median(cost.values())
        benchmark.extra_info[axis] = {str(size): cost[size] for size in updates}
        print(f"\n{cell}, cost by {axis}:", ", ".join(f"{size}: {cost[size] / middle:.2f}" for size in updates))
    note(benchmark, "scaling", {"cell": cell, "hidden": 100}, {}, {}, by_length[50])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell what a process takes")
@pytest.mark.parametrize(("cell", "kept", "steps"), [("tanh", 1, 1000), ("gru", 5, 200), ("lstm", 7, 150)])
def test_memory_is_as_estimated(benchmark, cell: str, kept: int, steps: int) -> None:  # type: ignore[no-untyped-def]
    """What a process grows by for a pack's gradient: `kept` numbers per unit, step and sequence of one replica."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:  # here, freed memory is used again
        grown, network = fresh.submit(growth, cell, steps).result()
    expected = 4 * (kept * steps * 256 * network.padded_hidden + 8 * network.flat_size)
    note(benchmark, "memory", {"cell": cell}, {}, {"grown": grown, "expected": expected}, matmul())
    print(f"\n{cell}: grew by {grown / 2**20:.0f} MiB, expected {expected / 2**20:.0f} MiB")
    assert 0.8 < grown / expected < 1.2


def growth(cell: str, steps: int) -> tuple[int, Network]:
    """Bytes that this process takes more of after a first gradient, and of which net."""
    torch.set_num_threads(1)
    training = pack(Compiled(), 8, *overrides("adding", cell, 100, steps), "batch_size=256")
    batch = next(training.batches())
    before = resident()
    training.program.gradients(training.flat, batch)
    return resident() - before, training.network


@pytest.mark.parametrize("case", CASES)
def test_error_over_a_thousand_steps(benchmark, case: str) -> None:  # type: ignore[no-untyped-def]
    ours, theirs = errors(Compiled(), case, steps=1000), errors(Library(tf32=False), case, steps=1000)
    note(benchmark, "error", {"case": case}, {}, {"compiled": ours, "torch.nn": theirs}, matmul())
    print(f"\n{case}, T=1000:", ", ".join(f"{n} {ours[n]:.1e} (torch.nn {theirs[n]:.1e})" for n in ours))
    assert all(ours[name] <= max(2 * theirs[name], 1e-6) for name in ours)


def test_training_part_of_quick(benchmark) -> None:  # type: ignore[no-untyped-def]
    """Packs of 10 of the main job, trained from the start to their next evaluation, both evaluations included."""
    folder = resources.files("conf").joinpath("experiment")
    lines = [line.strip(" -") for line in folder.joinpath("quick.yaml").read_text().splitlines() if "- task=" in line]
    every = 125  # as there
    judged = (f"updates={every}", f"evaluation.every={every}", "evaluation.sequences=1024", "evaluation.final=1")

    def run(name: str) -> float:
        total = 0.0
        for line in lines:
            words = [word for word in line.split() if not word.startswith(("updates", "seed", "clipping"))]
            total += seconds(pack(ENGINES[name], 10, *words, *judged).run)
        return total

    rounds = [{name: run(name) for name in ("compiled", "batched")} for _ in range(3)]
    share = statistics.median(times["compiled"] / times["batched"] for times in rounds)
    note(benchmark, "quick", {}, {}, {"share": share}, matmul())
    print(f"\ntraining part of quick: {share:.2f} of the batched engine's time")


def generated_tasks() -> list[tuple[str, str]]:
    """Every variant of every task that makes its sequences."""
    kinds: dict[str, type[Task]] = {n: get_class(composed(f"task={n}")["task"]["_target_"]) for n in options("task")}
    return [
        (n, variant) for n, kind in kinds.items() if not issubclass(kind, ImageSequences) for variant in kind.variants
    ]


@pytest.mark.parametrize(("task", "variant"), generated_tasks())
def test_making_data(benchmark, task: str, variant: str) -> None:  # type: ignore[no-untyped-def]
    """Share of an update that goes into its data: 16 replicas, H = 64, T about 100, the cell that is fastest."""
    node = composed(f"task={task}")["task"]
    length = 100 - 2 * node["symbols"] if node["_target_"].endswith("Copying") else 100
    training = pack(ENGINES["compiled"], 16, *overrides(task, "irnn", 64, length), f"task.variant={variant}")
    batches = training.batches()
    batch = next(batches)

    def update() -> None:
        training.advance(0, batch)

    def data() -> None:
        for _ in range(DATA_UPDATES):
            next(batches)

    rounds = interleaved({"data": data, "update": update}, ROUNDS)
    made = typical(rounds, "data") / DATA_UPDATES
    share = statistics.median(t["data"] / (t["data"] + DATA_UPDATES * t["update"]) for t in rounds)
    note(benchmark, "data", {"task": task, "variant": variant}, {}, {"share": share}, data)
    print(f"\ndata of {task} {variant}, 16 replicas, T=100: {1e3 * made:.2f} ms, {share:.1%} of an update")


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def flops_of(training: Training) -> float:
    """Useful floating point operations of an update of one replica."""
    task, network = training.task, training.network
    return flops(network.cell, task.inputs, task.outputs, task.steps, len(task.scored), 16)


def note(
    benchmark: Any,
    kind: str,
    about: Mapping[str, object],
    contenders: Mapping[str, object],
    numbers: Mapping[str, object],
    function: Callable[[], object],
) -> None:
    """Into the JSON; pytest-benchmark keeps a test only if it has timed something, so it times `function` once."""
    benchmark.group = " ".join([kind, *(f"{name}={value}" for name, value in about.items())])
    benchmark.extra_info.update({"kind": kind, **about, "contenders": contenders, **numbers})
    benchmark.pedantic(function, rounds=1)
