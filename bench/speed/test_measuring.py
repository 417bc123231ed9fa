"""What watching costs: the training gradient at every update, and all default measurements over a run.

An update with and one without are timed in interleaved rounds, because the speed of a machine drifts; a share is the
median of the rounds' shares. One thread, and its processor time: what else the machine does is not counted. `make
speed` prints it and saves the JSON.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.speed.test_methods import said_of_cost
from bench.training.loop import Training

ROUNDS = 25
UPDATES = 3000
CELLS = ("tanh", "irnn", "lstm")
TRACE = "measurement=[training_gradient]"


def pack(cell: str, replicas: int, *overrides: str) -> Training:
    """Replicas that differ in their seed, on adding with T = 100 and the engine that `auto` comes to."""
    settings = (f"cell={cell}", "task.length=100", f"updates={UPDATES}", "evaluation.sequences=1", "device=cpu")
    job = checked_job(composed(*settings, *overrides))
    seeds = [dataclasses.replace(job.replica, seed=seed) for seed in range(replicas)]
    return Training(seeds, job.engine, torch.device("cpu"))


def seconds(function: Callable[[], None]) -> float:
    """Seconds of processor time that one call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


@pytest.mark.parametrize("replicas", [8, 16])
@pytest.mark.parametrize("cell", CELLS)
def test_training_gradient_at_every_update(benchmark, cell: str, replicas: int) -> None:  # type: ignore[no-untyped-def]
    """At most 5 % of an update: what the trace takes, and with it the rows made from it."""
    torch.set_num_threads(1)
    training, rows = pack(cell, replicas, TRACE), range(replicas)
    batch = next(training.batches())

    def update(traced: bool = False, measured: bool = False) -> None:
        _, gradients = training.gradients(0, batch, traced)
        if measured:
            training.monitor.measure(0, ["training_gradient"], training.flat, gradients, rows)
        training.advance(0, batch, gradients)

    contenders: dict[str, dict[str, bool]] = {
        "without": {},
        "traced": {"traced": True},
        "measured": {"traced": True, "measured": True},
    }
    for contender in contenders.values():
        update(**contender)  # allocates its buffers
    rounds = [
        {name: seconds(functools.partial(update, **contender)) for name, contender in contenders.items()}
        for _ in range(ROUNDS)
    ]
    plain = statistics.median(times["without"] for times in rounds)
    shares = {name: statistics.median(times[name] / times["without"] for times in rounds) - 1 for name in contenders}
    benchmark.group = f"training gradient at every update, {cell} adding H=64 T=100 B=16, {replicas} replicas"
    benchmark.extra_info.update({name: round(share, 4) for name, share in shares.items() if name != "without"})
    benchmark.pedantic(update, rounds=1)
    print(
        f"\n{benchmark.group}: update {1e3 * plain:.1f} ms, with trace {shares['traced']:+.1%}, "
        f"and its rows {shares['measured']:+.1%}"
    )


@pytest.mark.parametrize("cell", CELLS)
def test_all_default_measurements(benchmark, cell: str) -> None:  # type: ignore[no-untyped-def]
    """What each set of looks that fall together takes times how often it does, over the updates.

    Looks at one moment share what they look at (states, eigenvalues), so they are timed together.
    """
    torch.set_num_threads(1)
    training = pack(cell, 8)
    batch = next(training.batches())
    watched = training.replicas[0].measurement
    gradients = training.gradients(0, batch, traced=True)[1]

    def update() -> None:
        training.advance(0, batch)

    def look(names: tuple[str, ...]) -> None:
        training.monitor.measure(0, names, training.flat, gradients, range(8))

    due = {name: measurement.moments(UPDATES) for name, measurement in watched.items()}
    moments = sorted(set().union(*due.values()))
    together = Counter(tuple(name for name in watched if update in due[name]) for update in moments)
    for names in together:
        look(names)  # draws its sequences
    rounds = []
    for _ in range(5):
        plain = statistics.median(seconds(update) for _ in range(5))
        rounds.append({names: seconds(functools.partial(look, names)) / plain for names in together})
    shares = {names: statistics.median(t[names] for t in rounds) * n / UPDATES for names, n in together.items()}
    benchmark.group = f"all default measurements, {cell} adding H=64 T=100 B=16, 8 replicas, {UPDATES} updates"
    benchmark.extra_info.update({"sum": round(sum(shares.values()), 4)})
    benchmark.pedantic(update, rounds=1)
    parts = "; ".join(f"{n} x {' + '.join(names)} {shares[names]:.1%}" for names, n in together.items())
    why = " ".join(filter(None, map(said_of_cost, map(type, watched.values()))))
    print(f"\n{benchmark.group}: {sum(shares.values()):.1%} of the updates: {parts}. {why}")
