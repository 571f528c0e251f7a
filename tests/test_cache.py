import json
import shutil
import threading
from collections import namedtuple

import pytest
import torch
from datasets import Dataset

from discnb import cache as module
from discnb.cache import (
    SHARD_SAMPLES,
    CachedTeacher,
    cache_bytes,
    cache_facts,
    cache_key,
    data_key,
    write_cache,
)
from discnb.checkpoint import DamagedFile, mend, write_manifest
from discnb.data import Collator, tokenize_samples
from discnb.models import scratch_teacher, scratch_tokenizer
from discnb.teacher import OnlineTeacher

SETTINGS = {"source": "scratch", "revision": None, "max_length": 256}


@pytest.fixture(scope="module")
def corpus():
    samples = Dataset.from_list(
        [
            {"question": f"What is {i} + 1?", "cot": "Count on. " * (i % 5), "response": f"{i + 1}"}
            for i in range(SHARD_SAMPLES + 9)
        ]
    )
    tokenizer = scratch_tokenizer((text for row in samples for text in row.values()), 300)
    tokens, _ = tokenize_samples(samples, tokenizer, 256)
    return tokenizer, tokens, OnlineTeacher(scratch_teacher(tokenizer, seed=0), len(tokenizer))


@pytest.fixture(scope="module")
def splits(corpus):
    return {"train": corpus[1], "eval": corpus[1].select(range(3))}


@pytest.fixture(scope="module")
def key(corpus, splits):
    return key_of(corpus, splits)


@pytest.fixture(scope="module")
def cache(corpus, splits, key, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    write(folder, corpus, splits, key)
    return folder


def key_of(corpus, splits, **changes):
    tokenizer, _, teacher = corpus
    return cache_key(teacher.model, tokenizer, splits, vocabulary=len(tokenizer), **{**SETTINGS, **changes})


def write(folder, corpus, splits, key, **settings):
    write_cache(folder, corpus[2], splits, key, **settings)
    write_manifest(folder, **cache_facts(folder))


def begin(folder, corpus, splits, key):
    """Write until the last shard is nearly there, and be interrupted."""

    def stop(done, total):
        if done > 0.9 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(folder, corpus[2], splits, key, progress=stop)


def online_states(corpus, sample):
    ids = torch.tensor([corpus[1][sample]["input_ids"]])
    return corpus[2].hidden(torch.tensor([sample]), ids, torch.ones_like(ids))[0]


def close(a, b):
    # padding and batch shape change float32 sums in their last bits, at most one step of bfloat16
    torch.testing.assert_close(a.float(), b.float(), rtol=1e-2, atol=1e-2)
    assert (a == b).float().mean() > 0.99


@pytest.mark.parametrize("ahead", [[], [70, 3, 5, 63, 64], [5]])
def test_the_cache_and_the_model_give_the_same_states_and_head(corpus, cache, ahead):
    tokenizer, tokens, online = corpus
    cached, collator = CachedTeacher(cache, "train"), Collator(tokenizer.pad_token_id)
    assert torch.equal(cached.head, online.head)
    cached.prefetch([1, 2])  # forgotten: announced and not asked for
    cached.prefetch(ahead)
    for rows in ([0], [5, 70, 3], [SHARD_SAMPLES - 1, SHARD_SAMPLES]):
        batch = collator([tokens[i] for i in rows])
        a, b = (t.hidden(batch["index"], batch["input_ids"], batch["attention_mask"]) for t in (cached, online))
        real = batch["attention_mask"].bool()
        assert a.dtype == b.dtype == torch.bfloat16
        close(a[real], b[real])


def test_every_sample_is_its_own_states_and_no_neighbours(corpus, cache):
    cached = CachedTeacher(cache, "train")
    for sample in (0, 1, SHARD_SAMPLES - 1, SHARD_SAMPLES, len(corpus[1]) - 1):
        want = online_states(corpus, sample)
        assert cached.states(sample).shape == want.shape
        close(cached.states(sample), want)


def tensors(folder):
    return {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}


@pytest.mark.parametrize("world", [2, 3])
def test_what_several_ranks_write_at_once_is_what_one_writes(corpus, splits, key, cache, tmp_path, world):
    shares = [
        threading.Thread(
            target=write_cache, args=(tmp_path, corpus[2], splits, key), kwargs={"rank": r, "world": world}
        )
        for r in range(world)
    ]
    for share in shares:
        share.start()
    for share in shares:
        share.join()
    write_manifest(tmp_path, **cache_facts(tmp_path))
    assert tensors(tmp_path) == tensors(cache)
    cached = CachedTeacher(tmp_path, "train")
    for sample in range(0, len(corpus[1]), 7):
        close(cached.states(sample), online_states(corpus, sample))


def test_what_one_rank_began_two_may_end(corpus, splits, key, cache, tmp_path):
    begin(tmp_path, corpus, splits, key)
    begun = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("train-*")}
    for rank in (1, 0):
        write_cache(tmp_path, corpus[2], splits, key, rank=rank, world=2)
    write_manifest(tmp_path, **cache_facts(tmp_path))
    assert tensors(tmp_path) == tensors(cache)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in begun} == begun


def test_a_cache_is_not_complete_before_every_rank_is(corpus, splits, key, tmp_path):
    with pytest.raises(ValueError, match="rank 0 has not begun"):
        cache_facts(tmp_path)
    write_cache(tmp_path, corpus[2], splits, key, rank=0, world=2)
    with pytest.raises(ValueError, match=r"rank 1 of 2 has not written train-00001\.safetensors"):
        cache_facts(tmp_path)
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        write_cache(tmp_path, corpus[2], splits, key, rank=2, world=2)


def test_an_interrupted_writing_goes_on_at_the_next_shard_with_the_same_bytes(corpus, splits, key, cache, tmp_path):
    begin(tmp_path, corpus, splits, key)
    assert {p.name for p in tmp_path.iterdir()} == {
        "head.safetensors", "rank-0.json", "train-00000.safetensors",
    }  # fmt: skip
    with pytest.raises(ValueError, match="no complete teacher cache"):
        CachedTeacher(tmp_path, "train")
    first = (tmp_path / "train-00000.safetensors").stat().st_mtime_ns
    write(tmp_path, corpus, splits, key)
    assert (tmp_path / "train-00000.safetensors").stat().st_mtime_ns == first
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in cache.iterdir()}


@pytest.mark.parametrize("name", ["train-00000.safetensors", "head.safetensors"])
def test_what_was_altered_while_the_writing_was_interrupted_is_written_again(
    corpus, splits, key, cache, tmp_path, name, caplog
):
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "eval-00000.safetensors").unlink()
    flip_last_byte(tmp_path / name)
    write(tmp_path, corpus, splits, key)
    assert f"{name} is not what was written" in caplog.text
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in cache.iterdir()}


def test_a_byte_flipped_between_writing_and_completion_is_not_sealed_as_true(corpus, splits, key, tmp_path):
    write_cache(tmp_path, corpus[2], splits, key)
    flip_last_byte(tmp_path / "train-00001.safetensors")
    write_manifest(tmp_path, **cache_facts(tmp_path))
    with pytest.raises(DamagedFile, match=r"train-00001\.safetensors was altered"):
        CachedTeacher(tmp_path, "train")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda path: flip_last_byte(path), "was altered"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes; its manifest says"),
    ],
)
@pytest.mark.parametrize("name", ["eval-00000.safetensors", "head.safetensors"])
def test_a_missing_or_altered_byte_is_found_before_it_is_read_and_mended(
    corpus, splits, key, cache, tmp_path, fault, message, name
):
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    fault(tmp_path / name)
    with pytest.raises(DamagedFile, match=f"{name}.*{message}"):
        CachedTeacher(tmp_path, "eval")
    assert mend(tmp_path) is None
    write(tmp_path, corpus, splits, key)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in cache.iterdir()}


@pytest.mark.parametrize("change", [{"source": "other"}, {"revision": "v2"}, {"max_length": 128}, {"storage": "int8"}])
def test_a_cache_made_otherwise_is_an_error_that_says_in_what(corpus, splits, cache, change):
    [name] = change
    name = {"source": "teacher"}.get(name, name)
    with pytest.raises(ValueError, match=f"made otherwise.*\n  {name}: .* is asked for") as error:
        CachedTeacher(cache, "train", key=data_key(corpus[0], splits, **{**SETTINGS, **change}))
    assert str(error.value).count("is asked for") == 1
    with pytest.raises(ValueError, match=f"\n  {name}: "):
        write_cache(cache, corpus[2], splits, key_of(corpus, splits, **change))


def test_other_data_weights_tokenizers_and_prompts_change_the_key(corpus, splits, key, monkeypatch):
    def differing(other):
        return {name for name in key if other[name] != key[name]}

    tokenizer, tokens, teacher = corpus
    swapped = {**splits, "train": tokens.select([1, 0, *range(2, len(tokens))])}
    assert differing(key_of(corpus, swapped)) == {"data.train"}
    weight = next(teacher.model.parameters())
    with torch.no_grad():
        value = weight.view(-1)[0].clone()
        weight.view(-1)[0] = torch.nextafter(value, torch.tensor(torch.inf))
        assert differing(key_of(corpus, splits)) == {"weights"}
        weight.view(-1)[0] = value
    other = scratch_tokenizer(["something else entirely"] * 9, 300)
    assert "tokenizer" in differing(cache_key(teacher.model, other, splits, vocabulary=len(tokenizer), **SETTINGS))
    monkeypatch.setattr(teacher.model.config, "_experts_implementation", "batched_mm")
    assert differing(key_of(corpus, splits)) == {"experts"}
    monkeypatch.undo()
    monkeypatch.setattr(module, "PROMPT_VERSION", "later")
    assert differing(key_of(corpus, splits)) == {"prompt"}


def test_a_cache_of_other_data_is_refused(corpus, cache):
    batch = Collator(corpus[0].pad_token_id)([{**corpus[1][4], "index": 0}])
    with pytest.raises(ValueError, match="it was written for other data"):
        CachedTeacher(cache, "train").hidden(batch["index"], batch["input_ids"], batch["attention_mask"])


@pytest.mark.parametrize(("storage", "bound"), [("float8", 1e-2), ("int8", 1e-3)])
def test_eight_bits_halve_the_states_and_state_their_error(corpus, splits, cache, tmp_path, storage, bound):
    write(tmp_path, corpus, splits, key_of(corpus, splits, storage=storage))
    small, whole = CachedTeacher(tmp_path, "train"), CachedTeacher(cache, "train")
    assert small.states(5).dtype == torch.bfloat16
    relative = (small.states(5).float() - whole.states(5).float()).norm() / whole.states(5).float().norm()
    assert 0 < relative < 0.04
    stated = json.loads((tmp_path / "manifest.json").read_text())["storage_kl"]
    assert 0 < stated["mean"] < bound and stated["mean"] <= stated["max"]
    a, b = ((folder / "train-00000.safetensors").stat().st_size for folder in (tmp_path, cache))
    assert a < 0.55 * b


def test_the_expected_bytes_are_the_bytes(corpus, splits, cache, tmp_path):
    tokens = sum(len(ids) for split in splits.values() for ids in split["input_ids"])
    write(tmp_path, corpus, splits, key_of(corpus, splits, storage="float8"))
    for folder, storage in ((cache, "bfloat16"), (tmp_path, "float8")):
        expected = cache_bytes(tokens, corpus[2].head, storage)
        found = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        assert 0 <= found - expected < 4 * 400  # the headers


def test_a_disk_that_cannot_hold_the_cache_is_refused_before_the_teacher_runs(
    corpus, splits, key, tmp_path, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(ValueError, match=r"needs .* GB more and the disk of .* has 0\.00 GB free"):
        write_cache(tmp_path, corpus[2], splits, key)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_split_or_storage_is_named(corpus, splits, cache):
    with pytest.raises(ValueError, match=r"has the splits \['train', 'eval'\], not 'test'"):
        CachedTeacher(cache, "test")
    with pytest.raises(ValueError, match="storage is 'float4'; expected one of bfloat16, float8, int8"):
        key_of(corpus, splits, storage="float4")


def test_a_cache_of_an_earlier_form_says_so(tmp_path):
    write_manifest(tmp_path, lengths={"train": [3]})
    with pytest.raises(ValueError, match="of a form no longer read; delete it"):
        CachedTeacher(tmp_path, "train")


def flip_last_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
