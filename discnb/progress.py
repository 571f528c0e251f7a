"""Progress of long work: a live bar on a terminal, a line now and then in a log or notebook."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Update(Protocol):
    def __call__(self, done: float, total: float, text: str = "") -> None: ...


@contextmanager
def progress(title: str, shown: bool = True) -> Iterator[Update]:
    """A function to call with work done, work in total, and what else to show; it does nothing unless `shown`."""
    if not shown:
        yield lambda done, total, text="": None
        return
    console = Console()
    if console.is_terminal and not console.is_jupyter:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=None, text="")
            yield lambda done, total, text="": bar.update(task, completed=done, total=total, text=text)
        return

    begin = last = time.monotonic()

    def line(done: float, total: float, text: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done >= total:
            last = now
            left = (now - begin) * (total - done) / done if done else float("nan")
            print(f"{title} {done / total:4.0%}  {text}  {left:.0f} s left", flush=True)

    yield line
