import pytest
import torch
from datasets import Dataset

from discnb.checkpoint import DamagedFile, write_manifest
from discnb.data import Collator, tokenize_samples
from discnb.models import scratch_teacher, scratch_tokenizer
from discnb.teacher import SHARD_SAMPLES, CachedTeacher, OnlineTeacher, write_cache


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
    return tokens, Collator(tokenizer.pad_token_id), OnlineTeacher(scratch_teacher(tokenizer, seed=0), len(tokenizer))


@pytest.fixture(scope="module")
def cache(corpus, tmp_path_factory):
    tokens, _, teacher = corpus
    folder = tmp_path_factory.mktemp("teacher")
    write_manifest(folder, **write_cache(folder, teacher, {"train": tokens, "eval": tokens.select(range(3))}))
    return folder


def test_the_cache_and_the_model_give_the_same_states_and_head(corpus, cache):
    tokens, collator, online = corpus
    cached = CachedTeacher(cache, "train")
    assert torch.equal(cached.head, online.head)
    for rows in ([0], [5, 70, 3], [SHARD_SAMPLES - 1, SHARD_SAMPLES]):
        batch = collator([tokens[i] for i in rows])
        a, b = (t.hidden(batch["index"], batch["input_ids"], batch["attention_mask"]) for t in (cached, online))
        real = batch["attention_mask"].bool()
        assert a.dtype == b.dtype == torch.bfloat16
        # padding and batch shape change float32 sums in their last bits, at most one step of bfloat16
        torch.testing.assert_close(a[real].float(), b[real].float(), rtol=1e-2, atol=1e-2)
        assert (a[real] == b[real]).float().mean() > 0.99


def test_every_sample_is_its_own_states_and_no_neighbours(corpus, cache):
    tokens, _, online = corpus
    cached = CachedTeacher(cache, "train")
    for i in (0, 1, SHARD_SAMPLES - 1, SHARD_SAMPLES, len(tokens) - 1):
        ids = torch.tensor([tokens[i]["input_ids"]])
        want = online.hidden(torch.tensor([i]), ids, torch.ones_like(ids))[0]
        assert cached.states(i).shape == want.shape
        torch.testing.assert_close(cached.states(i).float(), want.float(), rtol=1e-2, atol=1e-2)


def test_an_interrupted_writing_goes_on_at_the_next_shard_with_the_same_bytes(corpus, cache, tmp_path):
    tokens, _, teacher = corpus

    def stop(done, total):
        if done > 0.95 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cache(tmp_path, teacher, {"train": tokens}, progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["train-00000.safetensors"]
    with pytest.raises(ValueError, match="no complete teacher cache"):
        CachedTeacher(tmp_path, "train")
    first = (tmp_path / "train-00000.safetensors").stat().st_mtime_ns
    write_manifest(tmp_path, **write_cache(tmp_path, teacher, {"train": tokens}))
    assert (tmp_path / "train-00000.safetensors").stat().st_mtime_ns == first
    for shard in ("train-00000.safetensors", "train-00001.safetensors"):
        assert (tmp_path / shard).read_bytes() == (cache / shard).read_bytes()


def test_a_flipped_byte_is_found_before_it_is_read(corpus, cache, tmp_path):
    tokens, _, teacher = corpus
    write_manifest(tmp_path, **write_cache(tmp_path, teacher, {"eval": tokens.select(range(3))}))
    path = tmp_path / "eval-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match=r"eval-00000\.safetensors was altered"):
        CachedTeacher(tmp_path, "eval")


def test_a_cache_of_other_data_is_refused(corpus, cache):
    tokens, collator, _ = corpus
    batch = collator([{**tokens[4], "index": 0}])
    with pytest.raises(ValueError, match="it was written for other data"):
        CachedTeacher(cache, "train").hidden(batch["index"], batch["input_ids"], batch["attention_mask"])


def test_an_unknown_split_is_named(cache):
    with pytest.raises(ValueError, match=r"has the splits \['train', 'eval'\], not 'test'"):
        CachedTeacher(cache, "test")
