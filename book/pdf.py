"""The whole book as one PDF: Jupyter Book's single page, printed by Chromium."""

from browser import chromium

# on paper: no navigation, no buttons, no code that the page folds; a chapter begins a page, and no figure is cut in two
STYLE = """
  .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .bd-footer, .prev-next-footer,
  #pst-skip-link, .headerlink, .copybtn { display: none !important; }
  @page { size: A4; margin: 18mm 16mm; }
  html { font-size: 11px; }
  .bd-page-width, .bd-main .bd-content .bd-article-container { max-width: none !important; padding: 0 !important; }
  span[id^="document-"] + section { break-before: page; > h2 { font-size: 2.4em; } }
  h1, h2, h3 { break-after: avoid; }
  img, iframe, .admonition, pre { break-inside: avoid; }
  pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  .cell_output img { max-height: 90mm; }
  details { display: none; }
"""
NUMBER = '<div style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></div>'


def write(folder, root, pdf):
    """Print the single page of the book whose root is `root`, which Sphinx has written into `folder`."""
    # Sphinx writes it beside the root's source, with addresses as if it lay at the top
    page = folder / "index.html"
    page.write_text((folder / f"{root}.html").read_text().replace(f'href="{root}.html#', 'href="#'))
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1000, "height": 1400}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.add_style_tag(content=STYLE)
        tab.wait_for_function("window.MathJax?.startup?.promise")
        tab.evaluate("MathJax.startup.promise")
        # frames load when they are seen; on paper nothing scrolls
        tab.evaluate("document.querySelectorAll('iframe').forEach((frame) => (frame.loading = 'eager'))")
        for frame in tab.query_selector_all("iframe"):
            frame.content_frame().wait_for_selector(".disc-explorer .text")
        tab.pdf(
            path=pdf,
            prefer_css_page_size=True,
            print_background=True,
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<i></i>",
            footer_template=NUMBER,
        )
