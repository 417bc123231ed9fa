"""Telling a person how far a sweep is: a bar in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
NOTEBOOK = "ipykernel"  # loaded where a notebook runs, whose output is no terminal and shows a bar all the same
log = logging.getLogger(__name__)


class Console(logging.Handler):
    """Log lines on standard error that leave a progress bar intact."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class SweepProgress:
    """Counts the updates of all runs of a sweep.

    updates: of each run, by its id. done: of them before, where it goes on from a checkpoint. Use as a context
    manager; `advance` whenever some of them tell where they stand.
    """

    def __init__(self, updates: Mapping[str, int], done: Mapping[str, int]) -> None:
        self._updates = updates
        self._done = dict(done)
        self._solved: set[str] = set()
        self._ended: set[str] = set()
        self._before = sum(done.values())
        self._total = sum(updates.values())
        self._began = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> SweepProgress:
        quiet = False if NOTEBOOK in sys.modules else None  # None: where the output is no terminal
        self._bar = tqdm(
            total=self._total, initial=self._before, unit=" updates", disable=quiet, smoothing=0.05, dynamic_ncols=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, standing: Mapping[str, tuple[int, bool]]) -> None:
        """So many updates are done of some runs, and some of them have solved their task."""
        for run, (update, solved) in standing.items():
            step = update - self._done.get(run, 0)
            if step < 0:  # it has begun anew: its checkpoint was of no use
                self._before -= self._done[run]
            self._bar.update(step)
            self._done[run] = update
            if solved:
                self._solved.add(run)
        self._show()

    def finish(self, runs: Iterable[str]) -> None:
        """Some runs have ended, well or not."""
        for run in runs:
            self._bar.update(self._updates[run] - self._done.get(run, 0))
            self._done[run] = self._updates[run]
            self._ended.add(run)
        self._show()

    def _show(self) -> None:
        ended, runs, solved = len(self._ended), len(self._updates), len(self._solved)
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{ended}/{runs} replicas, {solved / runs:.0%} solved")
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            done = sum(self._done.values())
            rate = (done - self._before) / (self._said - self._began)
            left = f", {(self._total - done) / rate:.0f} s left" if rate else ""  # no pace yet, no forecast
            log.info(
                "%d of %d replicas done, %.0f %% of the updates at %.3g per second%s, %.0f %% solved",
                *(ended, runs, 100 * done / self._total, rate, left, 100 * solved / runs),
            )
