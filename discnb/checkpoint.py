"""Folders that are complete or not there: manifests with SHA-256, atomic writes, the newest complete checkpoint.

safetensors and torch files with a flipped byte load silently, so a folder counts as complete only while every file
named in its manifest, which is written last, has the recorded size and hash. What the manifest itself says, numbers of
a report among it, is held by its `seal`.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError

MANIFEST = "manifest.json"
ORIGIN = "inputs.json"
"""What an unfinished stage is being made of; a finished one's manifest says it."""
WRITERS_ERRORS = ("inline_container", "PytorchStreamWriter", "iostream error")
"""What torch and llama.cpp say in a RuntimeError when a file cannot be written."""

log = logging.getLogger(__name__)


class DamagedFile(ValueError):
    """Files that a manifest lists are missing or not what was written; `paths` says which."""

    def __init__(self, faults: dict[Path, str]) -> None:
        super().__init__("; ".join(f"{path} {what}" for path, what in faults.items()))
        self.faults = faults
        self.paths = list(faults)

    def __reduce__(self) -> tuple[Any, ...]:  # so that it comes out of a worker process
        return type(self), (self.faults,)


class UnsealedFile(DamagedFile):
    """What should be sealed is not: an earlier discnb made it, or its seal was damaged. Nothing is deleted for that."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it becomes `path` in one step, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # appended, not prefixed: torch.save rejects a name that begins with a dot
    temporary = path.with_name(path.name + ".tmp")
    try:
        with writing(path):
            yield temporary
            _fsync(temporary)
            temporary.replace(path)
            _fsync(path.parent)
    finally:
        with suppress(OSError):  # it is swept when the stage is done again
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever a library raises when it cannot write, and the system's own errors, are an OSError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, f"{error.strerror or error}, while it was written", str(path)) from error
    except Exception as error:
        of_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in WRITERS_ERRORS)
        if not of_torch and not isinstance(error, SafetensorError) and type(error) is not Exception:  # of tokenizers
            raise
        raise OSError(f"{path} could not be written: {' '.join(str(error).split())[:300]}") from error


def is_temporary(path: Path) -> bool:
    """Is it what a killed write left: ours, or that of safetensors?"""
    return path.suffix == ".tmp" or path.name.startswith(".tmp")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON; a NaN or infinity is a ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`, without NaN and without a name twice; damaged text is a DamagedFile that names it."""
    if path.exists() and not path.is_file():
        raise DamagedFile({path: "is no file; expected JSON"})
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_no_number, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise DamagedFile({path: f"is not valid JSON ({error})"}) from error


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with the SHA-256 of what it says as its `seal`, whatever the order and layout it is written in."""
    return {**value, "seal": _digest(value)}


def unseal(path: Path, value: Any) -> dict[str, Any]:
    """`value`, as read from `path`, without its seal; a broken one is a DamagedFile, a missing one an UnsealedFile."""
    if not isinstance(value, dict) or "seal" not in value:
        raise UnsealedFile({path: "has no seal: an earlier discnb made it, or it was damaged"})
    content = {name: item for name, item in value.items() if name != "seal"}
    if value["seal"] != _digest(content):
        raise DamagedFile({path: "was altered: its seal is not that of what it says"})
    return content


def _digest(value: Mapping[str, Any]) -> str:
    # through JSON, which makes texts of keys and lists of tuples
    plain = json.loads(json.dumps(value, allow_nan=False))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in `path`, one a line; a damaged line is a DamagedFile that names it by number."""
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            rows.append(json.loads(line.decode(), parse_constant=_no_number, object_pairs_hook=_each_once))
        except (ValueError, RecursionError) as error:
            raise DamagedFile({path: f"has no valid JSON in line {number} ({error})"}) from error
        if not isinstance(rows[-1], dict):
            raise DamagedFile({path: f"has no object in line {number}"})
    return rows


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_facts(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as manifests hold them."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def is_as_written(path: Path, facts: Mapping[str, Any]) -> bool:
    """Does the file have the size and hash in `facts`?"""
    return path.is_file() and file_facts(path) == facts


def write_manifest(
    folder: Path, *, known: Mapping[str, dict[str, Any]] = MappingProxyType({}), **facts: Any
) -> dict[str, Any]:
    """Declare every file under `folder` complete; returns the manifest, which holds `facts` beside the files.

    `known` are the `file_facts` of files that had them taken as they were written; they are not read again.
    """
    files = {
        (name := str(path.relative_to(folder))): known[name] if name in known else file_facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in (folder / MANIFEST, folder / ORIGIN) and not is_temporary(path)
    }
    with writing(folder):
        for name in files:
            _fsync(folder / name)
        for place in {(folder / name).parent for name in files} | {folder.parent}:  # the names are to last as well
            _fsync(place)
    manifest = {**facts, "files": files}
    write_json(folder / MANIFEST, seal(manifest))
    return manifest


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete folder, or None where there is none; a damaged file is a DamagedFile that names it.

    No name in it can lead out of the folder: not by `..`, nor as an absolute path, nor through a link.
    """
    if not (folder / MANIFEST).exists():
        return None
    manifest = read_json(folder / MANIFEST)
    if wrong := _what_is_wrong(manifest):
        raise DamagedFile({folder / MANIFEST: f"is no manifest: {wrong}"})
    manifest = unseal(folder / MANIFEST, manifest)
    faults, inside = {}, folder.resolve()
    for name, expected in manifest["files"].items():
        path = folder / name
        if path.is_symlink() or not path.resolve().is_relative_to(inside):
            faults[path] = f"is a link; expected a file in {folder} itself"
        elif not path.exists():
            faults[path] = f"is missing although {folder / MANIFEST} lists it"
        elif not path.is_file():
            faults[path] = f"is no file although {folder / MANIFEST} lists it as one"
        elif path.stat().st_size != expected["bytes"]:
            faults[path] = f"has {path.stat().st_size} bytes; its manifest says {expected['bytes']}"
        elif sha256(path) != expected["sha256"]:
            faults[path] = f"was altered: its SHA-256 is not the one in {folder / MANIFEST}"
    if faults:
        raise DamagedFile(faults)
    return manifest


def _what_is_wrong(manifest: Any) -> str | None:
    """What keeps a JSON value from being a manifest, or None."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return "expected an object with `files`, an object"
    for name, facts in manifest["files"].items():
        if not is_inner_path(name):
            return f"it lists {name!r}; expected a path inside its folder"
        if (
            not isinstance(facts, dict)
            or type(facts.get("bytes")) is not int
            or not isinstance(facts.get("sha256"), str)
        ):
            return f"it gives {name!r} {facts!r:.80}; expected `bytes`, a number, and `sha256`, a text"
    return None


def is_inner_path(name: str) -> bool:
    """Does the relative path `name` stay inside the folder it is joined to, on any system?"""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and ":" not in parts[0] and not {"", ".", ".."} & set(parts)


def mend(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete folder, or None; what is damaged is named, and deleted so that it is made again."""
    try:
        return read_manifest(folder)
    except UnsealedFile as found:
        raise ValueError(f"{found}; move {folder} away to have it made again, or choose another --run-dir") from found
    except DamagedFile as damage:
        log.warning("%s: made again", damage)
        for path in [folder / MANIFEST, *damage.paths]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.parent.resolve().is_relative_to(folder.resolve()):  # not through a linked folder
                path.unlink(missing_ok=True)
        return None


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete `checkpoint-<step>` of the highest step, or None; incomplete ones are named and skipped."""
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            if read_manifest(path) is not None:
                return path
            log.warning("%s is incomplete (its writing was interrupted): skipped", path)
        except DamagedFile as error:
            log.warning("%s: checkpoint skipped", error)
    return None


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the `count` newest complete checkpoints, and every incomplete one older than those."""
    complete = [p for p in sorted(folder.glob("checkpoint-*"), key=step_of) if (p / MANIFEST).exists()]
    keep = complete[-count:]
    for path in folder.glob("checkpoint-*"):
        if keep and path not in keep and step_of(path) < step_of(keep[-1]):
            shutil.rmtree(path)


def step_of(path: Path) -> int:
    """The step in the name of a `checkpoint-<step>` folder, or -1 where there is none."""
    number = path.name.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
