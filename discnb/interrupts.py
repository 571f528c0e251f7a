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
        self._said = number, step, steps

    def __reduce__(self) -> tuple[Any, ...]:  # so that it comes out of a worker process
        return Stopped, self._said


@contextmanager
def signals_kept(then: Callable[[], None]) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM joins this list and calls `then`; the next one does what it did before.

    One that was ignored stays so, and in another thread than the main one, which alone hears of signals, none is kept.
    """
    kept: list[int] = []
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if mine else {}
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def keep(number: int, frame: Any) -> None:
        kept.append(number)
        restore()
        then()

    try:
        for number in before:
            signal.signal(number, keep)
        yield kept
    finally:
        restore()
