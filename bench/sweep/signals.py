"""Ctrl-C and SIGTERM as a request that training looks at, so that what it has done is kept first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

GRACE = 4.0  # seconds to keep what is in training, once asked to end


class StopRequest:
    """Whether someone asked to end; a signal may ask at any moment, and no lock is involved."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def now(self) -> None:
        """Ask."""
        self._asked = True


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """SIGTERM and Ctrl-C ask to end, and `GRACE` seconds without an answer interrupt.

    A further signal changes nothing: it would only lose what is being kept.
    """
    stop = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            raise KeyboardInterrupt
        if not stop:
            stop.now()
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    with handled(ask, signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        try:
            yield stop
        finally:
            if stop:
                signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """The first SIGTERM or Ctrl-C interrupts.

    A further one changes nothing: it would cut short what ends then.
    """
    stop = StopRequest()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not stop:
            stop.now()
            raise KeyboardInterrupt

    with handled(interrupt, signal.SIGINT, signal.SIGTERM):
        yield


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Signals go to `handler` meanwhile; outside the main thread, which alone may say so, they stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
