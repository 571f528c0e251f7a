"""A run in which a stage is done with a fault in it and then done again, and what that came to.

Every stage of every case is the real command in a process of its own, forked from this one, which has imported
everything already. The fault is the operating system's: a signal, or, through `shim.c`, a call that fails.
"""

import contextlib
import ctypes
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from discnb.checkpoint import newest_checkpoint, read_manifest, sha256
from discnb.doctor import STAGES as FOLDERS

STAGES = tuple(FOLDERS)
SETTINGS = {
    "data.size": 60,
    "teacher.steps": 3,
    "train.checkpoint_steps": 2,
    "export.parity_samples": 1,
    "export.importance_samples": 4,
    "export.generated_tokens": 8,
    "grade.samples": 1,
    "grade.new_tokens": 8,
}
SHIM = "DISCNB_FAULT_SHIM"


def with_shim(arguments: list[str], folder: Path) -> None:
    """Begin this process again with the shim loaded, unless it is; it is compiled into `folder`."""
    if SHIM in os.environ:
        return
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    # one thread, so that the last bits are the same whatever else the machine does
    more = {"LD_PRELOAD": str(library), SHIM: str(library), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.execve(sys.executable, [sys.executable, "-m", "tests.faults", *arguments], {**os.environ, **more})


@dataclass(frozen=True)
class Fault:
    """Call number `at` of those that change the run's files fails with `error`, or kills the process where it is 0."""

    at: int
    error: int = 0
    every: bool = False


@dataclass(frozen=True)
class Done:
    """How a process ended: its exit code (negative: the signal), what it said, and what the shim saw."""

    code: int
    said: str
    calls: int = 0
    injected: int = 0
    where: str = ""


@dataclass
class Result:
    """What became of one fault: `survived`, `refused` (an error that names the file) or `lost`."""

    kind: str
    name: str
    outcome: str
    detail: str = ""


@dataclass
class Lab:
    """The reference run, stage by stage, in `folder`."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    prints: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Do every stage once, keeping the run as it was before each."""
        run = self.folder / "reference"
        for stage in STAGES:
            if run.exists():
                shutil.copytree(run, self.before(stage))
            else:
                self.before(stage).mkdir(parents=True)
            begin = time.monotonic()
            done = start(run, stage, modules=True).wait()
            if done.code != 0:
                raise RuntimeError(f"stage {stage} failed without a fault:\n{done.said}")
            self.seconds[stage], self.calls[stage] = time.monotonic() - begin, done.calls
            _import_what_it_imported(run)
        self.prints = {stage: fingerprint(run, stage) for stage in STAGES}

    def before(self, stage: str) -> Path:
        """The run as it was before `stage`; after all of them it is `reference`."""
        return self.folder / f"before-{stage}"

    def compare(self, run: Path, stages: tuple[str, ...]) -> str:
        """What of these stages differs from the reference, or nothing."""
        differing = [stage for stage in stages if fingerprint(run, stage) != self.prints[stage]]
        return f"differs from the uninterrupted run: {', '.join(differing)}" if differing else ""


@dataclass
class Process:
    """A command under way in a child, its output in `log`."""

    pid: int
    log: Path
    begin: float = field(default_factory=time.monotonic)

    def wait(self) -> Done:
        _, status = os.waitpid(self.pid, 0)
        facts = self.log.with_suffix(".json")
        seen = json.loads(facts.read_text()) if facts.exists() else {}
        return Done(os.waitstatus_to_exitcode(status), self.log.read_text(errors="replace"), **seen)

    def ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def start(
    run: Path,
    *stages: str,
    fault: Fault | None = None,
    clock: Callable[[ctypes.CDLL], None] = lambda shim: None,
    modules: bool = False,
) -> Process:
    """Fork, and in the child call `discnb` for each stage until one fails."""
    log = run.parent / f"{run.name}-{time.monotonic_ns()}.log"
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Process(pid, log)
    code = 99
    shim = ctypes.CDLL(os.environ[SHIM])
    shim.fault_where.restype = ctypes.c_char_p
    output = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(output, 1), os.dup2(output, 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        shim.fault_arm(f"{run}/".encode(), *((fault.at, fault.error, fault.every) if fault else (0, 0, 0)))
        clock(shim)
        for stage in stages:
            code = _command(stage, run)
            if code:
                break
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush(), sys.stderr.flush()
        seen = {"calls": shim.fault_calls(), "injected": shim.fault_injected(), "where": shim.fault_where().decode()}
        shim.fault_arm(b"", 0, 0, 0)
        log.with_suffix(".json").write_text(json.dumps(seen))
        if modules:
            log.with_suffix(".modules").write_text("\n".join(sys.modules))
        os._exit(code)


def _command(stage: str, run: Path) -> int:
    from discnb.cli import main

    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    fresh = ["--preset", "tiny", *settings] if not (run / "config.json").exists() else []
    sys.argv = ["discnb", stage, "--run-dir", str(run), *fresh]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _import_what_it_imported(run: Path) -> None:
    for list_ in run.parent.glob("*.modules"):
        for name in list_.read_text().splitlines():
            if name not in sys.modules and not name.startswith(("tests.", "__")):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        list_.unlink()


def fingerprint(run: Path, stage: str) -> Any:
    """The hashes of everything a stage leaves that must not depend on how often it was interrupted."""
    manifest = read_manifest(run / FOLDERS[stage])
    if manifest is None:
        return "not done"
    found = {"files": manifest["files"], **{name: manifest[name] for name in ("reports", "grades") if name in manifest}}
    if stage == "train":
        found["metrics"] = sha256(run / "metrics.jsonl")
        last = newest_checkpoint(run / "checkpoints")
        found["checkpoint"] = last and {"step": last.name, **(read_manifest(last) or {})["files"]}
    return found


def each(
    cases: list[tuple[str, str, Callable[[Path], tuple[str, str]]]], folder: Path, workers: int
) -> Iterator[Result]:
    """Every case's result, as it comes, `workers` at a time, each in a process and a folder of its own."""
    waiting, running = list(reversed(cases)), dict[int, tuple[str, str, Path]]()
    while waiting or running:
        while waiting and len(running) < workers:
            kind, name, case = waiting.pop()
            place = folder / f"case-{len(waiting)}"
            place.mkdir()
            sys.stdout.flush()
            if pid := os.fork():
                running[pid] = kind, name, place
                continue
            try:
                found = case(place)
            except BaseException:
                found = "lost", traceback.format_exc()
            (place / "result").write_text(json.dumps(found))
            os._exit(0)
        pid, _ = os.wait()
        kind, name, place = running.pop(pid)
        outcome, detail = json.loads((place / "result").read_text())
        if outcome != "lost":
            shutil.rmtree(place)
        yield Result(kind, name, outcome, detail)
