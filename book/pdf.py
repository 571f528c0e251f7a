"""The whole book as one PDF: Jupyter Book's single page, printed by Chromium."""

from browser import chromium

# what is on paper: no navigation, no buttons; a chapter begins a page, and no figure is cut in two
STYLE = """
  .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .bd-footer, .prev-next-footer,
  #pst-skip-link, .headerlink, .copybtn { display: none !important; }
  @page { size: A4; margin: 18mm 16mm; }
  html { font-size: 11px; }
  .bd-page-width, .bd-main .bd-content .bd-article-container { max-width: none !important; padding: 0 !important; }
  section > h1 { break-before: page; }
  h1, h2, h3 { break-after: avoid; }
  img, iframe, .admonition, pre { break-inside: avoid; }
  pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  details.toggle-details, .cell details { display: block; }
"""


def write(page, pdf):
    """Print the HTML file `page` to `pdf`."""
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1000, "height": 1400}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.add_style_tag(content=STYLE)
        tab.evaluate("MathJax.startup.promise")
        # frames load when they are seen; on paper nothing scrolls
        tab.evaluate("document.querySelectorAll('iframe').forEach((frame) => (frame.loading = 'eager'))")
        for frame in tab.query_selector_all("iframe"):
            frame.content_frame().wait_for_selector(".disc-explorer .text")
        tab.pdf(path=pdf, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
