"""Telling a person how far a sweep is: a bar in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
TICK_SECONDS = 1.0
NOTEBOOK = "ipykernel"  # loaded where a notebook runs, whose output is no terminal and shows a bar all the same
log = logging.getLogger(__name__)


class Console(logging.Handler):
    """Log lines on standard error that leave a progress bar intact."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def bar(**settings: Any) -> Any:
    """A bar of tqdm, in a terminal or a notebook; elsewhere it is disabled."""
    return tqdm(disable=False if NOTEBOOK in sys.modules else None, dynamic_ncols=True, **settings)


def starting() -> Any:
    """A word in a terminal or a notebook while torch is imported, which takes seconds; a context manager."""
    return bar(total=1, desc="starting ...", bar_format="{desc}", leave=False)


class SweepProgress:
    """Counts the updates of all runs of a sweep.

    updates: of each run, by its id. done: of them before, where it goes on from a checkpoint. packs: in which they
    train. Use as a context manager; `advance` whenever some of them tell where they stand.
    """

    def __init__(self, updates: Mapping[str, int], done: Mapping[str, int], packs: int) -> None:
        self._updates = updates
        self._done = dict(done)
        self._solved: set[str] = set()
        self._ended: set[str] = set()
        self._packs, self._packs_ended = packs, 0
        self._best = -math.inf
        self._before = sum(done.values())
        self._total = sum(updates.values())
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._over = threading.Event()

    def __enter__(self) -> SweepProgress:
        self._bar = bar(total=self._total, initial=self._before, unit=" updates", smoothing=0.05)
        self._show()
        if not self._bar.disable:
            threading.Thread(target=self._keep_time, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._bar.close()

    def _keep_time(self) -> None:
        """Let the bar's clock go on, also while nothing is heard: workers start, an engine compiles."""
        while not self._over.wait(TICK_SECONDS):
            self._bar.refresh()

    def advance(self, standing: Mapping[str, tuple[int, bool, float]]) -> None:
        """So many updates are done of some runs, some of them have solved their task, and the best skill of each."""
        for run, (update, solved, skill) in standing.items():
            step = update - self._done.get(run, 0)
            if step < 0:  # it has begun anew: its checkpoint was of no use
                self._before -= self._done[run]
            self._bar.update(step)
            self._done[run] = update
            self._best = max(self._best, skill)
            if solved:
                self._solved.add(run)
        self._show()

    def finish(self, runs: Iterable[str], halves: int = 0) -> None:
        """A pack has ended, and these of its runs, well or not; halves: packs that take its place."""
        self._packs_ended += 1
        self._packs += halves
        for run in runs:
            self._bar.update(self._updates[run] - self._done.get(run, 0))
            self._done[run] = self._updates[run]
            self._ended.add(run)
        self._show()

    def _show(self) -> None:
        said = f"{self._packs_ended}/{self._packs} packs, {len(self._ended)}/{len(self._updates)} runs"
        if math.isfinite(self._best):
            said += f", best skill {self._best:.2f}, {len(self._solved)} solved"
        if not self._bar.disable:
            self._bar.set_postfix_str(said)
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            done = sum(self._done.values())
            rate = (done - self._before) / (self._said - self._began)
            left = f", {(self._total - done) / rate:.0f} s left" if rate else ""  # no pace yet, no forecast
            log.info("%s; %.0f %% of the updates at %.3g per second%s", said, 100 * done / self._total, rate, left)
