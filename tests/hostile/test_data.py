"""Data files that lie: named, with what was expected, and nothing of them run or written."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from discnb.data.domains import CARD_COUNTS
from discnb.data.stem import read_set
from discnb.data.stream import write_stream

DOMAIN = "Molecular-Biology"
ROWS = CARD_COUNTS[DOMAIN]


def parquet(**columns):
    table = {"question": ["q"] * ROWS, "CoT": ["c"] * ROWS, "response": ["r"] * ROWS, **columns}
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: column for name, column in table.items() if column is not None}), buffer)
    return buffer.getvalue()


def one(value):
    return [value, *["q"] * (ROWS - 1)]


GOOD = parquet()
INVALID = pa.array([b"\xff\xfe", *[b"q"] * (ROWS - 1)], pa.binary()).view(pa.string())
SURROGATE = pa.array([b"\xed\xa0\x80", *[b"q"] * (ROWS - 1)], pa.binary()).view(pa.string())
PARQUET = {
    "empty": (b"", "cannot be read as parquet"),
    "a text": (b"question,CoT,response\n", "cannot be read as parquet"),
    "a pickle": (b"\x80\x04cos\nsystem\n", "cannot be read as parquet"),
    "the magic alone": (b"PAR1PAR1", "cannot be read as parquet"),
    "cut in the middle": (GOOD[: len(GOOD) // 2], "cannot be read as parquet"),
    "cut at the end": (GOOD[:-1], "cannot be read as parquet"),
    "with a footer of 2^31 bytes": (GOOD[:-8] + b"\xff\xff\xff\x7fPAR1", "cannot be read as parquet"),
    "with a negative footer": (GOOD[:-8] + b"\xff\xff\xff\xffPAR1", "cannot be read as parquet"),
    "with a footer of nonsense": (GOOD[:-60] + bytes(52) + GOOD[-8:], "cannot be read as parquet"),
    "without a question": (parquet(question=None), "no column for question"),
    "without a response": (parquet(response=None), "no column for response"),
    "of numbers": (parquet(CoT=[1] * ROWS), "of type int64"),
    "of lists": (parquet(CoT=[["a"]] * ROWS), "of type list"),
    "of objects": (parquet(CoT=[{"a": 1}] * ROWS), "of type struct"),
    "of bytes": (parquet(CoT=[b"a"] * ROWS), "of type binary"),
    "with a null": (parquet(CoT=one(None)), "row 0, column 'CoT': is null"),
    "with an empty text": (parquet(CoT=one("")), "row 0, column 'CoT': is empty"),
    "with blanks alone": (parquet(CoT=one(" \n\u00a0")), "row 0, column 'CoT': is blank"),
    "of texts that are no UTF-8": (parquet(CoT=INVALID), "row 0, column 'CoT': is not valid UTF-8"),
    "of lone surrogates": (parquet(CoT=SURROGATE), "row 0, column 'CoT': is not valid UTF-8"),
    "of nulls alone": (parquet(CoT=pa.nulls(ROWS)), "is null"),
    "with a row too few": (
        parquet(question=["q"] * 70, CoT=["c"] * 70, response=["r"] * 70), "has 70 rows; the card counts 71",
    ),
}  # fmt: skip


def lines(**row):
    return (json.dumps({"question": "q", "cot": "c", "response": "r", **row}) + "\n").encode() * 60


STREAMS = {
    "a line that is cut": ("x.jsonl", b'{"question": "a", "co', "cannot be read"),
    "lone surrogates": ("x.jsonl", lines(question="\ud800"), "cannot be read"),
    "JSON 100,000 lists deep": ("x.jsonl", b"[" * 100_000, "cannot be read"),
    "JSON that is no UTF-8": ("x.jsonl", lines().replace(b'"q"', b'"\xff"'), "cannot be read"),
    "lines of lists": ("x.jsonl", b"[1, 2]\n" * 4, "cannot be read"),
    "a question that is a number": ("x.jsonl", lines(question=7), "row 0, column 'question' holds int"),
    "a question that is an object": ("x.jsonl", lines(question={"a": 1}), "row 0, column 'question' holds dict"),
    "a question that is null": ("x.jsonl", lines(question=None), "row 0, column 'question' is null"),
    "a question that is sometimes a number": (
        "x.jsonl", lines() + lines(question=7), "row 60, column 'question' holds int",
    ),
    "no response": ("x.jsonl", lines().replace(b"response", b"unknown"), "no column for response"),
    "a number of 10^999999": ("x.json", b'{"question": 1e999999}', "cannot be read"),
    "an empty file": ("x.jsonl", b"", "cannot be read"),
    "empty parquet": ("x.parquet", b"", "cannot be read"),
    "parquet of nonsense": ("x.parquet", b"PAR1" + bytes(50) + b"PAR1", "cannot be read"),
    "Arrow of nonsense": ("x.arrow", b"ARROW1\0\0" + b"\xff" * 100, "cannot be read"),
    "a table whose quote never ends": ("x.csv", b'question,cot,response\n"a,b\n', "cannot be read"),
    "a text without columns": ("x.txt", b"hello\n", "no column for question"),
    "a pickle": ("x.pkl", b"\x80\x04cos\nsystem\n", "cannot be read"),
    "a script": ("x.py", b"open('ran', 'w')", "cannot be read"),
    "an archive": ("x.tar", bytes(10240), "of the kind 'webdataset'"),
    "a picture": ("x.png", b"\x89PNG\r\n\x1a\n", "of the kind 'imagefolder'"),
    "one row": ("x.jsonl", lines()[: len(lines()) // 60], "expected at least one in each split"),
}  # fmt: skip
CASES = PARQUET | STREAMS


@pytest.mark.parametrize("name", PARQUET)
def test_a_parquet_file_that_lies_is_named(name, tmp_path):
    content, message = PARQUET[name]
    (tmp_path / "set.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_set(tmp_path / "set.parquet", DOMAIN)
    assert "set.parquet" in str(error.value)


def test_the_same_file_without_a_lie_is_read(tmp_path):
    (tmp_path / "set.parquet").write_bytes(GOOD)
    assert len(read_set(tmp_path / "set.parquet", DOMAIN)) == ROWS


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.timeout(60)
def test_a_stream_that_lies_is_named_and_leaves_nothing(name, tmp_path, monkeypatch):
    file, content, message = STREAMS[name]
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    (source / file).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        write_stream("source", target, {"train": None, "eval": None}, seed=1)
    assert "source" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists() and not list(target.glob("*.tmp"))


@pytest.mark.parametrize("domain", ["../../x", "/etc/passwd", "a\0b", "<script>", "\u202ex", "C:\\x", "x" * 100_000])
def test_a_domain_is_a_text_and_never_a_path(domain, tmp_path):
    source, target = tmp_path / "deep" / "source", tmp_path / "deep" / "target"
    for folder in (source, target):
        folder.mkdir(parents=True)
    (source / "x.jsonl").write_bytes(lines(domain=domain))
    write_stream(str(source), target, {"train": None, "eval": None}, seed=1)
    assert set(pq.read_table(target / "train.parquet")["domain"].to_pylist()) == {domain}
    assert {p.name for p in tmp_path.rglob("*")} == {
        "deep", "source", "target", "x.jsonl", "train.parquet", "eval.parquet",
    }  # fmt: skip
