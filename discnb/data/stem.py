"""STEM samples in a train and an eval split: ten published sets, copies of them, or the built-in corpus."""

import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

from discnb.data.domains import CARD_COUNTS

OWNER = "0xZee"
FILE = "data/train-00000-of-00001.parquet"

ALIASES = {
    "question": ("question", "Question", "problem", "prompt", "instruction", "input"),
    "cot": ("CoT", "cot", "Complex_CoT", "chain_of_thought", "reasoning", "thinking"),
    "response": ("response", "Response", "answer", "final_answer", "solution", "output"),
}
"""The column names a field goes by, the preferred one first."""

EVAL_SHARE = 0.05

MINI_SIZE = 640

BACKSLASH_N = re.compile(r"\\\\|\\(n[A-Za-z]*)")

COMMANDS = """
    nabla natural ncong ne nearrow neg neq newcommand newline nexists ngeq ngeqq ngeqslant ngtr ni nleftarrow
    nLeftarrow nleftrightarrow nLeftrightarrow nleq nleqq nleqslant nless nmid nobreak noindent nolimits
    nonumber normalsize not notag notin nparallel nprec npreceq nrightarrow nRightarrow nshortmid
    nshortparallel nsim nsubseteq nsubseteqq nsucc nsucceq nsupseteq nsupseteqq ntriangleleft
    ntrianglelefteq ntriangleright ntrianglerighteq nu num nvdash nvDash nVdash nVDash nwarrow
"""

LATEX_N = frozenset(COMMANDS.split())
"""The LaTeX commands that begin with n, of LaTeX, amsmath, amssymb and siunitx."""


class SkippedRows(UserWarning):
    """Rows of a set were left out because they hold no usable text."""


def load_stem(
    source: str | Path = "mini",
    *,
    size: int = MINI_SIZE,
    seed: int = 42,
    bad_rows: str = "error",
    revision: str | Mapping[str, str] | None = None,
    kinds: Collection[str] = (),
    novel_kinds: Collection[str] = (),
) -> DatasetDict:
    """Splits `train` and `eval` (5 %), columns question, cot, response, domain; `seed` shuffles and splits.

    `source` is "hub" (the ten published sets), a folder with copies of them
    (`<folder>/dataset-CoT-<domain>-<rows>/data/train-00000-of-00001.parquet`), or "mini" (the built-in
    corpus, of `size` samples). `revision` pins the hub's sets: one name for all ten, or a commit for each
    domain. A row without usable text is an error, or, with bad_rows="skip", left out with a `SkippedRows`
    warning. Of the built-in corpus, `kinds` are drawn from alone (all if none is named), and `novel_kinds`
    are kept out of both splits: a third, `novel`, as large as `eval`, holds problems of these.
    """
    if bad_rows not in ("error", "skip"):
        raise ValueError(f"bad_rows is {bad_rows!r}; expected 'error' or 'skip'")
    if revision is not None and source != "hub":
        raise ValueError(f"revision is {revision!r}, source {source!r}; only 'hub' has revisions: drop it")
    if size != MINI_SIZE and source != "mini":
        warnings.warn(f"size {size} is ignored: source is {source!r}, only 'mini' has a size", stacklevel=2)
    if (kinds or novel_kinds) and source != "mini":
        raise ValueError(f"source is {source!r}; only 'mini' has kinds to choose or keep out: drop them")
    if source == "mini":
        rows = mini_rows(size, seed, kinds, novel_kinds)
    else:
        rows = []
        for domain, path in (hub_files(revision) if source == "hub" else folder_files(source)).items():
            rows += read_set(path, domain, bad_rows=bad_rows)
    if len(rows) < 2:
        raise ValueError(f"{source!r} gives {len(rows)} samples; expected at least 2, one for each split")
    split = Dataset.from_list(rows).shuffle(seed).train_test_split(test_size=EVAL_SHARE, seed=seed)
    splits = DatasetDict(train=split["train"], eval=split["test"])
    if novel_kinds:
        novel = mini_rows(len(splits["eval"]), seed, novel_kinds)
        splits["novel"] = Dataset.from_list(novel).shuffle(seed)
    return splits


def mini_rows(size: int, seed: int, kinds: Collection[str] = (), without: Collection[str] = ()) -> list[dict[str, str]]:
    """`size` samples of the built-in corpus."""
    from discnb.data.mini import mini_corpus  # its problems bring SymPy, which the published sets do not need

    columns = (*ALIASES, "domain")
    corpus = mini_corpus(size, seed, kinds=kinds, without=without)
    return [{column: problem[column] for column in columns} for problem in corpus]


def set_name(domain: str) -> str:
    """The published name of a domain's set."""
    return f"dataset-CoT-{domain}-{CARD_COUNTS[domain]}"


def hub_files(revision: str | Mapping[str, str] | None = None) -> dict[str, Path]:
    """The ten sets' files by domain, downloaded into the hub's cache if they are not there yet."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    pins = revision if isinstance(revision, Mapping) else dict.fromkeys(CARD_COUNTS, revision)
    if set(pins) != set(CARD_COUNTS):
        raise ValueError(f"revision names {sorted(pins)}; expected all ten domains: {sorted(CARD_COUNTS)}")
    files = {}
    for domain in CARD_COUNTS:
        repo = f"{OWNER}/{set_name(domain)}"
        try:
            files[domain] = Path(hf_hub_download(repo, FILE, repo_type="dataset", revision=pins[domain]))
        except (OSError, ValueError, HTTPError) as error:
            raise ValueError(
                f"could not get {FILE} of the dataset {repo} from the hub ({type(error).__name__}: {error}); "
                "without network, give a folder that holds copies of the ten sets as source, or use 'mini'"
            ) from error
    return files


def folder_files(folder: str | Path) -> dict[str, Path]:
    """The ten sets' files by domain in a folder that holds copies of them."""
    if not Path(folder).is_dir():
        raise ValueError(f"source {str(folder)!r} is no folder; expected 'hub', 'mini' or a folder of sets")
    files = {domain: Path(folder, set_name(domain), FILE) for domain in CARD_COUNTS}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of the ten sets' files are missing: {', '.join(missing)}; "
            "copy them there from the hub, or use another source"
        )
    return files


def read_set(path: Path, domain: str, *, bad_rows: str = "error") -> list[dict[str, str]]:
    """The rows of a set's parquet file, as question, cot, response, domain."""
    try:
        # a ParquetFile, unlike read_table, makes no columns of `key=value` folders in the path
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet ({error}): get the file again") from error
    if table.num_rows != CARD_COUNTS[domain]:
        raise ValueError(
            f"{path}: the set {domain} has {table.num_rows} rows; the card counts {CARD_COUNTS[domain]}: "
            "get the published file, or pin the revision that has them"
        )
    found = find_columns(path, table)
    cells = [table[column].cast(pa.large_binary()).to_pylist() for column in found.values()]

    rows, faults = [], []
    for i, values in enumerate(zip(*cells, strict=True)):
        row = {}
        for (field, column), value in zip(found.items(), values, strict=True):
            try:
                row[field] = read_text(value, repair=field == "response")
            except ValueError as error:
                faults.append(f"row {i}, column {column!r}: {error}")
        if len(row) == len(found):
            rows.append(row | {"domain": domain})
    if faults and bad_rows == "error":
        raise ValueError(
            f"{path}: {listed(faults)}; expected text in every field: mend the file, or pass bad_rows='skip'"
        )
    if faults:
        skipped = table.num_rows - len(rows)
        warnings.warn(
            f"{path}: skipped {skipped} of the {table.num_rows} rows of {domain} ({listed(faults)})",
            SkippedRows,
            stacklevel=3,
        )
    return rows


def find_columns(path: Path, table: pa.Table) -> dict[str, str]:
    """The column that holds each field: the first of its aliases, which must be a column of text."""
    found = {}
    for field, aliases in ALIASES.items():
        column = next((alias for alias in aliases if alias in table.column_names), None)
        if column is None:
            raise ValueError(
                f"{path} has no column for {field}; looked for {', '.join(aliases)}, "
                f"found {', '.join(table.column_names) or 'none'}: rename the column that holds it"
            )
        kind = table.schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise ValueError(
                f"{path}: row 0, column {column!r} holds {table[column][0].as_py()!r}, of type {kind} like "
                "the whole column; expected text: write it as strings"
            )
        found[field] = column
    return found


def read_text(value: bytes | None, *, repair: bool = False) -> str:
    """A cell's text, with `repair` its newlines mended; a null, ill-encoded or blank one is a ValueError."""
    if value is None:
        raise ValueError("is null")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:  # parquet does not check, and a lone surrogate is no UTF-8 either
        raise ValueError(f"is not valid UTF-8 (byte {error.start}: {error.reason})") from error
    if repair:
        text = repair_newlines(text)
    if not text.strip():
        raise ValueError("is blank" if text else "is empty")
    return text


def repair_newlines(text: str) -> str:
    r"""The text with its literal `\n` pairs as newlines, LaTeX left alone.

    A pair stays where all the letters from its n on spell a LaTeX command (`\nu`, `\neq`, `\nabla`): a
    missed newline does less harm than a broken formula. It also stays behind another backslash: `\\n` is
    LaTeX's line break and an n.
    """

    def repaired(match: re.Match[str]) -> str:
        word = match[1]
        return match[0] if word is None or word in LATEX_N else "\n" + word[1:]

    return BACKSLASH_N.sub(repaired, text)


def listed(faults: list[str], shown: int = 5) -> str:
    """The first faults, and how many more there are."""
    more = f" and {len(faults) - shown} more" if len(faults) > shown else ""
    return "; ".join(faults[:shown]) + more
