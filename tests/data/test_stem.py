import hashlib
import re

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discnb.data.domains import CARD_COUNTS
from discnb.data.stem import ALIASES, SkippedRows, load_stem, repair_newlines

FILE = "data/train-00000-of-00001.parquet"
COLUMNS = ["question", "cot", "response", "domain"]
SMALL = "Molecular-Biology"  # the last and smallest of the sets: the one the tests spoil
ROWS = CARD_COUNTS[SMALL]


def write_set(folder, domain, table):
    path = folder / f"dataset-CoT-{domain}-{CARD_COUNTS[domain]}" / FILE
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    return path


def columns_of(domain, count):
    return {
        "question": [f"{domain} question {i}?" for i in range(count)],
        "CoT": [f"Step one of {i}.\n\nFinal Answer: not yet." for i in range(count)],
        "response": [rf"First line\n$\nu = {i}$" for i in range(count)],
    }


@pytest.fixture(scope="session")
def ten_sets(tmp_path_factory):
    """The ten sets at their real sizes, with other column names each, beside a column of a lesser alias."""
    folder = tmp_path_factory.mktemp("stem")
    for i, (domain, count) in enumerate(CARD_COUNTS.items()):
        columns = columns_of(domain, count)
        table = {}
        for (field, aliases), values in zip(ALIASES.items(), columns.values(), strict=True):
            if i % len(aliases) < len(aliases) - 1:
                table[aliases[-1]] = [f"the wrong {field}"] * count
            table[aliases[i % len(aliases)]] = values
        table["id"] = list(range(count))
        write_set(folder, domain, pa.table(table))
    return folder


@pytest.fixture
def spoiled(ten_sets, tmp_path):
    """A function that puts a table or bytes in the smallest set's place and gives the folder and the file."""

    def spoil(content):
        for domain in CARD_COUNTS:
            name = f"dataset-CoT-{domain}-{CARD_COUNTS[domain]}"
            if domain != SMALL:
                (tmp_path / name).symlink_to(ten_sets / name)
        if isinstance(content, bytes):
            path = tmp_path / f"dataset-CoT-{SMALL}-{ROWS}" / FILE
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
            return tmp_path, path
        return tmp_path, write_set(tmp_path, SMALL, pa.table(content))

    return spoil


@pytest.fixture(scope="session")
def loaded(ten_sets):
    return load_stem(ten_sets)


def test_the_card_s_ten_sets_split_into_its_5815_and_307_samples(loaded):
    assert sum(CARD_COUNTS.values()) == 6122
    assert {name: len(split) for name, split in loaded.items()} == {"train": 5815, "eval": 307}
    assert all(split.column_names == COLUMNS for split in loaded.values())
    domains = [domain for split in loaded.values() for domain in split["domain"]]
    assert {domain: domains.count(domain) for domain in CARD_COUNTS} == CARD_COUNTS


def test_every_sample_keeps_its_fields_together_under_any_column_names(loaded):
    want = {}
    for domain, count in CARD_COUNTS.items():
        for question, cot, response in zip(*columns_of(domain, count).values(), strict=True):
            want[question] = (cot, response.replace(r"line\n", "line\n"), domain)
    rows = [row for split in loaded.values() for row in split]
    got = {row["question"]: (row["cot"], row["response"], row["domain"]) for row in rows}
    assert got == want


def test_the_order_is_numpy_s_permutation_with_seed_42_taken_twice(loaded):
    merged = [question for domain, n in CARD_COUNTS.items() for question in columns_of(domain, n)["question"]]
    shuffled = [merged[i] for i in np.random.default_rng(42).permutation(6122)]
    again = [shuffled[i] for i in np.random.default_rng(42).permutation(6122)]
    assert loaded["eval"]["question"] == again[:307]
    assert loaded["train"]["question"] == again[307:]


def test_the_first_questions_are_the_same_on_every_machine(ten_sets, loaded):
    assert load_stem(str(ten_sets))["train"][:50] == loaded["train"][:50]
    digest = hashlib.sha256("\n".join(loaded["train"][:50]["question"]).encode()).hexdigest()
    assert digest[:16] == "f86931eaa46c20d1"


def test_another_seed_gives_another_split(ten_sets, loaded):
    other = load_stem(ten_sets, seed=1)
    assert len(other["eval"]) == 307
    assert set(other["eval"]["question"]) != set(loaded["eval"]["question"])


def test_the_hub_is_asked_for_the_ten_sets_and_read_like_a_folder(ten_sets, loaded, monkeypatch):
    asked = []

    def download(repo_id, filename, *, repo_type, revision):
        asked.append((repo_id, filename, repo_type, revision))
        return str(ten_sets / repo_id.removeprefix("0xZee/") / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    pins = {domain: f"commit-{domain}" for domain in CARD_COUNTS}
    assert load_stem("hub", revision=pins)["train"][:20] == loaded["train"][:20]
    assert asked[0] == ("0xZee/dataset-CoT-Physics-2254", FILE, "dataset", "commit-Physics")
    assert len({repo for repo, *_ in asked}) == 10
    load_stem("hub", revision="v1")
    assert {revision for *_, revision in asked[10:]} == {"v1"}
    with pytest.raises(ValueError, match=r"\['Physics'\]; expected all ten domains"):
        load_stem("hub", revision={"Physics": "v1"})


def test_without_network_the_hub_points_to_the_other_sources(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"0xZee/dataset-CoT-Physics-2254 .* give a folder .* or use 'mini'"):
        load_stem("hub")


def test_the_built_in_corpus_has_the_same_shape():
    mini = load_stem("mini", size=100, seed=7)
    assert {name: len(split) for name, split in mini.items()} == {"train": 95, "eval": 5}
    assert all(split.column_names == COLUMNS for split in mini.values())
    assert {*mini["train"]["domain"], *mini["eval"]["domain"]} <= set(CARD_COUNTS)
    assert load_stem("mini", size=100, seed=7)["train"][:] == mini["train"][:]


# bad input


def with_cell(column, row, value):
    columns = columns_of(SMALL, ROWS)
    columns[column][row] = value
    return columns


def binary_as_text(row, value):
    """The good columns with `value`, any bytes, in a cell of the column `CoT`."""
    columns = columns_of(SMALL, ROWS)
    cells = [text.encode() for text in columns["CoT"]]
    cells[row] = value
    return columns | {"CoT": pa.array(cells).view(pa.string())}


BAD_ROWS = {
    "null": (with_cell("question", 3, None), "row 3, column 'question': is null"),
    "empty": (with_cell("CoT", 0, ""), "row 0, column 'CoT': is empty"),
    "blank": (with_cell("CoT", 70, " \n\t"), "row 70, column 'CoT': is blank"),
    "blank once repaired": (with_cell("response", 5, r"\n\n"), "row 5, column 'response': is blank"),
    "not UTF-8": (binary_as_text(9, b"caf\xe9 x"), "row 9, column 'CoT': is not valid UTF-8"),
    "surrogate": (binary_as_text(2, b"ab\xed\xa0\x80"), "row 2, column 'CoT': is not valid UTF-8 (byte 2"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_row_without_text_is_an_error_with_its_file_row_and_column(case, spoiled):
    content, message = BAD_ROWS[case]
    folder, path = spoiled(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        load_stem(folder)


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_skipped_row_is_told_and_only_it_is_missing(case, spoiled):
    content, message = BAD_ROWS[case]
    folder, path = spoiled(content)
    told = re.escape(f"{path}: skipped 1 of the {ROWS} rows of {SMALL} ({message}")
    with pytest.warns(SkippedRows, match=told):
        splits = load_stem(folder, bad_rows="skip")
    row = int(re.search(r"row (\d+)", message)[1])
    questions = {question for split in splits.values() for question in split["question"]}
    want = {f"{domain} question {i}?" for domain, n in CARD_COUNTS.items() for i in range(n)}
    assert questions == want - {f"{SMALL} question {row}?"}


def test_a_row_with_two_faults_is_skipped_once_and_many_faults_are_counted(spoiled):
    columns = columns_of(SMALL, ROWS)
    for row in range(8):
        columns["question"][row] = columns["CoT"][row] = None
    folder, _ = spoiled(columns)
    with pytest.warns(SkippedRows, match=rf"skipped 8 of the {ROWS} rows .* and 11 more\)"):
        splits = load_stem(folder, bad_rows="skip")
    assert sum(map(len, splits.values())) == 6122 - 8


def test_good_rows_give_no_warning(ten_sets):
    load_stem(ten_sets, bad_rows="skip")  # pytest turns a warning into an error


def whole_file(ten_sets):
    return (ten_sets / f"dataset-CoT-{SMALL}-{ROWS}" / FILE).read_bytes()


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
class TestAnErrorWhateverTheRows:
    @pytest.mark.parametrize("values", [list(range(ROWS)), [["a"]] * ROWS, [b"a"] * ROWS, [0.5] * ROWS])
    def test_column_of_another_type(self, spoiled, bad_rows, values):
        folder, path = spoiled(columns_of(SMALL, ROWS) | {"CoT": values})
        told = re.escape(f"{path}: row 0, column 'CoT' holds {values[0]!r}")
        with pytest.raises(ValueError, match=told + ".*expected text"):
            load_stem(folder, bad_rows=bad_rows)

    def test_missing_column(self, spoiled, bad_rows):
        columns = columns_of(SMALL, ROWS)
        columns["chain"] = columns.pop("CoT")
        folder, path = spoiled(columns)
        told = re.escape(f"{path} has no column for cot; looked for {', '.join(ALIASES['cot'])}, ")
        with pytest.raises(ValueError, match=told + "found question, response, chain"):
            load_stem(folder, bad_rows=bad_rows)

    @pytest.mark.parametrize("rows", [0, ROWS - 1, ROWS + 1])
    def test_other_count_than_the_card_s(self, spoiled, bad_rows, rows):
        folder, _ = spoiled(columns_of(SMALL, rows))
        with pytest.raises(ValueError, match=f"set {SMALL} has {rows} rows; the card counts {ROWS}"):
            load_stem(folder, bad_rows=bad_rows)

    def test_file_that_is_not_parquet(self, spoiled, bad_rows):
        folder, path = spoiled(b"question,CoT,response\n")
        with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read as parquet")):
            load_stem(folder, bad_rows=bad_rows)

    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
    def test_truncated_file(self, spoiled, ten_sets, bad_rows, kept):
        whole = whole_file(ten_sets)
        folder, path = spoiled(whole[: int(kept * len(whole))])
        with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read as parquet")):
            load_stem(folder, bad_rows=bad_rows)

    def test_hole_in_the_data_of_a_file(self, spoiled, ten_sets, bad_rows):
        whole = whole_file(ten_sets)
        folder, path = spoiled(whole[:4] + bytes(2000) + whole[2004:])
        with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read as parquet")):
            load_stem(folder, bad_rows=bad_rows)

    def test_missing_file(self, spoiled, bad_rows):
        folder, path = spoiled(columns_of(SMALL, ROWS))
        path.unlink()
        with pytest.raises(ValueError, match="1 of the ten sets' files are missing: " + re.escape(str(path))):
            load_stem(folder, bad_rows=bad_rows)

    @pytest.mark.parametrize("source", ["minni", "Hub", "/no/such/folder", __file__])
    def test_unknown_source(self, bad_rows, source):
        with pytest.raises(ValueError, match=re.escape(f"{source!r} is no folder; expected 'hub', 'mini'")):
            load_stem(source, bad_rows=bad_rows)


def test_an_unknown_way_with_bad_rows_is_an_error():
    with pytest.raises(ValueError, match="bad_rows is 'drop'; expected 'error' or 'skip'"):
        load_stem(bad_rows="drop")


def test_one_sample_cannot_be_split():
    with pytest.raises(ValueError, match="gives 1 samples; expected at least 2"):
        load_stem(size=1)


def test_an_option_the_source_does_not_have_is_not_passed_over(ten_sets):
    with pytest.warns(UserWarning, match="size 64 is ignored"):
        load_stem(ten_sets, size=64)
    with pytest.raises(ValueError, match="only 'hub' has revisions"):
        load_stem(ten_sets, revision="main")


# literal newlines


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (r"x = 1\ny = 2", "x = 1\ny = 2"),
        (r"a\n\nThe end.\n", "a\n\nThe end.\n"),
        (r"\n1) first\n- second\n$x$", "\n1) first\n- second\n$x$"),
        (r"so\nnot all\nor none", "so\nnot all\nor none"),
        (r"$\nu_0 \neq \nabla f$, $\not\in$, $\not=$", r"$\nu_0 \neq \nabla f$, $\not\in$, $\not=$"),
        (r"\notag \nonumber \ni \ne", r"\notag \nonumber \ni \ne"),
        (r"$\nu$\n$\nabla$", "$\\nu$\n$\\nabla$"),
        (r"\n\nu", "\n\\nu"),
        (r"1 \\n & 2", r"1 \\n & 2"),
        (r"1 \\\n2", "1 \\\\\n2"),
        (r"\min \sin \lnx \tan", r"\min \sin \lnx \tan"),
        ("a\nb", "a\nb"),
    ],
)
def test_a_literal_newline_is_repaired_unless_latex_reads_a_command(text, want):
    assert repair_newlines(text) == want


@given(st.text(alphabet="\\nuabel ", max_size=30))
def test_repairing_twice_is_repairing_once_and_adds_only_newlines(text):
    once = repair_newlines(text)
    assert repair_newlines(once) == once
    assert once.replace("\n", "\\n") == text
