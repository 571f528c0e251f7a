"""Which sequences a rank sees when: every optimizer step's are the same, however many ranks share them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

NOTHING: dict[str, Any] = {"input_ids": [0], "proof": [False], "index": -1}
"""A sequence that predicts nothing, for a rank to which a short last step leaves none: it still must compute."""


class StepBatches(Sampler[list[int]]):
    """One rank's batches of sample numbers, an epoch in a random order that depends on `seed` and `epoch` alone.

    Every `per_step` samples are an optimizer step; its ranks take them in turn, `batch_size` at a time, and all have
    the same number of batches. A batch may be empty where the last step is short.
    """

    def __init__(
        self, samples: int, per_step: int, batch_size: int, seed: int, *, rank: int = 0, world: int = 1
    ) -> None:
        if per_step < world:
            raise ValueError(
                f"an optimizer step has {per_step} sequences for {world} ranks; expected at least one for each: "
                "raise train.batch_size or train.accumulation, or start fewer"
            )
        self.samples, self.per_step, self.batch_size, self.seed = samples, per_step, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch's order comes next; transformers' Trainer calls this."""
        self.epoch = epoch

    def batches_in(self, sequences: int) -> int:
        """Batches of each rank in a step of so many sequences."""
        most = -(-sequences // self.world)
        return -(-most // self.batch_size)

    def __len__(self) -> int:
        whole, rest = divmod(self.samples, self.per_step)
        return whole * self.batches_in(self.per_step) + self.batches_in(rest)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.samples, generator=generator).tolist()
        for first in range(0, self.samples, self.per_step):
            step = order[first : first + self.per_step]
            share = step[self.rank :: self.world]
            for batch in range(self.batches_in(len(step))):
                yield share[batch * self.batch_size :][: self.batch_size]


class StepLoader(DataLoader):
    """Loads `StepBatches`; transformers' Trainer tells it the epoch."""

    def __init__(
        self, dataset: Dataset, batches: StepBatches, collator: Callable[[list], Any], **settings: Any
    ) -> None:
        super().__init__(
            dataset, batch_sampler=batches, collate_fn=lambda rows: collator(rows or [NOTHING]), **settings
        )
        self.set_epoch = batches.set_epoch
