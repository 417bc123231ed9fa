"""Telling a person how far a sweep is: a bar in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0
log = logging.getLogger(__name__)


class Console(logging.Handler):
    """Log lines on standard error that leave a progress bar intact."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class SweepProgress:
    """Counts replica-updates of all packs of a sweep.

    packs: (replicas, updates) of each. Use as a context manager; `advance` a pack whenever it tells where it stands.
    """

    def __init__(self, packs: list[tuple[int, int]]) -> None:
        self._packs = packs
        self._updates = [0] * len(packs)
        self._solved = [0] * len(packs)
        self._finished = [False] * len(packs)
        self._replicas = sum(width for width, _ in packs)
        self._total = sum(width * updates for width, updates in packs)
        self._began = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> SweepProgress:
        self._bar = tqdm(total=self._total, unit=" updates", disable=None, smoothing=0.05, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, pack: int, update: int, solved: int) -> None:
        """A pack has done so many updates, and so many of its replicas have solved their task."""
        width, _ = self._packs[pack]
        self._bar.update((update - self._updates[pack]) * width)
        self._updates[pack], self._solved[pack] = update, solved
        self._show()

    def finish(self, pack: int) -> None:
        """A pack has ended, well or not."""
        width, updates = self._packs[pack]
        self._bar.update((updates - self._updates[pack]) * width)
        self._updates[pack], self._finished[pack] = updates, True
        self._show()

    def _show(self) -> None:
        replicas = sum(width for (width, _), done in zip(self._packs, self._finished, strict=True) if done)
        solved = sum(self._solved)
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{replicas}/{self._replicas} replicas, {solved / self._replicas:.0%} solved")
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            done = sum(width * updates for (width, _), updates in zip(self._packs, self._updates, strict=True))
            rate = done / (self._said - self._began)
            left = (self._total - done) / rate if rate else float("inf")
            log.info(
                "%d of %d replicas done, %.0f %% of the updates at %.0f per second, %.0f s left, %.0f %% solved",
                *(
                    replicas,
                    self._replicas,
                    100 * done / self._total,
                    rate,
                    left,
                    100 * solved / self._replicas,
                ),
            )
