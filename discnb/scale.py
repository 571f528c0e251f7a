"""Where the code breaks first as a corpus grows: each limit computed from its own constants, nearest first."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .cache import SHARD_SAMPLES
from .plan import Plan

HASHED_PER_SECOND = 1.5e9
"""Bytes a process hashes a second (SHA-256 with the CPU's own instructions), assumed."""
PATIENCE = 3600.0
"""Seconds that opening a cache may take."""
HOST_BYTES = 256e9
"""Memory of the host that tokenises."""
JSON_BYTES = 10e9
"""Of a JSON file that is read whole."""
FOLDER_FILES = 1_000_000
"""In one folder, or under one prefix of an object store."""
OBJECT_FILES = 1_000_000
"""Objects at most in all, by which a wise shard is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that does not grow with the corpus: the samples at which it is reached, and what to do then."""

    what: str
    samples: float
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A plan's corpus as files and streams; bytes, hours, bytes a second."""

    cache_bytes: int
    shards: int
    shard_bytes: int
    wise_shard_samples: int
    """The power of two that leaves no more than `OBJECT_FILES` objects."""
    wise_shard_bytes: int
    objects_per_prefix: int
    """Of the wise shards, with a prefix to each GPU that writes: `<split>/<rank>/<number>.safetensors`."""
    cache_hours: float
    train_hours: float
    """On the devices that the plan's step keeps busy."""
    train_hours_on_all: float
    """The same if a step had a sequence for every device; no longer the card's batch."""
    read_bytes_per_second: float
    """Of all devices that train, while they train."""
    read_bytes_per_step: float
    limits: tuple[Limit, ...]
    """Nearest first."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scale(plan: Plan) -> Scale:
    """What the plan's corpus is in files, streams and hours, and where the code breaks on the way to it."""
    samples, tokens = sum(plan.samples.values()), sum(plan.tokens.values())
    sample_bytes = plan.cache_bytes_per_token * tokens / samples
    wise = SHARD_SAMPLES
    while samples / wise > OBJECT_FILES:
        wise *= 2
    cache, train = plan.stage("cache"), plan.stage("train")
    prefixes = max(1, cache.devices)
    return Scale(
        cache_bytes=plan.cache_bytes_per_token * tokens,
        shards=_over(samples, SHARD_SAMPLES),
        shard_bytes=round(SHARD_SAMPLES * sample_bytes),
        wise_shard_samples=wise,
        wise_shard_bytes=round(wise * sample_bytes),
        objects_per_prefix=_over(_over(samples, wise), prefixes),
        cache_hours=cache.minutes / 60,
        train_hours=train.minutes / 60,
        train_hours_on_all=train.minutes / 60 * train.devices / plan.gpus,
        read_bytes_per_second=plan.cache_bytes_per_token * plan.tokens["train"] / (60 * train.minutes),
        read_bytes_per_step=plan.cache_bytes_per_token * plan.tokens["train"] / plan.steps,
        limits=tuple(sorted(_limits(sample_bytes, tokens / samples, prefixes), key=lambda limit: limit.samples)),
    )


def _limits(sample_bytes: float, length: float, ranks: int) -> list[Limit]:
    length_bytes = _each(lambda n: {"lengths": {"train": [round(length)] * n}})
    facts = {"bytes": round(SHARD_SAMPLES * sample_bytes), "sha256": "0" * 64}
    file_bytes = _each(lambda n: {"files": {f"train-{k:07d}.safetensors": facts for k in range(n)}})
    token_bytes = 4 + 1 / 8  # in Arrow: an id, and a bit that says whether it is in the proof
    record = length_bytes + file_bytes / (SHARD_SAMPLES * ranks)
    return [
        Limit(
            what=f"opening the cache hashes all of it: {PATIENCE / 3600:.0f} h at {HASHED_PER_SECOND / 1e9:.1f} GB/s",
            samples=HASHED_PER_SECOND * PATIENCE / sample_bytes,
            mend="check a shard when it is first read",
        ),
        Limit(
            what=f"one process holds every text's tokens: {HOST_BYTES / 1e9:.0f} GB at {token_bytes:.1f} bytes each",
            samples=HOST_BYTES / (token_bytes * length),
            mend="tokenise the samples shard by shard, on every rank",
        ),
        Limit(
            what="a rank's record, written anew after every shard, outgrows the shard",
            samples=SHARD_SAMPLES * sample_bytes / record,
            mend="append to it, and leave the lengths to the shards",
        ),
        Limit(
            what=f"{FOLDER_FILES:,} shards of {SHARD_SAMPLES} samples lie in one folder",
            samples=float(FOLDER_FILES * SHARD_SAMPLES),
            mend="larger shards, and a prefix to each rank",
        ),
        Limit(
            what=f"the manifest, read whole, passes {JSON_BYTES / 1e9:.0f} GB",
            samples=JSON_BYTES / (length_bytes + file_bytes / SHARD_SAMPLES),
            mend="a table of shards instead of JSON",
        ),
    ]


def _each(value: Callable[[int], Any]) -> int:
    """Bytes that one more item adds to the JSON that `checkpoint.write_json` writes."""
    return len(json.dumps(value(3), indent=2)) - len(json.dumps(value(2), indent=2))


def _over(count: int, size: int) -> int:
    return -(-count // size)
