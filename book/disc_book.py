"""What the book asks of Sphinx beyond Jupyter Book: pages without a network, one search bar, notebooks."""

import shutil
from pathlib import Path

from notebooks import name_of

PDF = "disc-book.pdf"


def setup(app):
    app.connect("config-inited", _one_search_bar)
    app.connect("html-page-context", _mended, priority=900)
    app.connect("html-page-context", _notebook_buttons, priority=900)
    app.connect("build-finished", _copy_notebooks)
    app.connect("autodoc-process-docstring", _absolute_values)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _one_search_bar(app, config):
    # from here, not from html_theme_options in _config.yml, which would take the launch buttons away
    for place in ("navbar_start", "navbar_center", "navbar_end", "navbar_persistent"):
        config.html_theme_options[place] = []


def _mended(app, page, template, context, doctree):
    """No live code cells from a CDN, and what the theme and docutils leave to mend."""
    context["default_mode"] = "auto"  # the theme complains in the console of a page that has none
    if "body" in context:  # a list to screen readers whose entries are not list items
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if "thebe" not in f"{file} {_attributes(file)}".lower()]


def _notebook_buttons(app, page, template, context, doctree):
    """A chapter's notebook first among its downloads, the whole book last, and Colab where there is an address."""
    name, to, groups = name_of(page), context["pathto"], context.get("header_buttons", [])
    for group in groups:
        if group.get("label") == "download-buttons":
            if name:
                group["buttons"][0] = _button(to(f"notebooks/{name}.ipynb", 1), ".ipynb", "code", "The notebook")
            group["buttons"].append(_button(to(PDF, 1), "book.pdf", "book", "The whole book for print"))
    if name and (address := app.config.html_theme_options.get("repository_url")):
        owner_and_name = "/".join(address.rstrip("/").removesuffix(".git").split("/")[-2:])
        colab = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/{name}.ipynb"
        groups.insert(0, _button(colab, "Colab", "rocket", "Open in Colab"))


def _button(url, text, icon, tooltip):
    return {"type": "link", "url": url, "text": text, "icon": f"fas fa-{icon}", "tooltip": tooltip}


def _copy_notebooks(app, exception):
    """So that the button works from disk."""
    if exception is None and app.builder.format == "html":
        target = Path(app.outdir) / "notebooks"
        target.mkdir(exist_ok=True)
        for path in (Path(app.srcdir) / "notebooks").glob("[0-9]*.ipynb"):
            shutil.copy(path, target)


def _attributes(file):
    """A script may be a name or an object with its text among its attributes."""
    return getattr(file, "attributes", "")


def _absolute_values(app, what, name, obj, options, lines):
    """`|x|` in a docstring is an absolute value, not a substitution; a named tuple's field says nothing by itself."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    lines[:] = [line.replace("|", r"\|") for line in lines]
