"""Samples of a corpus of any size, read as a stream and written a batch at a time."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset, load_dataset_builder
from datasets.exceptions import DatasetsError

from discnb.checkpoint import atomic_path
from discnb.data.stem import ALIASES, EVAL_SHARE, read_text

FORMATS = ("parquet", "json", "csv", "arrow", "text")
"""Kinds of data files that are read; others unpack archives or decode media, by many more libraries."""
BATCH = 1000
"""Rows in memory at a time."""
SCHEMA = pa.schema([(name, pa.string()) for name in (*ALIASES, "domain")])


def write_stream(
    source: str,
    folder: Path,
    limits: dict[str, int | None],
    *,
    seed: int,
    bad_rows: str = "error",
    revision: str | None = None,
) -> tuple[dict[str, int], int]:
    """Write `<split>.parquet` from a folder or a hub dataset; returns samples of each split, and rows skipped.

    5 % are held out, by a hash of `seed` and the row's number, so neither the split nor the files depend on how far one
    reads: with `limits` (samples of `train` and `eval`) reading ends when both are full. Rows stay in their order; it
    is training that shuffles. A row without usable text is a ValueError, or with bad_rows="skip" left out and counted.
    """
    rows = _rows(source, revision)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{source} holds no rows; expected a folder of data files or a hub dataset")
    columns = {field: alias for field, all in ALIASES.items() for alias in all[::-1] if alias in first}
    if missing := [field for field in ALIASES if field not in columns]:
        raise ValueError(
            f"{source} has no column for {', '.join(missing)}; looked for "
            f"{'; '.join(', '.join(ALIASES[field]) for field in missing)}, found {', '.join(first)}"
        )
    numbered, used, skipped = enumerate(chain([first], rows)), dict.fromkeys(limits, 0), 0
    left = {split: math.inf if limit is None else limit for split, limit in limits.items()}
    with ExitStack() as files:
        writers = {
            split: files.enter_context(
                pq.ParquetWriter(files.enter_context(atomic_path(folder / f"{split}.parquet")), SCHEMA)
            )
            for split in limits
        }
        while any(left.values()) and (batch := list(islice(numbered, BATCH))):
            parts: dict[str, list[dict[str, str]]] = {split: [] for split in limits}
            for number, row in batch:
                try:
                    sample = _sample(row, columns)
                except ValueError as error:
                    if bad_rows == "error":
                        raise ValueError(f"{source}, row {number}, {error}; pass bad_rows='skip'") from error
                    skipped += 1
                    continue
                parts["eval" if _held_out(seed, number) else "train"].append(sample)
            for split, writer in writers.items():
                part = parts[split][: int(min(left[split], BATCH))]
                if part:
                    writer.write_table(pa.Table.from_pylist(part, SCHEMA))
                used[split] += len(part)
                left[split] -= len(part)
    if not all(used.values()):
        raise ValueError(f"{source} gives {used} samples; expected at least one in each split")
    return used, skipped


def _rows(source: str, revision: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a source's training split; whatever a damaged file makes of itself is a ValueError that names it."""
    if not source or not source.isprintable():
        raise ValueError(f"the stream's source is {source!r}; expected a folder of data files or a hub dataset's id")
    try:
        kind = load_dataset_builder(source, revision=revision).__module__.rpartition(".")[2]
        if kind in FORMATS:
            rows = iter(load_dataset(source, split="train", streaming=True, revision=revision))
            while (row := next(rows, None)) is not None:
                yield dict(row)
    except (DatasetsError, pa.ArrowException, ValueError, OSError, TypeError, RuntimeError, StopIteration) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(f"{source} cannot be read ({what}); mend or remove the file") from error
    if kind not in FORMATS:
        raise ValueError(f"{source} holds data of the kind {kind!r}; expected files of {', '.join(FORMATS)}")


def _sample(row: dict[str, Any], columns: dict[str, str]) -> dict[str, str]:
    sample = {"domain": str(row.get("domain") or "")}
    for field, column in columns.items():
        value = row.get(column)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"column {column!r} holds {type(value).__name__}; expected text")
        try:
            sample[field] = read_text(None if value is None else value.encode(), repair=field == "response")
        except ValueError as error:
            raise ValueError(f"column {column!r} {error}") from error
    return sample


def _held_out(seed: int, number: int) -> bool:
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < EVAL_SHARE * 2**64
