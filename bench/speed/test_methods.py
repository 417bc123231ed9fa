"""What each method costs: an update with it over the plain cell's, for every choice of `conf/`.

Updates of all of them are timed in turn from the start of a short run to its end, so that a curriculum grows and
pruning prunes. One thread, and its processor time: what else the machine does is not counted. `make speed` prints it
and saves the JSON. What costs more than half an update says why: a sentence in its class's docstring with "costs".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.jobs.choices import choices, docstring_of
from bench.jobs.compose import composed
from bench.jobs.errors import ConfigError
from bench.jobs.job import Job, checked_job
from bench.speed.timing import interleaved
from bench.training.loop import Training

GROUPS = ("clipping", "nonfinite", "optimizer", "schedule", "remedies")
TASKS = ("task=adding", "task=digits")  # a method is timed on the first that it serves, beside the plain cell on it
UPDATES, REPLICAS = 60, 8
DEAR = 1.5  # in updates of the plain cell


def plain_and_methods(*overrides: str) -> dict[str, dict[str, Job]]:
    """By task its jobs: `plain`, and every choice of the groups by the words that choose it."""
    found: dict[str, dict[str, Job]] = {task: {"plain": job(task, *overrides)} for task in TASKS}
    for group in GROUPS:
        for name in choices(group):
            words = f"{group}=[{name}]" if group == "remedies" else f"{group}={name}"
            task, chosen = next(served(words, *overrides))
            found[task][words] = chosen
    return found


def served(words: str, *overrides: str) -> Any:
    """The tasks that a method serves, each with its job."""
    for task in TASKS:
        try:
            yield task, job(task, words, *overrides)
        except ConfigError:
            continue


def job(*overrides: str) -> Job:
    """Every update is timed, and the first before: none of them measures or evaluates."""
    return checked_job(composed("measurement=[]", "evaluation.sequences=1", "device=cpu", *overrides))


def updates(of: Job, replicas: int) -> Callable[[], None]:
    """The next update of a pack, at each call; its data are drawn in it, for as many as the run draws at once."""
    pack = [dataclasses.replace(of.replica, seed=seed) for seed in range(replicas)]
    training = Training(pack, of.engine, torch.device("cpu"))
    batches = enumerate(training.batches())

    def update() -> None:
        training.advance(*next(batches))

    return update


def costs(jobs: dict[str, Job], count: int, replicas: int) -> dict[str, float]:
    """Seconds of `count` updates over those of the plain cell, by the words of a method."""
    rounds = interleaved({words: updates(of, replicas) for words, of in jobs.items()}, count)
    total = {words: sum(times[words] for times in rounds) for words in jobs}
    return {words: seconds / total["plain"] for words, seconds in total.items() if words != "plain"}


def reason(of: Job, words: str) -> str:
    """What the docstring of a method says of its cost; empty if nothing."""
    group, _, name = words.partition("=")
    chosen = getattr(of.replica, group)
    return said_of_cost(type(chosen[name.strip("[]")] if group == "remedies" else chosen))


def said_of_cost(kind: type) -> str:
    """The sentences of a class's docstring with "costs"."""
    text = " ".join(docstring_of(f"{kind.__module__}.{kind.__name__}").split())
    return " ".join(one for one in re.split(r"(?<=[.:;]) ", text) if re.search(r"\bcosts\b", one, re.IGNORECASE))


@pytest.mark.parametrize("cell", ["irnn", "lstm"])
def test_a_methods_share_of_an_update(benchmark, cell: str) -> None:  # type: ignore[no-untyped-def]
    torch.set_num_threads(1)
    benchmark.group = f"cost of methods, {cell} H=64 B=16, adding T=100 or digits, {REPLICAS} replicas"
    print(f"\n{benchmark.group}: an update over the plain cell's")
    without = []
    for task, jobs in plain_and_methods(f"cell={cell}", f"updates={UPDATES + 1}").items():
        found = costs(jobs, UPDATES, REPLICAS)
        benchmark.extra_info.update({f"{task} {words}": round(cost, 3) for words, cost in found.items()})
        for words, cost in found.items():
            why = reason(jobs[words], words) if cost > DEAR else ""
            print(f"  {words:40} {cost:5.2f}  {why}".rstrip())
            without += [words] if cost > DEAR and not why else []
    benchmark.pedantic(lambda: None, rounds=1)
    assert not without, f"more than {DEAR} of an update, and no docstring says what it costs: {', '.join(without)}"
