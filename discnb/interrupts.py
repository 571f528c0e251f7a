"""SIGINT and SIGTERM: a training ends its step and saves it before it stops, a notebook waits for its process."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(RuntimeError):
    """A signal, `stopped_by`, asked the training to stop, and it did, after a step whose checkpoint is complete."""

    def __init__(self, number: int, step: int, steps: int) -> None:
        super().__init__(
            f"the training stopped after step {step} of {steps}, which is saved; the same command goes on from there"
        )
        self.stopped_by = number


@contextmanager
def signals_kept(then: Callable[[], None]) -> Iterator[list[int]]:
    """SIGINT and SIGTERM join this list and call `then`; the second time they do what they did before."""
    kept: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield kept
        return

    def keep(number: int, frame: Any) -> None:
        kept.append(number)
        signal.signal(number, before[signal.Signals(number)])
        then()

    before = {number: signal.signal(number, keep) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
