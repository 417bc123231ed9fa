"""Replica-updates per second of a whole training step: our engines against torch.nn, side by side.

Every group (task, cell, replicas) is timed in interleaved rounds A B A B, because the speed of a machine drifts; the
ratio is the median of the rounds' ratios. One thread each. `make speed` prints the table and saves the JSON.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import pytest
import torch

from bench import config
from bench.engines.batched import Batched
from bench.engines.eager import Eager
from bench.engines.engine import Engine
from bench.engines.library import Library
from bench.training import Training

ROUNDS = 7
ENGINES: dict[str, Engine] = {"batched": Batched(), "eager": Eager(), "library": Library()}
YARDSTICK = "library"  # torch.nn, one replica at a time
SETTINGS = [
    ("adding", "tanh", 64, 100),
    ("adding", "irnn", 64, 100),
    ("adding", "lstm", 64, 100),
    ("copying", "lstm", 64, 10),
    ("adding", "tanh", 100, 150),
]


def training_step(engine: Engine, task: str, cell: str, hidden: int, length: int, replicas: int) -> Callable[[], None]:
    """A function that does one whole update of a pack: data, forward, backward, norms, clip, step."""
    overrides = (f"task={task}", f"cell={cell}", f"cell.hidden={hidden}", f"task.length={length}", "measurement=[]")
    replica = config.job(config.composed(*overrides, "updates=100000", "evaluation.sequences=1")).replica
    pack = [dataclasses.replace(replica, seed=seed) for seed in range(replicas)]
    training = Training(pack, engine, torch.device("cpu"))
    batches = training._training_batches()

    def step() -> None:
        training._step(0, training.program.gradients(training.flat, next(batches)))

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
