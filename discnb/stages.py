"""A run's stages: each fills a folder and leaves a manifest last, and one that is done is skipped."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from . import ranks
from .checkpoint import (
    MANIFEST,
    ORIGIN,
    DamagedFile,
    file_facts,
    is_as_written,
    is_temporary,
    mend,
    read_json,
    seal,
    unseal,
    write_json,
    write_manifest,
)

log = logging.getLogger(__name__)


@dataclass
class Stages:
    """The stages of the run in `folder`."""

    folder: Path
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The manifests of the stages that this process has done or found done, every file verified once."""

    def do(
        self,
        name: str,
        work: Callable[[Path], dict[str, Any]],
        *,
        folder: str | None = None,
        needs: Sequence[dict[str, Any]] = (),
        beside: Sequence[str] = (),
        record: str | None = None,
        together: bool = False,
    ) -> dict[str, Any]:
        """Do a stage's work in its folder unless its manifest says it is done; returns the manifest.

        `needs` are the manifests of the stages it reads. What was made of other inputs is deleted, with what lies
        `beside` the folder; what an interrupted attempt made of the same inputs is there for `work` to go on from. The
        `record`, a file beside the folder, has its hash in the manifest too. Of several ranks all work `together`, or
        the first alone; it writes the manifest, and the others wait for it.
        """
        if name in self.done:
            return self.done[name]
        place, first, manifest = self.folder / (folder or name), ranks.rank() == 0, None
        inputs = [needed["files"] for needed in needs]
        with self._lock(name) if first else nullcontext():
            if first:
                manifest = self._found(name, place, inputs, beside, record)
            manifest = ranks.share(manifest)
            if manifest is None:
                begin = time.monotonic()
                facts = work(place) if together or first else {}
                if first:
                    if record:
                        facts = {**facts, "record": file_facts(self.folder / record)}
                    seconds = round(time.monotonic() - begin, 2)
                    manifest = write_manifest(place, stage=name, made_of=inputs, **facts, seconds=seconds)
                    print(f"{name}: done in {manifest['seconds']:.0f} s{_in_words(facts.get('speed'))}", flush=True)
                manifest = ranks.share(manifest)
        assert manifest is not None
        self.done[name] = manifest
        return manifest

    def _found(
        self, name: str, place: Path, inputs: list[dict[str, Any]], beside: Sequence[str], record: str | None
    ) -> dict[str, Any] | None:
        """The manifest of a finished stage, or None after its folder was made ready for the work."""
        origin, manifest = place / ORIGIN, mend(place)
        if manifest and record and not is_as_written(self.folder / record, manifest["record"]):
            raise ValueError(
                f"{self.folder / record} is not what stage {name} wrote; put it back, or delete {place / MANIFEST} to "
                "have the stage go on from its newest checkpoint, or from the start if it has none"
            )
        try:
            made_of = manifest or (unseal(origin, read_json(origin)) if origin.exists() else {})
        except DamagedFile as damage:
            # what lies there may have cost hours, and nothing says any more what it was made of
            raise ValueError(f"{damage}; move {place} away, and stage {name} is done again") from damage
        if made_of.get("made_of") != inputs:
            if place.exists() and any(place.iterdir()):
                log.warning("%s was made of other inputs: stage %s is done again", place, name)
            for leftover in (place, *(self.folder / other for other in beside)):
                shutil.rmtree(leftover, ignore_errors=True)
            manifest = None
            write_json(origin, seal({"made_of": inputs}))
        if manifest is None:
            for path in filter(is_temporary, place.rglob("*")):
                path.unlink()
            print(f"{name}: working in {place}", flush=True)
        return manifest

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """One process at a time works in a run's folder."""
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout:
            raise ValueError(
                f"another process works in {self.folder}, so stage {name} was not begun; wait for it or end it"
            ) from None


def _in_words(speed: dict[str, Any] | None) -> str:
    """What a stage's log says of its speed."""
    if speed is None:
        return ""
    mfu = "" if speed["mfu"] is None else f", MFU {speed['mfu']:.0%}"
    return (
        f": {speed['tokens_per_second']:.0f} tokens/s, {speed['flops_per_second'] / 1e12:.3g} TFLOP/s{mfu}, "
        f"{speed['padding']:.0%} padding, {speed['peak_bytes'] / 1e9:.1f} GB at most"
    )
