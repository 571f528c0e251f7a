"""Builds the book into `_build/html`: the run it shows, what it vendors and generates, then Jupyter Book.

    python book/build.py

A chapter's outputs are kept while nothing they depend on changes: the package, the lock, the committed results. The
execution cache of Jupyter Book looks at cells alone, so its place carries a hash of all that.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

import notebooks
import pdf
import reference
from disc_book import PDF

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "_build"
RUN = ROOT / "runs" / "book"
DEPENDS_ON = ("discnb/**/*", "constraints.txt", "benchmarks/results/*.json", "ablation/*.json")


def inputs_hash(root=ROOT):
    """SHA-256 over every file that a chapter's outputs depend on beside its own cells."""
    digest = hashlib.sha256()
    for pattern in DEPENDS_ON:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def prepare_run(inputs):
    """The run that every chapter looks at, made anew when what it depends on has changed."""
    from discnb.run import open_run

    stamp = BUILD / "run.sha256"
    if RUN.exists() and (not stamp.exists() or stamp.read_text() != inputs):
        shutil.rmtree(RUN)
    BUILD.mkdir(exist_ok=True)
    stamp.write_text(inputs)
    open_run("book", RUN).report()


def vendor():
    """What the pages load, under `_build/_vendor`: the book's style, and MathJax from the package that carries it."""
    [package] = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations
    source, target = Path(package) / "static" / "mathjax", BUILD / "_vendor" / "mathjax"
    fonts = Path("output", "chtml", "fonts")
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)
    shutil.copy(source / "tex-mml-chtml.js", target)
    shutil.copy(ROOT / "book" / "disc-book.css", BUILD / "_vendor")


def configuration(inputs):
    """`_config.yml` as it is built: the place of the execution cache, and no path relative to the file."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["cache"] = str(BUILD / f"cache-{inputs}")
    config["sphinx"]["local_extensions"] = {"disc_book": str(ROOT / "book")}
    config["sphinx"]["config"]["html_static_path"] = [str(BUILD / "_vendor")]
    config["logo"] = str(ROOT / config["logo"])
    return config


def main():
    inputs = inputs_hash()
    prepare_run(inputs)
    vendor()
    reference.write(ROOT)
    notebooks.write(ROOT)
    config = BUILD / "_config.yml"
    config.write_text(yaml.safe_dump(configuration(inputs), sort_keys=False))
    program = Path(sys.executable).with_name("jupyter-book")
    for builder in ("html", "singlehtml"):  # the second is for print, of what the first has read
        command = [program, "build", ROOT, "--builder", builder, "--config", config, "-W", "-n", "--keep-going"]
        if code := subprocess.run(command, cwd=ROOT).returncode:
            raise SystemExit(f"the book is not built: {builder} ended with exit code {code}")
    pages = notebooks.pages(ROOT)
    # a failing cell or a missing page may leave exit code 0
    if missing := [page for page in pages if not (BUILD / "html" / f"{page}.html").exists()]:
        raise SystemExit(f"the book is not built: missing pages {missing}")
    pdf.write(BUILD / "singlehtml", pages[0], BUILD / "html" / PDF)
    print(f"the book is in {BUILD / 'html' / pages[0]}.html, for print in {BUILD / 'html' / PDF}")


if __name__ == "__main__":
    main()
