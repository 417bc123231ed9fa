"""Replica-updates per second of a whole training step, our engines against torch.nn; and what making the data takes.

Every group (task, cell, replicas) is timed in interleaved rounds A B A B, because the speed of a machine drifts; a
ratio is the median of the rounds' ratios. One thread each. `make speed` prints the table and saves the JSON.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from importlib import resources

import pytest
import torch
from hydra.utils import get_class

from bench import config
from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.engine import Engine
from bench.engines.library import Library
from bench.training import Training
from tasks.images import ImageSequences
from tasks.task import Task

ROUNDS = 7
DATA_UPDATES = 64  # data are made for several updates at once: so many together tell what one takes
ENGINES: dict[str, Engine] = {"batched": Batched(), "eager": Eager(), "library": Library()}
YARDSTICK = "library"  # torch.nn, one replica at a time
SETTINGS = [
    ("adding", "tanh", 64, 100),
    ("adding", "irnn", 64, 100),
    ("adding", "lstm", 64, 100),
    ("copying", "lstm", 64, 10),
    ("adding", "tanh", 100, 150),
]


def training_of(engine: Engine, replicas: int, *overrides: str) -> Training:
    """A pack of replicas that differ in their seed."""
    endless = ("measurement=[]", "updates=100000", "evaluation.sequences=1")
    replica = config.job(config.composed(*overrides, *endless)).replica
    pack = [dataclasses.replace(replica, seed=seed) for seed in range(replicas)]
    return Training(pack, engine, torch.device("cpu"))


def training_step(engine: Engine, task: str, cell: str, hidden: int, length: int, replicas: int) -> Callable[[], None]:
    """A function that does one whole update of a pack: data, forward, backward, norms, clip, step."""
    overrides = (f"task={task}", f"cell={cell}", f"cell.hidden={hidden}", f"task.length={length}")
    training = training_of(engine, replicas, *overrides)
    batches = training._training_batches()

    def step() -> None:
        batch, gradients = training._gradients(0, next(batches), traced=False)
        training._step(0, gradients, batch)

    return step


def seconds(function: Callable[[], None]) -> float:
    """Of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


@pytest.mark.parametrize("replicas", [1, 16])
@pytest.mark.parametrize(("task", "cell", "hidden", "length"), SETTINGS)
def test_training_step(benchmark, task: str, cell: str, hidden: int, length: int, replicas: int) -> None:  # type: ignore[no-untyped-def]
    torch.set_num_threads(1)
    steps = {name: training_step(e, task, cell, hidden, length, replicas) for name, e in ENGINES.items()}
    for step in steps.values():
        step()  # allocates its buffers
    rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(ROUNDS)]
    for name in ENGINES:
        rate = replicas / statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[YARDSTICK] / times[name] for times in rounds)
        benchmark.extra_info[name] = {"replica_updates_per_second": round(rate), "times_torch_nn": round(ratio, 2)}
    benchmark.group = f"{cell} {task} H={hidden} T={length} B=16, {replicas} replicas"
    benchmark.pedantic(steps["batched"], rounds=ROUNDS)
    line = ", ".join(
        f"{n} {i['replica_updates_per_second']}/s ({i['times_torch_nn']}x)" for n, i in benchmark.extra_info.items()
    )
    print(f"\n{benchmark.group}: {line}")


def generated_tasks() -> list[tuple[str, str]]:
    """Every variant of every task that makes its sequences."""
    folder = resources.files("conf").joinpath("task")
    names = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
    kinds: dict[str, type[Task]] = {n: get_class(config.composed(f"task={n}")["task"]["_target_"]) for n in names}
    return [
        (n, variant) for n, kind in kinds.items() if not issubclass(kind, ImageSequences) for variant in kind.variants
    ]


@pytest.mark.parametrize(("task", "variant"), generated_tasks())
def test_making_data(benchmark, task: str, variant: str) -> None:  # type: ignore[no-untyped-def]
    """Share of an update that goes into its data: 16 replicas, H = 64, T about 100, the cell that is fastest."""
    torch.set_num_threads(1)
    node = config.composed(f"task={task}")["task"]
    length = 100 - 2 * node["symbols"] if node["_target_"].endswith("Copying") else 100
    overrides = (f"task={task}", f"task.variant={variant}", f"task.length={length}", "cell=irnn", "cell.hidden=64")
    training = training_of(Batched(), 16, *overrides)
    batches = training._training_batches()
    batch = next(batches)

    def update() -> None:
        training._step(0, training._gradients(0, batch, traced=False)[1], batch)

    def data() -> None:
        for _ in range(DATA_UPDATES):
            next(batches)

    update()
    rounds = [(seconds(data) / DATA_UPDATES, seconds(update)) for _ in range(ROUNDS)]
    share = statistics.median(made / (made + updated) for made, updated in rounds)
    benchmark.group = f"data of {task} {variant}, 16 replicas, T=100"
    benchmark.extra_info["share_of_an_update"] = round(share, 4)
    benchmark.pedantic(data, rounds=1)
    print(
        f"\n{benchmark.group}: {1e3 * statistics.median(made for made, _ in rounds):.2f} ms, {share:.1%} of an update"
    )
