"""How the benchmarks measure: pairs in alternating order, memory in a process of its own, results as JSON."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def paired_seconds(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every variant in every round, after one round of warming up.

    A variant returns its own seconds. Rounds alternate in order, so that a drifting machine touches all alike.
    """
    names, seconds = list(variants), {name: [] for name in variants}
    for number in range(rounds + 1):
        for name in names if number % 2 else names[::-1]:
            took = variants[name]()
            print(f"  round {number}: {name} {took:.2f} s", file=sys.stderr, flush=True)
            if number:
                seconds[name].append(took)
    return seconds


def timed(step: Callable[[], object]) -> Callable[[], float]:
    """`step` as a function that returns the seconds it took."""

    def run() -> float:
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    return run


def ratio(seconds: Mapping[str, list[float]], name: str, to: str) -> float:
    """Median over the rounds of one variant's seconds over another's."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[to], strict=True))


def peak_extra(prepare: Callable[[], object], step: Callable[[], object]) -> int:
    """Bytes by which `step` raises this process's high-water mark after `prepare` (Linux)."""
    prepare()
    # the mark starts again from here: preparing may have reached higher than the step will
    Path("/proc/self/clear_refs").write_text("5")
    before = _high_water_mark()
    step()
    return _high_water_mark() - before


def in_own_process(script: str, *arguments: object) -> Any:
    """The JSON that a benchmark script prints when it is called with these arguments."""
    command = [sys.executable, script, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def save(name: str, figures: dict[str, Any]) -> None:
    """Write the figures with what they were measured on."""
    import torch

    machine = {"cores": os.cpu_count(), "torch": torch.__version__, "python": platform.python_version()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")


def _high_water_mark() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
