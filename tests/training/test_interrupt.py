"""Signals as a request that training finishes, and that other work breaks off for."""

from __future__ import annotations

import signal
import threading

import pytest

from convlens.training.interrupt import Interrupt, Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_is_only_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.number is None
        signal.raise_signal(number)
        assert interrupt.number == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_at_once_breaks_off_with_the_code_a_shell_expects(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"Stopped by signal {number}") as caught, Interrupt(at_once=True):
        signal.raise_signal(number)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_work_inside_takes_the_signals_over() -> None:
    with Interrupt(at_once=True) as outer:
        with Interrupt() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert (inner.number, outer.number) == (signal.SIGTERM, None)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupt(at_once=True):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="disk"), Interrupt(at_once=True):
        raise OSError("disk")


def test_beside_the_main_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with Interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
