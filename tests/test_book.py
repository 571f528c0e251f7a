"""What can be said of the book without building it."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

import build
import disc_book
import notebooks
import reference

ROOT = Path(__file__).parents[1]
CHAPTERS = [ROOT / f"{page}.md" for page in notebooks.pages(ROOT) if notebooks.name_of(page)]
TAUGHT = {"trainer_in", "pull_the_plug"}  # the functions that chapters explain


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
    } == set(notebooks.pages(ROOT))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_cells_are_short_and_call_the_library(path):
    for tags, code in re.findall(r"```\{code-cell\}[^\n]*\n(:tags:[^\n]*\n)?(.*?)```", path.read_text(), re.DOTALL):
        folded = re.search("remove-cell|remove-input|hide-input", tags)
        assert len([line for line in code.splitlines() if line.strip()]) <= (14 if folded else 10), code
        assert set(re.findall(r"(?m)^\s*(?:def|class) (\w+)", code)) <= TAUGHT, code


def test_the_notebooks_are_what_the_chapters_say():
    written = notebooks.notebooks(ROOT)
    assert set(written) == set((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    stale = [path.name for path, text in written.items() if path.read_text() != text]
    assert stale == [], "python book/notebooks.py writes them"


def test_a_notebook_reads_well_outside_the_book():
    for path, text in notebooks.notebooks(ROOT).items():
        nb = nbformat.reads(text, as_version=4)
        nbformat.validate(nb)
        shown = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
        prose = re.sub(r"(?s)```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", shown)
        assert not re.search(r"\{[a-z:-]+\}|\(eq-|^:::", prose), path
        assert not re.search(r"```\{", shown), path
        assert all("myst_nb" not in cell.source and not cell.get("outputs") for cell in nb.cells), path
        links = re.findall(r"\]\(([\w./-]+\.(?:ipynb|md))", shown)
        assert all((path.parent / link).resolve().exists() for link in links), links


@pytest.mark.parametrize("address", ["", "https://github.com/someone/disc-book"])
def test_a_chapter_offers_its_notebook_and_colab_where_there_is_an_address(address, monkeypatch):
    monkeypatch.setattr(notebooks, "address", lambda root: address)
    setup = notebooks.notebook(ROOT, "book/05-kl").cells[1].source
    assert ("discnb[mini] @ git+" + address in setup) == bool(address)
    assert ("install discnb first" in setup) == (not address)
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options={"repository_url": address}))
    for page, name in (("book/05-kl", "05-kl"), ("book/index", "01-start-here"), ("book/cli", None)):
        buttons = [{"url": "_sources/x.md"}, {"url": "print"}]
        groups = [{"label": "download-buttons", "buttons": buttons}]
        context = {"pathto": lambda to, kind: f"../{to}", "header_buttons": groups}
        disc_book._notebook_buttons(app, page, "page.html", context, None)
        assert buttons[0]["url"] == (f"../notebooks/{name}.ipynb" if name else "_sources/x.md")
        assert buttons[-1]["url"] == f"../{disc_book.PDF}"
        colab = [b["url"] for b in groups if "colab" in b.get("url", "")]
        assert [url.partition("/github/")[2] for url in colab] == (
            [f"someone/disc-book/blob/main/notebooks/{name}.ipynb"] if name and address else []
        )


def test_the_execution_cache_lies_where_the_inputs_say():
    assert build.configuration("abc")["execute"]["cache"].endswith("cache-abc")
