"""The teacher as what training needs of it: a sequence of final hidden states and a head.

`OnlineTeacher` runs the model, `CachedTeacher` reads what `write_cache` kept of one run; nothing downstream knows
which. The states are kept in bfloat16 and both give them in it, so both give the same numbers: with the head they are
the full distribution at any temperature, at 2 bytes per hidden unit and token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from .checkpoint import atomic_path, read_manifest
from .models import head_weight

STATES = torch.bfloat16
SHARD_SAMPLES = 64


class Teacher(Protocol):
    """Final hidden states for a batch, and the head that turns them into logits."""

    @property
    def head(self) -> Float[Tensor, "V G"]: ...

    def hidden(
        self, index: Int[Tensor, " B"], input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G"]:
        """Final hidden states, right-padded to the batch's length."""
        ...


@dataclass
class OnlineTeacher:
    """A teacher that runs the model for every batch; `vocabulary` cuts padded rows off its head.

    Its states come in `dtype`: bfloat16 as from the cache, or more to compare a student itself with a teacher.
    """

    model: PreTrainedModel
    vocabulary: int | None = None
    dtype: torch.dtype = STATES

    def __post_init__(self) -> None:
        self.head = head_weight(self.model, self.vocabulary).detach()

    @torch.no_grad()
    def hidden(
        self, index: Int[Tensor, " B"], input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G"]:
        output = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return output.last_hidden_state.to(self.dtype)


class CachedTeacher:
    """A teacher read by memory map from a folder that `write_cache` completed; `index` names the samples of a split.

    `manifest` is the folder's, if the caller has verified it already; else every file's hash is checked here.
    """

    def __init__(self, folder: Path, split: str, manifest: dict[str, Any] | None = None) -> None:
        facts = manifest or read_manifest(folder)
        if facts is None:
            raise ValueError(f"{folder} holds no complete teacher cache; `discnb cache` writes one")
        if split not in facts["lengths"]:
            raise ValueError(f"the teacher cache in {folder} has the splits {list(facts['lengths'])}, not {split!r}")
        self.folder, self.split = folder, split
        self.lengths: list[int] = facts["lengths"][split]
        # the first token's row in its shard, for every sample
        self.starts = [
            start
            for first in range(0, len(self.lengths), SHARD_SAMPLES)
            for start in accumulate(self.lengths[first : first + SHARD_SAMPLES - 1], initial=0)
        ]
        self._shards: dict[int, safe_open] = {}

    @cached_property
    def head(self) -> Float[Tensor, "V G"]:
        with safe_open(self.folder / "head.safetensors", "pt") as file:
            return file.get_tensor("weight")

    def states(self, sample: int) -> Float[Tensor, "T G"]:
        """One sample's final hidden states, bfloat16."""
        shard = sample // SHARD_SAMPLES
        if shard not in self._shards:
            self._shards[shard] = safe_open(_shard_path(self.folder, self.split, shard), "pt")
        start = self.starts[sample]
        return self._shards[shard].get_slice("hidden")[start : start + self.lengths[sample]]

    def hidden(
        self, index: Int[Tensor, " B"], input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T G"]:
        rows = [self.states(sample) for sample in index.tolist()]
        got, wanted = [len(row) for row in rows], attention_mask.sum(1).tolist()
        if got != wanted:
            raise ValueError(
                f"samples {index.tolist()} of {self.split} have {wanted} tokens, the teacher cache in {self.folder} "
                f"has {got}: it was written for other data"
            )
        padded = pad_sequence(rows, batch_first=True)
        return padded.to(input_ids.device)


def write_cache(
    folder: Path,
    teacher: OnlineTeacher,
    splits: dict[str, Dataset],
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, list[int]]]:
    """Run the teacher once over tokenised splits, keep its states and head in `folder`; returns facts for a manifest.

    The cache can be read once `write_manifest(folder, **facts)` has declared it complete. Shards that an interrupted
    writing left are kept, so writing goes on at the next one. `progress` is told the tokens done and the total.
    """
    lengths = {name: [len(ids) for ids in split["input_ids"]] for name, split in splits.items()}
    done, total = 0, sum(map(sum, lengths.values()))
    for name, split in splits.items():
        for shard, first in enumerate(range(0, len(split), SHARD_SAMPLES)):
            rows = split[first : first + SHARD_SAMPLES]["input_ids"]
            path = _shard_path(folder, name, shard)
            if path.exists():
                done += sum(map(len, rows))
                continue
            states: dict[int, Tensor] = {}
            # batches of like length waste little on padding
            order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
            for batch in (order[b : b + batch_size] for b in range(0, len(order), batch_size)):
                ids = pad_sequence([torch.tensor(rows[i]) for i in batch], batch_first=True)
                real = torch.arange(ids.shape[1]) < torch.tensor([[len(rows[i])] for i in batch])
                device = teacher.model.device
                hidden = teacher.hidden(torch.tensor(batch), ids.to(device), real.long().to(device)).cpu()
                states |= {i: hidden[b, : len(rows[i])] for b, i in enumerate(batch)}
                done += sum(len(rows[i]) for i in batch)
                progress(done, total)
            with atomic_path(path) as temporary:
                save_file({"hidden": torch.cat([states[i] for i in range(len(rows))])}, temporary)
    with atomic_path(folder / "head.safetensors") as temporary:
        save_file({"weight": teacher.head.contiguous().cpu()}, temporary)
    return {"lengths": lengths}


def _shard_path(folder: Path, split: str, shard: int) -> Path:
    return folder / f"{split}-{shard:05d}.safetensors"
