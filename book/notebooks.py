"""Writes a notebook for every chapter into `notebooks/`, for Colab and for those who want to change a cell.

They are committed without outputs. What only a book understands is put in plain Markdown: boxes become quotations, a
number from a cell becomes the name under which that cell prints it, citations and equations become text.
"""

import re
from pathlib import Path

import jupytext
import nbformat
import yaml
from pybtex.database import parse_file

SETUP = '''\
# Run this first. It makes the run that the chapters look at, once, which takes some minutes on two CPU cores.
import os
from importlib.util import find_spec
from pathlib import Path

if find_spec("discnb") is None:
    {install}

if Path.cwd().name != "notebooks":  # outside a checkout: a folder like its `notebooks`
    os.makedirs("discnb-book/notebooks", exist_ok=True)
    os.chdir("discnb-book/notebooks")


def glue(name, value, display=False):
    """Where the book's text holds a value, this notebook's holds its name in such brackets."""
    print(f"⟨{{name.partition('-')[2]}}⟩ {{value}}")


from discnb.run import open_run

open_run("book", "../runs/book").report();'''
FROM_ADDRESS = '%pip install --quiet "discnb[mini] @ git+{}"  # compiles llama.cpp: some minutes more'
FROM_HERE = 'raise ModuleNotFoundError("install discnb first: pip install /path/to/its/checkout[mini] (or its wheel)")'


def address(root):
    """The repository's public address, or an empty string while there is none: `repository.url` of `_config.yml`."""
    return yaml.safe_load((root / "_config.yml").read_text())["repository"]["url"]


def pages(root):
    """Every page of `_toc.yml`, without suffix."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def name_of(page):
    """The name of a chapter's notebook; None for a page that is not a chapter."""
    stem = page.rpartition("/")[2]
    return "01-start-here" if stem == "index" else stem if stem[:2].isdigit() else None


def plain(text, works, cited, equations):
    """A chapter's Markdown without what only MyST knows."""

    def boxed(match):
        title, body = match["title"].strip() or match["kind"].capitalize(), match["body"].strip()
        body = re.sub(r"^:\w+:.*\n", "", body)
        return "\n".join(f"> {line}".rstrip() for line in f"**{title}**\n\n{body}".splitlines())

    def cite(match):
        said = []
        for key in match["keys"].split(","):
            cited.append(key)
            names, year = author(works[key]), works[key].fields["year"]
            said.append(f"{names} ({year})" if match["kind"] == "t" else f"{names}, {year}")
        return "; ".join(said) if match["kind"] == "t" else f"({'; '.join(said)})"

    def equation(match):
        equations.append(match["label"])
        return f"{match['math']} \\tag{{{len(equations)}}}$$"

    def page(match):
        stem, anchor = match["page"], match["anchor"] or ""
        name = name_of(stem)
        return f"]({name}.ipynb{anchor})" if name else f"](../book/{stem}.md{anchor})"

    text = re.sub(r"(?ms)^```\{(?P<kind>\w+)\}(?P<title>[^\n]*)\n(?P<body>.*?)^```$", boxed, text)
    text = re.sub(r"(?s)(?P<math>\$\$(?:(?!\$\$).)*)\$\$ \((?P<label>eq-[\w-]+)\)", equation, text)
    text = re.sub(r"\{eq\}`(eq-[\w-]+)`", lambda match: f"({equations.index(match[1]) + 1})", text)
    text = re.sub(r"\{cite:(?P<kind>[pt])\}`(?P<keys>[^`]+)`", cite, text)
    text = re.sub(r"\{glue:text\}`c\d\d-([^`]+)`", r"**⟨\1⟩**", text)
    return re.sub(r"\]\((?P<page>[a-z\d-]+)(?P<anchor>#[^)]*)?\)", page, text)


def author(work):
    """A work's authors, as a sentence names them."""
    names = [" ".join(person.last_names) for person in work.persons["author"]]
    return " and ".join(names) if len(names) < 3 and "others" not in names else f"{names[0]} et al."


def reference(work):
    """A work in one line of a list."""
    fields = {name: value.replace("{", "").replace("}", "").replace("--", "–") for name, value in work.fields.items()}
    place = next(fields[name] for name in ("journal", "booktitle", "publisher", "howpublished") if name in fields)
    return f"- {author(work)} ({fields['year']}): *{fields['title']}*. {place}."


def notebook(root, page):
    """A chapter as a notebook."""
    works, cited, equations = parse_file(root / "book" / "references.bib").entries, [], []
    book = jupytext.read(root / f"{page}.md", fmt="md:myst")
    url = address(root)
    setup = SETUP.format(install=FROM_ADDRESS.format(url) if url else FROM_HERE)
    cells = [nbformat.v4.new_code_cell(setup, metadata={"tags": ["setup"]})]
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, works, cited, equations)
        else:
            cell.source = re.sub(r"(?m)^from myst_nb import glue\n+", "", cell.source)
            if {"remove-cell", "remove-input", "hide-input"} & set(cell.metadata.get("tags", [])):
                # JupyterLab's way to fold a cell, and Colab's
                cell.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
        cells.append(cell)
    cells[:2] = cells[1::-1]  # the chapter's title and introduction come first
    if cited:
        listed = (reference(works[key]) for key in dict.fromkeys(cited))
        cells.append(nbformat.v4.new_markdown_cell("## Works cited\n\n" + "\n".join(listed)))
    for number, cell in enumerate(cells):
        cell.id = f"{name_of(page)}-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def notebooks(root):
    """The text of every notebook by its path."""
    return {
        root / "notebooks" / f"{name_of(page)}.ipynb": nbformat.writes(notebook(root, page)) + "\n"
        for page in pages(root)
        if name_of(page)
    }


def write(root):
    """Write them, and leave those alone that are as they should be."""
    for path, text in notebooks(root).items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    write(Path(__file__).parent.parent)
