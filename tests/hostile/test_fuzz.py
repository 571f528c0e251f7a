"""Readers of untrusted bytes and texts under made-up input: they give a value or their own error, nothing else."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from discnb.cache import _rank_record
from discnb.checkpoint import (
    MANIFEST,
    DamagedFile,
    is_inner_path,
    mend,
    read_json,
    read_json_lines,
    read_manifest,
)
from discnb.data.tokens import text_encoder, tokenize_samples
from discnb.explore.record import pack
from discnb.gguf_header import check_model, read_header
from discnb.model_folder import check_safetensors
from discnb.models import scratch_tokenizer
from discnb.printable import TURNING, printable
from discnb.prompt import format_sample, proof_token_mask
from tests.explore.records import made_up

from .files import Model, safetensors, sealed
from .texts import TEXTS

SHORT = [text[:200] for text in TEXTS.values()]
TOKENIZER = scratch_tokenizer(["two and two are four", *SHORT], 350)
ENCODER = text_encoder(TOKENIZER)
CONTROL = set(TOKENIZER.all_special_ids)
# UTF-8 has no lone surrogates, and what is read from a file holds none
pieces = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(SHORT))
fields = st.lists(pieces, max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
names = st.text(max_size=12) | st.sampled_from(
    ["../x", "a/../../x", "/x", "a", "a/b", "manifest.json", ".", "a\\..\\x"]
)
facts = st.fixed_dictionaries({"bytes": st.integers(-1, 9) | values, "sha256": st.text(max_size=3) | values}) | values
manifests = st.fixed_dictionaries({"files": st.dictionaries(names, facts, max_size=3) | values}) | values
records = st.fixed_dictionaries(
    {
        "key": st.fixed_dictionaries({"shard_samples": values, "batch_size": values, "storage": values}) | values,
        "world": values, "lengths": values, "files": st.dictionaries(names, facts, max_size=2) | values,
    }
)  # fmt: skip
several = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_bytes(value):
    return json.dumps(value).encode()


@settings(max_examples=200)
@given(fields, fields, fields, st.integers(2, 60))
def test_prompt_span_and_tokens_agree_on_any_text(question, cot, response, max_length):
    text, (start, end) = format_sample(question, cot, response)
    assert text[start:end] == cot
    encoding = ENCODER.encode(text, add_special_tokens=False)
    assert not CONTROL & set(encoding.ids)
    inside = proof_token_mask(encoding.offsets, (start, end))
    covered = [
        i for (first, last), mark in zip(encoding.offsets, inside, strict=True) if mark for i in range(first, last)
    ]
    assert set(range(start, end)) <= set(covered) or ENCODER.normalizer.normalize_str(text) != text
    rows = [{"question": question, "cot": cot, "response": response}]
    split, report = tokenize_samples(Dataset.from_list(rows), TOKENIZER, max_length)
    whole = [*encoding.ids, TOKENIZER.eos_token_id]
    assert split[0]["input_ids"] == whole[:max_length] and report.longest == len(whole)
    assert split[0]["proof"] == [*inside, False][:max_length] and report.truncated == (len(whole) > max_length)


@several
@given(st.binary(max_size=60) | manifests.map(as_bytes))
@example(b"[" * 100_000)
@example(b"1" * 10_000)
@example(as_bytes({"files": {"../../victim": {"bytes": 0, "sha256": ""}}}))
def test_a_manifest_of_any_bytes_touches_nothing_outside(tmp_path, content):
    folder = tmp_path / "a" / "stage"
    folder.mkdir(parents=True, exist_ok=True)
    for victim in (tmp_path / "victim", tmp_path / "a" / "x", tmp_path / "x"):
        victim.write_text("precious")
    for form in (content, sealed(content)):
        (folder / MANIFEST).write_bytes(form)
        with suppress(DamagedFile):
            assert all(map(is_inner_path, read_manifest(folder)["files"]))
        try:
            mend(folder)
        except ValueError as refused:
            assert "has no seal" in str(refused) and (folder / MANIFEST).exists()
    for victim in (tmp_path / "victim", tmp_path / "a" / "x", tmp_path / "x"):
        assert victim.read_text() == "precious"


@given(names)
def test_an_inner_path_stays_inside(name):
    if is_inner_path(name):
        root = Path("/deep/root")
        assert (root / name) != root and (root / name).resolve().is_relative_to(root.resolve())


@several
@given(st.binary(max_size=60) | values.map(as_bytes) | st.lists(values.map(as_bytes), max_size=3).map(b"\n".join))
def test_json_of_any_bytes_is_a_value_or_damaged(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    for read in (read_json, read_json_lines):
        try:
            json.dumps(read(path), allow_nan=False)
        except DamagedFile as damage:
            assert damage.paths == [path]
        except ValueError as error:  # a number such as 1e999, which is JSON, is infinite in Python
            assert "JSON compliant" in str(error)


@several
@given(records | values)
def test_a_ranks_record_of_any_value_is_one_or_damaged(tmp_path, value):
    path = tmp_path / "rank-0.json"
    path.write_bytes(as_bytes(value))
    with suppress(DamagedFile):
        record = _rank_record(path)
        assert record["key"]["shard_samples"] >= 1 and all(sum(n) >= 0 for n in record["lengths"].values())


@several
@given(st.data())
def test_a_gguf_header_with_any_bytes_changed_is_read_or_refused(tmp_path, data):
    model = Model()
    content = bytearray(model.bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, model.marks["end of header"] - 1))
        changed = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(changed)] = changed
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with suppress(ValueError):
        check_model(read_header(path), path)


@several
@given(st.binary(max_size=80) | values.map(safetensors) | st.tuples(values.map(safetensors), st.binary()).map(b"".join))
def test_a_safetensors_file_of_any_bytes_is_read_or_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with suppress(ValueError):
        check_safetensors(path)


@settings(max_examples=60)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=2, max_size=5), st.integers(0, 9)
)
def test_records_of_any_text_are_packed_and_the_same_again(words, seed):
    record = made_up(len(words), seed, words=words)
    assert pack([record], {"title": words[0]}) == pack([record], {"title": words[0]})
    assert "".join(record.tokens) == "".join(words)


@given(st.text(st.characters(), max_size=40))
def test_printable_can_always_be_printed(text):
    shown = printable(text)
    shown.encode()
    assert not TURNING & set(shown) and printable(shown) == shown


FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
@pytest.mark.parametrize("reader", ["manifest", "json", "lines", "gguf", "safetensors"])
@pytest.mark.timeout(90)
def test_a_coverage_guided_fuzzer_finds_nothing_in_two_seconds(reader, tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    words = [sys.executable, str(FUZZ), reader, "-max_total_time=2", "-max_len=65536", "-timeout=10", str(found)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # it ends without cleaning up
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.search(r"Done (\d+) runs", done.stderr)[1]) > 100
