"""A user's cell, of which the suite knows `step` alone: ours against a loop over torch cells and against JAX's scan."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch

from bench.engines.compiled import Compiled
from bench.engines.eager import Eager
from bench.speed.test_speed import note
from bench.speed.timing import interleaved, ratio
from bench.speed.user_cells import CELLS, jax_scan, loop, pack

ROUNDS, REPLICAS, LENGTH = 7, 16, 100


@pytest.mark.parametrize("hidden", [64, 100])
@pytest.mark.parametrize("name", CELLS)
def test_a_users_cell(benchmark, name: str, hidden: int) -> None:  # type: ignore[no-untyped-def]
    """Replica-updates per second of whole updates; the compiled kernel is there before the clock starts."""
    torch.set_num_threads(1)
    cell = CELLS[name](hidden)
    contenders: dict[str, Callable[[], object]] = {"torch loop": loop(pack(Eager(), REPLICAS, cell, LENGTH))}
    for engine in (Compiled(), Eager()):
        training = pack(engine, REPLICAS, cell, LENGTH)
        contenders[type(engine).__name__.lower()] = partial(_update, training, training.batches())
    if importlib.util.find_spec("jax") is not None:
        contenders["jax"] = jax_scan(pack(Eager(), REPLICAS, cell, LENGTH))
    else:
        print("\njax is not installed and is left out: pip install jax")
    rounds = interleaved(contenders, ROUNDS)
    rates = {contender: [REPLICAS / times[contender] for times in rounds] for contender in contenders}
    about = {"cell": name, "hidden": hidden, "length": LENGTH, "replicas": REPLICAS}
    note(
        benchmark,
        "user cell",
        about,
        {contender: {"rates": rates[contender]} for contender in contenders},
        {},
        contenders["compiled"],
    )
    print(
        f"\n{benchmark.group}:",
        *(
            f"  {w:10} {statistics.median(rates[w]):8.1f}/s  compiled x {ratio(rounds, w, 'compiled'):5.2f}"
            for w in contenders
        ),
        sep="\n",
    )


def _update(training, batches) -> None:  # type: ignore[no-untyped-def]
    training.advance(0, next(batches))
