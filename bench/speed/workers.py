"""One process of one thread on every core, all doing the same at the same time: how a sweep trains.

Each is bound to its core, where the system can do that: a library that starts threads of its own gains nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from bench.speed.contenders import contender


def cores() -> list[int]:
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def rates(names: Sequence[str], replicas: int, rounds: int, least: float, *overrides: str) -> list[dict[str, float]]:
    """Replica-updates per second of all workers together, by contender and round.

    replicas: of all workers together. least: seconds that a contender takes in a round, at least.
    """
    context = multiprocessing.get_context("spawn")
    count = min(len(cores()), replicas)
    shares = [replicas * (k + 1) // count - replicas * k // count for k in range(count)]
    pipes = [context.Pipe() for _ in shares]
    workers = [
        context.Process(target=_work, args=(theirs, core, list(names), share, overrides), daemon=True)
        for (_, theirs), core, share in zip(pipes, cores()[:count], shares, strict=True)
    ]
    for worker in workers:
        worker.start()
    ours = [pipe for pipe, _ in pipes]
    try:
        for pipe in ours:
            pipe.recv()  # has run every contender once
        return [{name: _round(ours, name, least) for name in names} for _ in range(rounds)]
    finally:
        for pipe in ours:
            pipe.send(None)
        for worker in workers:
            worker.join()


def _round(pipes: Sequence[Connection], name: str, least: float) -> float:
    for pipe in pipes:
        pipe.send((name, least))
    return float(sum(pipe.recv() for pipe in pipes))


def _work(pipe: Connection, core: int, names: list[str], replicas: int, overrides: tuple[str, ...]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    contenders = {name: contender(name, replicas, *overrides) for name in names}
    for one in contenders.values():
        one.update()
    pipe.send(None)
    while (order := pipe.recv()) is not None:
        name, least = order
        began, updates = time.perf_counter(), 0
        while time.perf_counter() - began < least:
            contenders[name].update()
            updates += 1
        pipe.send(replicas * updates / (time.perf_counter() - began))
