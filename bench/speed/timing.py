"""Interleaved rounds: every contender once, then every contender again, because the speed of a machine drifts.

A ratio is the median of the rounds' ratios. Processor time of one thread: what else the machine does is not counted.
"""

from __future__ import annotations

import ctypes
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.engines import building

PEAK_SIZE = 512  # of the square matrices whose product is the yardstick for FLOPs

Rounds = list[dict[str, float]]


def seconds(function: Callable[[], object]) -> float:
    """Seconds of processor time that one call takes."""
    began = time.process_time()
    function()
    return time.process_time() - began


def interleaved(functions: Mapping[str, Callable[[], object]], count: int) -> Rounds:
    """Seconds of each in every round; before the first each has run once."""
    for function in functions.values():
        function()
    return [{name: seconds(function) for name, function in functions.items()} for _ in range(count)]


def typical(rounds: Rounds, name: str) -> float:
    """Median seconds."""
    return statistics.median(times[name] for times in rounds)


def ratio(rounds: Rounds, slower: str, faster: str) -> float:
    """How many times as fast."""
    return statistics.median(times[slower] / times[faster] for times in rounds)


def matmul() -> Callable[[], object]:
    """torch.matmul of 512^3, the measured peak: 2 * 512^3 floating point operations."""
    a, b, c = (torch.rand(PEAK_SIZE, PEAK_SIZE) for _ in range(3))
    return lambda: torch.matmul(a, b, out=c)


def register_sums(march: str) -> tuple[Callable[[], object], float]:
    """Multiplications with additions in registers alone, and how many floating point operations they are.

    march: the compiler's name of an instruction set. Raises NoCompiler.
    """
    library = building.load(Path(__file__).with_name("peak.c").read_text(), march=march)
    rounds, number = ctypes.c_int64(1_000_000), ctypes.c_float(0.5)
    library.operations.restype, library.multiply_and_add.restype = ctypes.c_int64, ctypes.c_float
    return functools.partial(library.multiply_and_add, rounds, number, number), float(library.operations(rounds))


def flops(cell: Any, inputs: int, outputs: int, steps: int, scored: int, batch: int) -> float:
    """Useful floating point operations of an update of one replica: its products, forward, back and for the weights."""
    gates = max(1, len(cell.gates))
    each_way = steps * gates * cell.hidden * (cell.hidden + inputs) + scored * cell.hidden * outputs
    return float(6 * batch * each_way)
