"""Commands as processes of their own, forked where torch stands ready; and what is the same in two results folders."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from bench.runs.directory import RunDirectory

BEGUN = "begun.log"
CLOCKS = ("seconds", "pack_width")
AS_LONG_AS_IT_TAKES = 3600.0


def started(results: Path, *arguments: str, grace: float = AS_LONG_AS_IT_TAKES) -> BaseProcess:
    """`python -m bench` with these arguments, in a process that leads a session; what it says goes to `said`.

    grace: seconds that what is in training has to be kept once a signal ends the command.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.sweep.execution", "bench.__main__"])
    process = context.Process(target=_command, args=(results, [f"results={results}", *arguments], grace))
    process.start()
    return process


def _command(results: Path, arguments: list[str], grace: float) -> None:
    from bench.__main__ import main
    from bench.sweep import signals

    os.setsid()
    signals.GRACE = grace
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


def wait_until(condition: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
    """As long as it takes, or until the process that is to bring it about has ended without it."""
    while not condition():
        if not alive():
            assert condition()
            return
        time.sleep(0.02)


def workers_of(command: int) -> list[int]:
    """Process ids of a command's workers, which are children of the fork server, which is a child of the command."""
    ids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in ids if (server := _parent(pid)) != command and _parent(server) == command]


def _parent(pid: int) -> int:
    """0 where the process has ended by now."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def halt(pid: int) -> None:
    """Have a process stand still; it stands only once it has been given a turn."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def is_asked_to_end(pid: int) -> bool:
    """Whether SIGTERM waits for a process that stands still."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (pending,) = (int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
    return bool(pending >> (signal.SIGTERM - 1) & 1)


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
