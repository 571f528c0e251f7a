"""The faults: kills, signals, failing calls, damaged files, a second process, a clock that goes back."""

import ctypes
import errno
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from discnb.checkpoint import is_temporary, newest_checkpoint, step_of

from .harness import STAGES, Done, Fault, Lab, Process, start

EVERY_CALL = ("data", "eval", "grade")
"""Stages of which every call that changes a file fails once; of the others twenty do."""

Case = tuple[str, str, Callable[[Path], tuple[str, str]]]


def cases(lab: Lab, seed: int, share: float) -> list[Case]:
    """All of them, or a `share` of those of each kind, at least one; the same for the same seed."""
    chance = random.Random(seed)
    made: list[Case] = []
    for stage in STAGES:
        made += [
            ("SIGKILL at a moment", f"{stage} after {part:.0%}", partial(killed, lab, stage, part))
            for part in (chance.random() for _ in range(10))
        ]
        calls = range(1, lab.calls[stage] + 1)
        made += [
            ("SIGKILL in a write", f"{stage}, call {at}", partial(failing, lab, stage, Fault(at)))
            for at in chance.sample(calls, min(8, len(calls)))
        ]
        for code in (errno.ENOSPC, errno.EIO):
            made += [
                (errno.errorcode[code], f"{stage}, call {at}", partial(failing, lab, stage, Fault(at, code)))
                for at in (calls if stage in EVERY_CALL else chance.sample(calls, min(20, len(calls))))
            ]
        made.append(("read-only folder", stage, partial(failing, lab, stage, Fault(1, errno.EROFS, every=True))))
        made += [
            (number.name, f"{stage} after {part:.0%}", partial(signalled, lab, stage, part, number))
            for number in (signal.SIGINT, signal.SIGTERM)
            for part in (chance.random() for _ in range(3 if stage == "train" else 1))
        ]
        made.append(("second process", stage, partial(joined, lab, stage)))
        made.append(("clock set back", stage, partial(set_back, lab, stage)))
    for path in sorted(lab.folder.joinpath("reference").rglob("*")):
        name = str(path.relative_to(lab.folder / "reference"))
        if path.is_file() and path.stat().st_size and not name.startswith("tensorboard"):
            made.append(("byte flipped", name, partial(damaged, lab, name, chance.random(), flip)))
            made.append(("file cut", name, partial(damaged, lab, name, chance.random(), cut)))
    kept: list[Case] = []
    for kind in dict.fromkeys(kind for kind, _, _ in made):
        of_kind = [case for case in made if case[0] == kind]
        kept += chance.sample(of_kind, max(1, round(share * len(of_kind))))
    return kept


def again(lab: Lab, run: Path, *stages: str, may_refuse: bool = False) -> tuple[str, str]:
    """Do the stages again: everything must be there, or, if it may, an error must name a file of the run."""
    done = start(run, *stages).wait()
    if may_refuse and done.code == 2 and clear(done, run):
        return "refused", last_line(done)
    if done.code:
        return "lost", f"the second time: code {done.code}\n{done.said[-2000:]}"
    if differing := lab.compare(run, tuple(stages)):
        return "lost", differing
    if left := [path.name for path in run.rglob("*") if is_temporary(path)]:
        return "lost", f"left behind: {left}"
    return "survived", ""


def clear(done: Done, run: Path) -> bool:
    """One line that names a file of the run, and no traceback."""
    return str(run) in last_line(done) and "Traceback" not in done.said


def last_line(done: Done) -> str:
    return (done.said.replace("\r", "\n").strip().splitlines() or [""])[-1]


def copy_of(lab: Lab, stage: str, place: Path) -> Path:
    return Path(shutil.copytree(lab.before(stage), place / "run"))


def killed(lab: Lab, stage: str, part: float, place: Path) -> tuple[str, str]:
    run = copy_of(lab, stage, place)
    process = start(run, stage)
    time.sleep(part * lab.seconds[stage])
    os.kill(process.pid, signal.SIGKILL)
    if process.wait().code != -signal.SIGKILL:  # it had ended before
        return killed(lab, stage, part / 2, place / "earlier")
    return again(lab, run, stage)


def failing(lab: Lab, stage: str, fault: Fault, place: Path) -> tuple[str, str]:
    run = copy_of(lab, stage, place)
    done = start(run, stage, fault=fault).wait()
    if fault.error and not done.injected:
        return "lost", f"the call was never made: {done.calls} calls"
    if fault.error and done.code and not (done.code == 2 and clear(done, run)):
        return "lost", f"no clear error at {done.where}: code {done.code}\n{done.said[-3000:]}"
    if not fault.error and done.code != -signal.SIGKILL:
        return "lost", f"was to be killed at call {fault.at}: code {done.code}"
    return again(lab, run, stage)


def signalled(lab: Lab, stage: str, part: float, number: signal.Signals, place: Path) -> tuple[str, str]:
    run = copy_of(lab, stage, place)
    process = start(run, stage)
    time.sleep(part * lab.seconds[stage])
    rows = steps(run)
    os.kill(process.pid, number)
    done = process.wait()
    if done.code not in (0, 128 + number, -number) or (done.code == 0 and "stopping after" in done.said):
        return "lost", f"code {done.code}\n{done.said[-2000:]}"
    if "stopping after this step" in done.said and done.code:
        saved = newest_checkpoint(run / "checkpoints")
        if saved is None or step_of(saved) != steps(run) or steps(run) < rows:
            return "lost", f"stopped in training after {steps(run)} steps, and saved {saved}"
    return again(lab, run, stage)


def steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def joined(lab: Lab, stage: str, place: Path) -> tuple[str, str]:
    """A second process comes while the first is held in the middle of the stage."""
    run = copy_of(lab, stage, place)
    first = start(run, stage)
    if not hold(first, run):
        return "lost", "the first process did not take the folder"
    second = start(run, stage).wait()
    os.kill(first.pid, signal.SIGCONT)
    done = first.wait()
    if second.code != 2 or "another process works in" not in second.said or not clear(second, run):
        return "lost", f"the second process was not refused: code {second.code}\n{second.said[-2000:]}"
    return ("lost", done.said[-2000:]) if done.code else again(lab, run, stage)


def hold(process: Process, run: Path) -> bool:
    """Stop the process as soon as it says that it works."""
    while not process.ended():
        if process.log.exists() and "working in" in process.log.read_text(errors="replace"):
            os.kill(process.pid, signal.SIGSTOP)
            return True
        time.sleep(0.002)
    return False


def set_back(lab: Lab, stage: str, place: Path) -> tuple[str, str]:
    """The clock goes back by a day in the middle of the stage, and by two before it is asked for again."""
    run = copy_of(lab, stage, place)

    def later(shim: ctypes.CDLL) -> None:
        threading.Timer(lab.seconds[stage] / 2, shim.fault_clock, [86_400]).start()

    done = start(run, stage, clock=later).wait()
    if done.code:
        return "lost", f"code {done.code}\n{done.said[-2000:]}"
    twice = start(run, stage, clock=lambda shim: shim.fault_clock(2 * 86_400)).wait()
    if twice.code or "working in" in twice.said:
        return "lost", f"done again, or failed: code {twice.code}\n{twice.said[-2000:]}"
    return again(lab, run, stage)


def flip(content: bytearray, part: float) -> bytearray:
    content[int(part * len(content))] ^= 1 << int(part * 8_000) % 8
    return content


def cut(content: bytearray, part: float) -> bytearray:
    return content[: int(part * len(content))]


def damaged(
    lab: Lab, name: str, part: float, change: Callable[[bytearray, float], bytearray], place: Path
) -> tuple[str, str]:
    """A file of the finished run is damaged, and the run is asked for again; a checkpoint's, in an unfinished one."""
    run = Path(shutil.copytree(lab.folder / "reference", place / "run"))
    if name.startswith("checkpoints/"):
        (run / "student" / "manifest.json").unlink()
    path = run / name
    path.write_bytes(change(bytearray(path.read_bytes()), part))
    return again(lab, run, *STAGES, may_refuse=True)
