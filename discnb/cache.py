"""The teacher's hidden states on disk: written once, verified, read by memory map.

With the head they are the teacher's full distribution at any temperature, at 2 bytes per hidden unit and token; less
in float8 or int8, whose error is measured and kept. A cache is a folder:

    train-00000.safetensors     `hidden` [tokens, G] of 64 samples, end to end; `scale` [tokens, 1] in float8 and int8
    head.safetensors            `weight` [V, G], the teacher's own
    rank-0.json                 the key, the samples' lengths, size and SHA-256 of each file as rank 0 wrote it
    manifest.json               last: key, lengths and files of all ranks

The key is everything that changes the numbers, so a cache made otherwise is an error that says in what it differs.
Rank r of W writes the shards r, r + W, r + 2W …; which rank wrote a shard does not change a byte of it.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .checkpoint import (
    DamagedFile,
    atomic_path,
    file_facts,
    is_as_written,
    read_json,
    read_manifest,
    seal,
    unseal,
    write_json,
)
from .prompt import PROMPT_VERSION
from .signal import token_signals
from .teacher import STATES, OnlineTeacher

HEAD = "head.safetensors"
SHARD_SAMPLES = 64
STORAGE = {"bfloat16": torch.bfloat16, "float8": torch.float8_e4m3fn, "int8": torch.int8}
"""How states may be kept. The 8-bit kinds have a scale per token and are not exact."""
ERROR_TOKENS = 2048
"""Tokens on which the error of an 8-bit kind is measured."""

Items = TypeVar("Items", bound=Sequence[int])

log = logging.getLogger(__name__)


def cache_key(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    splits: Mapping[str, Dataset],
    *,
    source: str,
    revision: str | None,
    max_length: int,
    vocabulary: int,
    storage: str = "bfloat16",
) -> dict[str, Any]:
    """Everything that changes the numbers in a teacher's cache; hashes are SHA-256."""
    return {
        **data_key(tokenizer, splits, source=source, revision=revision, max_length=max_length, storage=storage),
        "vocabulary": vocabulary,
        "weights": weights_hash(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "experts": getattr(model.config, "_experts_implementation", None),
    }


def data_key(
    tokenizer: PreTrainedTokenizerBase,
    splits: Mapping[str, Dataset],
    *,
    source: str,
    revision: str | None,
    max_length: int,
    storage: str = "bfloat16",
) -> dict[str, Any]:
    """The part of a cache's key that can be told without the teacher's weights."""
    if storage not in STORAGE:
        raise ValueError(f"storage is {storage!r}; expected one of {', '.join(STORAGE)}")
    return {
        "teacher": source,
        "revision": revision,
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "prompt": PROMPT_VERSION,
        "max_length": max_length,
        **{f"data.{name}": data_hash(split) for name, split in splits.items()},
        "storage": storage,
    }


def data_hash(split: Dataset) -> str:
    """SHA-256 over a split's token ids, sample by sample."""
    digest = hashlib.sha256()
    for ids in split["input_ids"]:
        digest.update(len(ids).to_bytes(8, "little") + np.asarray(ids, dtype="<i4").tobytes())
    return digest.hexdigest()


def weights_hash(model: PreTrainedModel) -> str:
    """SHA-256 over a model's tensors: name, type, shape and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def cache_bytes(tokens: int, head: Float[Tensor, "V G"], storage: str = "bfloat16") -> int:
    """Bytes a cache of so many tokens takes on disk, without the file headers."""
    kind = STORAGE[storage]
    scale = 0 if kind == STATES else torch.float32.itemsize
    return tokens * (head.shape[1] * kind.itemsize + scale) + head.nbytes


def write_cache(
    folder: Path,
    teacher: OnlineTeacher,
    splits: Mapping[str, Dataset],
    key: Mapping[str, Any],
    *,
    rank: int = 0,
    world: int = 1,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Run the teacher once over rank's share of the tokenised splits and keep its states, and rank 0 its head.

    What an interrupted writing left whole is kept, by however many ranks it was done, and the rest written; a folder
    begun under another key is a ValueError, as is a disk that cannot hold the cache. `progress` is told the tokens done
    and in total. When all ranks are done, `write_manifest(folder, **cache_facts(folder))` declares the cache complete.
    Returns the tokens that the teacher was run on.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank is {rank} of {world}; expected 0 to {world - 1}")
    key = {**key, "shard_samples": SHARD_SAMPLES, "batch_size": batch_size}
    lengths = {name: [len(ids) for ids in split["input_ids"]] for name, split in splits.items()}
    share = _shards(lengths, SHARD_SAMPLES)[rank::world]
    wanted = {_shard_name(split, number) for split, number, _ in share} | ({HEAD} if rank == 0 else set())
    record: dict[str, Any] = {"key": key, "world": world, "lengths": lengths, "files": {}}
    for path in sorted(folder.glob("rank-*.json")):
        try:
            earlier = _rank_record(path)
        except DamagedFile as damage:
            log.warning("%s: what it lists is written again", damage)
            continue
        _require(key, earlier["key"], path)
        kept = {name: facts for name, facts in earlier["files"].items() if name in wanted}
        record["files"] |= {name: facts for name, facts in kept.items() if _intact(folder / name, facts)}
        if "storage_kl" in earlier:
            record["storage_kl"] = earlier["storage_kl"]
    total = sum(lengths[split][i] for split, _, samples in share for i in samples)
    _refuse_a_full_disk(folder, cache_bytes(total, teacher.head, key["storage"]), record["files"])

    def keep(name: str, tensors: dict[str, Tensor]) -> None:
        with atomic_path(folder / name) as temporary:
            save_file(tensors, temporary)
        record["files"] = dict(sorted({**record["files"], name: file_facts(folder / name)}.items()))
        write_json(folder / f"rank-{rank}.json", seal(record))

    if rank == 0 and HEAD not in record["files"]:
        keep(HEAD, {"weight": teacher.head.contiguous().cpu()})
    done = ran = 0
    for split, number, samples in share:
        if (name := _shard_name(split, number)) in record["files"]:
            done += sum(lengths[split][i] for i in samples)
            progress(done, total)
            continue
        ids = splits[split].select(samples)["input_ids"]
        states: dict[int, Tensor] = {}
        for batch in _batches([len(row) for row in ids], batch_size):
            states |= _states(teacher, {i: ids[i] for i in batch})
            done += sum(len(ids[i]) for i in batch)
            ran += sum(len(ids[i]) for i in batch)
            progress(done, total)
        whole = torch.cat([states[i] for i in range(len(ids))])
        stored = _encode(whole, key["storage"])
        if key["storage"] != "bfloat16" and "storage_kl" not in record:
            record["storage_kl"] = _storage_kl(whole[:ERROR_TOKENS], stored, teacher.head)
        keep(name, stored)
    write_json(folder / f"rank-{rank}.json", seal(record))
    return ran


def cache_facts(folder: Path) -> dict[str, Any]:
    """What the manifest of a cache says, once every rank has written its share; a ValueError says what is missing.

    `padding` is the share of the teacher's work that went into padding.
    """
    first = _rank_record(folder / "rank-0.json") if (folder / "rank-0.json").exists() else None
    if first is None:
        raise ValueError(f"{folder} holds no teacher cache: rank 0 has not begun")
    world, files = first["world"], dict[str, Any]()
    shards = _shards(first["lengths"], first["key"]["shard_samples"])
    for rank in range(world):
        path = folder / f"rank-{rank}.json"
        record = _rank_record(path) if path.exists() else {**first, "files": {}}
        _require(first["key"], record["key"], path)
        for split, number, _ in shards[rank::world]:
            if (name := _shard_name(split, number)) not in record["files"]:
                raise ValueError(f"rank {rank} of {world} has not written {name} in {folder} yet")
        files |= record["files"]
    real = padded = 0
    for split, _, samples in shards:
        lengths = [first["lengths"][split][i] for i in samples]
        for batch in _batches(lengths, first["key"]["batch_size"]):
            real += sum(lengths[i] for i in batch)
            padded += len(batch) * max(lengths[i] for i in batch)
    facts: dict[str, Any] = {name: first[name] for name in ("key", "lengths", "storage_kl") if name in first}
    return {**facts, "padding": 1 - real / padded if padded else 0.0, "known": files}


class CachedTeacher:
    """A teacher read by memory map from a complete cache; `index` names the samples of a split.

    Where the cache's key differs from what `key` asks for, a ValueError says in what. `manifest` is the folder's, if
    the caller has verified it already; else every file's hash is checked here.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        key: Mapping[str, Any] | None = None,
        manifest: dict[str, Any] | None = None,
    ) -> None:
        facts = manifest or read_manifest(folder)
        if facts is None:
            raise ValueError(f"{folder} holds no complete teacher cache; `discnb cache` writes one")
        if wrong := _what_is_wrong({**facts, "world": 1}):
            raise ValueError(
                f"the teacher cache in {folder} is of a form no longer read; delete it, `discnb cache` writes it "
                f"({wrong})"
            )
        _require(key or {}, facts["key"], folder)
        if split not in facts["lengths"]:
            raise ValueError(f"the teacher cache in {folder} has the splits {list(facts['lengths'])}, not {split!r}")
        self.folder, self.split = folder, split
        self.lengths: list[int] = facts["lengths"][split]
        self._place = _places(self.lengths, facts["key"]["shard_samples"])
        self._rows = [sum(lengths) for lengths in _chunks(self.lengths, facts["key"]["shard_samples"])]
        self._scaled = STORAGE[facts["key"]["storage"]] != STATES
        self._shards: dict[int, safe_open] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="teacher")
        self._ahead: dict[int, Future[Tensor]] = {}

    @cached_property
    def head(self) -> Float[Tensor, "V G"]:
        with _opened(self.folder / HEAD, {"weight": (None, None)}) as file:
            return file.get_tensor("weight")

    def states(self, sample: int) -> Float[Tensor, "T G"]:
        """One sample's final hidden states, bfloat16."""
        shard, start = self._place[sample]
        if shard not in self._shards:
            # bytes as they were written, but by whom? a shorter shard would give a sample its neighbour's states
            rows, width = self._rows[shard], self.head.shape[1]
            shapes = {"hidden": (rows, width), **({"scale": (rows, 1)} if self._scaled else {})}
            self._shards[shard] = _opened(self.folder / _shard_name(self.split, shard), shapes)
        file, part = self._shards[shard], slice(start, start + self.lengths[sample])
        return _decode({name: file.get_slice(name)[part] for name in file.keys()})  # noqa: SIM118 (not a dict)

    def prefetch(self, index: list[int]) -> None:
        """Begin to read these samples in a thread, so that a slow disk and the training overlap."""
        for future in self._ahead.values():
            future.cancel()
        # cloned: a memory map is read when it is touched
        self._ahead = {sample: self._reader.submit(lambda i: self.states(i).clone(), sample) for sample in index}

    def hidden(
        self, index: Int[Tensor, " B"], input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G"]:
        samples = index.tolist()
        got, wanted = [self.lengths[sample] for sample in samples], attention_mask.sum(1).tolist()
        if got != wanted:
            raise ValueError(
                f"samples {samples} of {self.split} have {wanted} tokens, the teacher cache in {self.folder} "
                f"has {got}: it was written for other data"
            )
        ahead = [self._ahead.pop(sample, None) for sample in samples]
        rows = [f.result() if f else self.states(i) for f, i in zip(ahead, samples, strict=True)]
        return pad_sequence(rows, batch_first=True).to(input_ids.device)


def _states(teacher: OnlineTeacher, rows: dict[int, list[int]]) -> dict[int, Tensor]:
    """Each row's final hidden states [T, G], by its number."""
    lengths = torch.tensor([len(ids) for ids in rows.values()])
    ids = pad_sequence([torch.tensor(row) for row in rows.values()], batch_first=True)
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    hidden = teacher.hidden(torch.tensor(list(rows)), ids, real.long()).cpu()
    return {i: hidden[b, : lengths[b]] for b, i in enumerate(rows)}


def _encode(states: Float[Tensor, "T G"], storage: str) -> dict[str, Tensor]:
    kind = STORAGE[storage]
    if kind == STATES:
        return {"hidden": states}
    greatest = 127.0 if kind == torch.int8 else torch.finfo(kind).max
    wide = states.float()
    scale = wide.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / greatest
    scaled = wide / scale
    return {"hidden": (scaled.round() if kind == torch.int8 else scaled).to(kind), "scale": scale}


def _decode(stored: dict[str, Tensor]) -> Float[Tensor, "T G"]:
    hidden = stored["hidden"]
    return (hidden.float() * stored["scale"]).to(STATES) if "scale" in stored else hidden


def _storage_kl(states: Float[Tensor, "T G"], stored: dict[str, Tensor], head: Float[Tensor, "V G"]) -> dict[str, Any]:
    """KL of the distributions an 8-bit kind gives from those of the exact states, at temperature 1."""
    states, stored = states.to(head.device), {name: x[: len(states)].to(head.device) for name, x in stored.items()}
    labels = torch.zeros(len(states), dtype=torch.long, device=head.device)
    kl = token_signals(_decode(stored), head, states, head, labels, temperature=1.0).kl
    return {"tokens": len(kl), "mean": kl.mean().item(), "max": kl.max().item()}


def _shards(lengths: Mapping[str, list[int]], shard_samples: int) -> list[tuple[str, int, range]]:
    """Every shard: its split, its number there, its samples."""
    return [
        (split, number, samples)
        for split, n in lengths.items()
        for number, samples in enumerate(_chunks(range(len(n)), shard_samples))
    ]


def _shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}.safetensors"


def _batches(lengths: list[int], size: int) -> Iterator[list[int]]:
    """A shard's samples in batches of like length, which waste little on padding."""
    return _chunks(sorted(range(len(lengths)), key=lambda i: (lengths[i], i)), size)


def _places(lengths: list[int], shard_samples: int) -> list[tuple[int, int]]:
    """Of every sample: its shard, and its first token's row there."""
    place = []
    for shard, samples in enumerate(_chunks(range(len(lengths)), shard_samples)):
        starts = accumulate((lengths[i] for i in samples), initial=0)
        place += [(shard, start) for _, start in zip(samples, starts, strict=False)]
    return place


def _chunks(items: Items, size: int) -> Iterator[Items]:
    return (items[first : first + size] for first in range(0, len(items), size))  # type: ignore[misc]


def _require(wanted: Mapping[str, Any], key: Mapping[str, Any], where: Path) -> None:
    differing = [
        f"{name}: {value!r} is asked for, it was written with {key.get(name)!r}"
        for name, value in wanted.items()
        if key.get(name) != value
    ]
    if differing:
        raise ValueError(
            f"the teacher cache in {where} was made otherwise; delete it or choose another folder\n  "
            + "\n  ".join(differing)
        )


def _rank_record(path: Path) -> dict[str, Any]:
    """What a rank wrote of its share; a record that holds no such thing is a DamagedFile that names it."""
    record = read_json(path)
    if wrong := _what_is_wrong(record):
        raise DamagedFile({path: f"is no record of a teacher cache: {wrong}"})
    return unseal(path, record)


def _what_is_wrong(record: Any) -> str | None:
    """What keeps a JSON value from being a rank's record, or None."""

    def whole(value: Any, least: int) -> bool:
        return type(value) is int and value >= least

    if not isinstance(record, dict) or not all(isinstance(record.get(n), dict) for n in ("key", "lengths", "files")):
        return "expected `key`, `lengths` and `files`"
    key = record["key"]
    if not all(whole(n, 1) for n in (key.get("shard_samples"), key.get("batch_size"), record.get("world"))):
        return "expected numbers as shard_samples, batch_size and world"
    if not isinstance(key.get("storage"), str) or key["storage"] not in STORAGE:
        return f"storage is {key.get('storage')!r}"
    for split, lengths in record["lengths"].items():
        if not isinstance(lengths, list) or not all(whole(n, 0) for n in lengths):
            return f"the lengths of {split!r} are no list of numbers"
    for name, facts in record["files"].items():
        if not isinstance(facts, dict) or not whole(facts.get("bytes"), 0) or not isinstance(facts.get("sha256"), str):
            return f"{name!r} has no size and SHA-256"
    return None


def _opened(path: Path, shapes: Mapping[str, tuple[int | None, int | None]]) -> safe_open:
    """A safetensors file of exactly these tensors; a size of None may be any."""
    try:
        file = safe_open(path, "pt")
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise DamagedFile({path: f"is no safetensors file ({error})"}) from error
    if found.keys() != shapes.keys() or any(
        len(shape) != 2 or any(want not in (None, got) for want, got in zip(shapes[name], shape, strict=True))
        for name, shape in found.items()
    ):
        raise DamagedFile({path: f"holds {found}; expected {dict(shapes)}"})
    return file


def _intact(path: Path, facts: Mapping[str, Any]) -> bool:
    if is_as_written(path, facts):
        return True
    log.warning("%s is not what was written: written again", path)
    return False


def _refuse_a_full_disk(folder: Path, needed: int, files: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    left = needed - sum(facts["bytes"] for facts in files.values())
    free = shutil.disk_usage(folder).free
    if left > free:
        raise ValueError(
            f"the teacher cache needs {left / 1e9:.2f} GB more and the disk of {folder} has {free / 1e9:.2f} GB free; "
            "free some, choose another --run-dir, or set teacher.storage=float8"
        )
