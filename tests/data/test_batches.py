from itertools import islice

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from discnb.data import Collator
from discnb.data.batches import NOTHING, StepBatches, StepLoader


def steps(samples, per_step, batch_size, world, epoch=0):
    """The sequences of every optimizer step, each rank's batches put together, and how many batches ranks had."""
    ranks = [StepBatches(samples, per_step, batch_size, seed=3, rank=r, world=world) for r in range(world)]
    for rank in ranks:
        rank.set_epoch(epoch)
    found = []
    for size in (min(per_step, samples - first) for first in range(0, samples, per_step)):
        count = ranks[0].batches_in(size)
        found.append((size, count))
    lists = [list(rank) for rank in ranks]
    assert {len(batches) for batches in lists} == {len(ranks[0])} == {sum(count for _, count in found)}
    iterators = [iter(batches) for batches in lists]
    return [sorted(i for it in iterators for batch in islice(it, count) for i in batch) for _, count in found]


@given(
    samples=st.integers(1, 60),
    per_step=st.integers(1, 12),
    batch_size=st.integers(1, 5),
    world=st.integers(1, 6),
    epoch=st.integers(0, 3),
)
def test_a_steps_sequences_are_the_same_for_any_ranks_and_batches(samples, per_step, batch_size, world, epoch):
    world = min(world, per_step)
    found = steps(samples, per_step, batch_size, world, epoch)
    assert found == steps(samples, per_step, per_step, 1, epoch)
    assert sorted(i for step in found for i in step) == list(range(samples))


def test_epochs_differ_in_order_and_a_seed_fixes_it():
    batches = StepBatches(50, 8, 8, seed=1)
    first = list(batches)
    assert list(batches) == first
    batches.set_epoch(1)
    assert list(batches) != first


def test_more_ranks_than_sequences_are_refused():
    with pytest.raises(ValueError, match="4 sequences for 8 ranks; expected at least one for each"):
        StepBatches(100, 4, 4, seed=1, rank=0, world=8)


def test_a_rank_without_a_sequence_gets_nothing_to_predict():
    rows = Dataset.from_list([{"input_ids": [5, 6, 7], "proof": [True] * 3, "index": i} for i in range(3)])
    loader = StepLoader(rows, StepBatches(3, 2, 2, seed=1, rank=1, world=2), Collator(0))
    last = list(loader)[-1]
    assert last["index"].tolist() == [NOTHING["index"]] == [-1]
    assert not last["mask"].any() and last["input_ids"].shape == (1, 1)
