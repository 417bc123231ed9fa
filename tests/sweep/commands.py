"""Commands as processes of their own, forked where torch stands ready; and what is the same in two results folders."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from bench.runs.directory import RunDirectory

BEGUN = "begun.log"
CLOCKS = ("seconds", "pack_width")


def started(results: Path, *arguments: str) -> BaseProcess:
    """`python -m bench` with these arguments, in a process that leads a session; what it says goes to `said`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.sweep.execution", "bench.__main__"])
    process = context.Process(target=_command, args=(results, [f"results={results}", *arguments]))
    process.start()
    return process


def _command(results: Path, arguments: list[str]) -> None:
    from bench.__main__ import main

    os.setsid()
    results.parent.mkdir(parents=True, exist_ok=True)
    begin, log = RunDirectory.begin, os.open(results.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(results.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)

    def noted(self: RunDirectory, *rest: object) -> None:
        os.write(log, f"{self.run_id}\n".encode())
        begin(self, *rest)  # type: ignore[arg-type]

    RunDirectory.begin = noted  # type: ignore[method-assign,assignment]
    sys.exit(main(arguments))


def said(results: Path) -> str:
    """All that the commands on this folder have said."""
    return results.with_suffix(".said").read_text()


def begun(results: Path) -> list[str]:
    """Run ids, one for each time that one of those commands began a run."""
    return results.with_suffix(".log").read_text().split()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def directories(results: Path) -> list[RunDirectory]:
    return [RunDirectory(results, path.name) for path in sorted(results.glob("[!.]*"))]


def assert_same_results(one: Path, other: Path) -> None:
    """Bit by bit, but for what a clock says and how wide the packs were."""
    assert [run.run_id for run in directories(one)] == [run.run_id for run in directories(other)]
    for mine, theirs in zip(directories(one), directories(other), strict=True):
        assert mine.is_finished
        assert theirs.is_finished
        a, b = ({name: v for name, v in run.outcome.items() if name not in CLOCKS} for run in (mine, theirs))
        np.testing.assert_equal(a, b)
        names = sorted(path.name for path in mine.path.glob("*.npz"))
        assert names == sorted(path.name for path in theirs.path.glob("*.npz"))
        for name in names:
            with np.load(mine.path / name) as a, np.load(theirs.path / name) as b:
                assert a.files == b.files
                for column in a.files:
                    if column not in CLOCKS:
                        assert a[column].dtype == b[column].dtype
                        np.testing.assert_array_equal(a[column], b[column])
