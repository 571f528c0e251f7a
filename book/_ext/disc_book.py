"""What the book asks of Sphinx beyond Jupyter Book: pages that ask nothing of the network, and one search bar."""


def setup(app):
    app.connect("config-inited", _one_search_bar)
    app.connect("html-page-context", _without_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _one_search_bar(app, config):
    # from here, not from html_theme_options in _config.yml, which would take the launch buttons away
    for place in ("navbar_start", "navbar_center", "navbar_end", "navbar_persistent"):
        config.html_theme_options[place] = []


def _without_thebe(app, page, template, context, doctree):
    """Live code cells come from a CDN; the launch buttons and the notebooks do their work here."""
    context["default_mode"] = "auto"  # the theme complains in the console of a page that has none
    for kind in ("script_files", "css_files"):
        files = context.get(kind, [])
        context[kind] = [file for file in files if "thebe" not in str(getattr(file, "filename", file) or "")]
