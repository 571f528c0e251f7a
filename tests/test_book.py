"""What can be said of the book without building it."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book"))
import build  # noqa: E402
import reference  # noqa: E402


@pytest.mark.parametrize(
    "name", ["discnb/objective.py", "discnb/explore/static/core.js", "constraints.txt", "benchmarks/results/cache.json"]
)
def test_outputs_are_stale_when_the_package_the_lock_or_the_results_change(tmp_path, name):
    for pattern in build.DEPENDS_ON:
        for path in ROOT.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / path.relative_to(ROOT))
    before = build.inputs_hash(tmp_path)
    assert before == build.inputs_hash()
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert build.inputs_hash(tmp_path) != before


def test_the_reference_pages_are_what_the_code_says():
    assert (ROOT / "book" / "cli.md").read_text() == reference.command_line() + "\n" + reference.settings(ROOT)


def test_every_chapter_file_is_in_the_table_of_contents():
    assert {str(path.relative_to(ROOT).with_suffix("")) for path in (ROOT / "book").glob("*.md")} - {
        "book/README"
    } == set(build.pages())


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("[01]*.md")), ids=lambda path: path.stem)
def test_cells_are_short(path):
    cells = path.read_text().split("```{code-cell}")[1:]
    lengths = [len([li for li in c.split("```")[0].splitlines()[1:] if li and li[0] != ":"]) for c in cells]
    hidden = ["remove-input" in cell or "hide-input" in cell for cell in cells]
    assert all(n <= 12 or skip for n, skip in zip(lengths, hidden, strict=True)), lengths


def test_the_execution_cache_lies_where_the_inputs_say():
    assert build.configuration("abc")["execute"]["cache"].endswith("cache-abc")
