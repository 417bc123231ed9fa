"""Signals end a command once, and what ends then is not cut short by another one."""

import os
import signal

import pytest

from bench.sweep import signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_interrupt_what_is_asked_to_end(number):
    with signals.stop_on_signals() as stop:
        assert not stop
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert stop


def test_what_does_not_answer_is_interrupted(monkeypatch):
    monkeypatch.setattr(signals, "GRACE", 0.01)

    def never_looking():
        with signals.stop_on_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                signal.pause()

    with pytest.raises(KeyboardInterrupt):
        never_looking()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_the_first_signal_interrupts(number):
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background of a shell
    with signals.interrupted_once():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
