import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from discnb.data import stream
from discnb.data.stream import write_stream
from discnb.run import open_run


@pytest.fixture
def corpus(tmp_path):
    """A folder of three files, as a hub dataset has them; 400 rows, named otherwise than ours."""
    folder = tmp_path / "corpus" / "data"
    folder.mkdir(parents=True)
    for part in range(3):
        rows = [
            {"problem": f"What is {i}?", "reasoning": f"It is {i}. " * 5, "answer": rf"{i}\n", "domain": "Physics"}
            for i in range(part * 133, min(400, part * 133 + 134) if part == 2 else part * 133 + 133)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"train-{part:05d}-of-00003.parquet")
    return folder.parent


def read(folder):
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in ("train", "eval")}


def numbers(rows):
    return [int(row["question"].split()[-1][:-1]) for row in rows]


def test_every_row_is_in_one_split_and_a_twentieth_is_held_out(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BATCH", 7)
    used, skipped = write_stream(str(corpus), tmp_path, {"train": None, "eval": None}, seed=42)
    rows = read(tmp_path)
    assert used == {split: len(found) for split, found in rows.items()} and skipped == 0
    assert sorted(numbers(rows["train"]) + numbers(rows["eval"])) == list(range(400))
    assert 8 <= used["eval"] <= 32
    row = rows["train"][0]
    assert row["cot"].startswith("It is") and row["response"].endswith("\n") and row["domain"] == "Physics"


def test_a_limit_takes_the_first_of_the_same_split(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "BATCH", 50)
    whole, some = tmp_path / "whole", tmp_path / "some"
    write_stream(str(corpus), whole, {"train": None, "eval": None}, seed=1)
    used, _ = write_stream(str(corpus), some, {"train": 30, "eval": 2}, seed=1)
    assert used == {"train": 30, "eval": 2}
    for split, rows in read(some).items():
        assert rows == read(whole)[split][: len(rows)]


@pytest.mark.parametrize(("value", "what"), [(None, "is null"), (" ", "is blank"), ("", "is empty")])
def test_a_row_without_text_is_named_or_counted(corpus, tmp_path, value, what):
    path = corpus / "data" / "train-00001-of-00003.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[5]["reasoning"] = value
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(ValueError, match=rf"row 138, column 'reasoning' {what}; pass bad_rows='skip'"):
        write_stream(str(corpus), tmp_path, {"train": None, "eval": None}, seed=1)
    assert not list(tmp_path.glob("*.parquet*"))
    used, skipped = write_stream(str(corpus), tmp_path, {"train": None, "eval": None}, seed=1, bad_rows="skip")
    assert skipped == 1 and sum(used.values()) == 399


def test_a_corpus_without_a_field_says_which_and_what_it_has(tmp_path):
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"question": ["a"], "text": ["b"]}), tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=r"has no column for cot, response; looked for .* found question, text"):
        write_stream(str(tmp_path), tmp_path, {"train": None, "eval": None}, seed=1)


def test_a_run_takes_a_stream_and_maps_what_is_large(corpus, tmp_path, monkeypatch):
    settings = {"data.source": f"stream:{corpus}", "data.train_samples": 40, "data.eval_samples": 3}
    run = open_run("tiny", tmp_path / "run", settings)
    assert run.data()["used"] == {"train": 40, "eval": 3}
    small = run.samples("train")[:]
    monkeypatch.setattr("discnb.run.IN_MEMORY_BYTES", 0)
    mapped = run.samples("train")
    assert mapped.cache_files and mapped[:] == small
