"""What the book asks of Sphinx beyond Jupyter Book: pages that ask nothing of the network, and one search bar."""


def setup(app):
    app.connect("config-inited", _one_search_bar)
    app.connect("html-page-context", _mended, priority=900)
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


def _attributes(file):
    """A script may be a name or an object with its text among its attributes."""
    return getattr(file, "attributes", "")


def _absolute_values(app, what, name, obj, options, lines):
    """`|x|` in a docstring is an absolute value, not a substitution."""
    lines[:] = [line.replace("|", r"\|") for line in lines]
