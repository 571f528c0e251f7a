"""The built book, every page of it, from disk in a real browser: `make book` runs this after building."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from jupyter_cache import get_cache
from playwright.sync_api import expect

import build
import notebooks
from disc_book import PDF

HTML = build.BUILD / "html"
PAGES = notebooks.pages(build.ROOT)
CHAPTERS = [page for page in PAGES if page.partition("/")[2][:2].isdigit()]


@pytest.fixture(scope="module", autouse=True)
def built():
    assert HTML.exists(), "there is no book: `make book` builds it"


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    context.close()


def visit(page, name):
    page.goto((HTML / f"{name}.html").as_uri())
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_asks_nothing_of_the_network(page, name):
    visit(page, name)
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "about:"))] == []
    assert page.complaints == []
    main = page.locator("main")
    text = main.inner_text()
    assert len(text) > 400
    assert not re.search(r"Traceback \(most recent call last\)|\d s left\n|: working in /", text)
    empty = main.locator(".cell_output").evaluate_all(
        "all => all.filter((one) => !one.innerText.trim() && !one.querySelector('img, iframe, svg')).length"
    )
    assert empty == 0
    described = main.locator("img").evaluate_all("all => all.map((one) => [one.alt, one.naturalWidth])")
    assert all(len(alt) > 20 and width > 0 for alt, width in described), described
    found = Axe().run(page, options={"iframes": False})
    serious = [v["id"] for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_shows_figures_and_asks_questions(page, name):
    visit(page, name)
    main = page.locator("main")
    assert main.locator(".cell_output img, .cell_output iframe").count() >= 1
    assert main.locator(".admonition.tip").count() >= 1
    assert main.get_by_text("not yet: ").count() >= 2


@pytest.mark.parametrize("name", ["book/index", "book/06-pivots"])
def test_the_explorer_in_a_chapter_is_alive(page, name):
    visit(page, name)
    frame = page.frame_locator("iframe[title^='Pivot explorer']").first
    page.locator("iframe[title^='Pivot explorer']").first.scroll_into_view_if_needed()
    pivots = frame.locator(".text .pivot")
    expect(pivots.first).to_be_visible()
    before = pivots.count()
    frame.get_by_role("slider", name="pivot σ").fill("4.5")
    expect(pivots).not_to_have_count(before)


@pytest.mark.parametrize("name", ["book/index", *CHAPTERS])
def test_every_number_from_a_cell_is_used(name):
    """That every used one exists is Sphinx's to say: a name that no cell gave is a warning."""
    cache = get_cache(build.configuration(build.inputs_hash())["execute"]["cache"])
    records = [record for record in cache.list_cache_records() if record.uri.endswith(f"{name}.md")]
    notebook = cache.get_cache_bundle(max(records, key=lambda record: record.accessed).pk).nb
    metadata = [output.get("metadata", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    glued = {data["scrapbook"]["name"] for data in metadata if "scrapbook" in data}
    assert glued == set(re.findall(r"\{glue:text\}`([^`]+)`", (build.ROOT / f"{name}.md").read_text()))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_are_there(browser, theme):
    context = browser.new_context(color_scheme=theme)
    page = context.new_page()
    visit(page, "book/06-pivots")
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    context.close()


def test_search_works_from_disk(page):
    page.goto((HTML / "search.html").as_uri() + "?q=pivot")
    expect(page.locator("#search-results li").first).to_be_visible(timeout=20_000)
    assert page.complaints == []


def test_the_whole_book_is_printed():
    assert len(re.findall(rb"/Type /Page\b", (HTML / PDF).read_bytes())) > 2 * len(PAGES)


class Links(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


def test_every_internal_link_leads_somewhere():
    pages = {path: Links(path) for path in HTML.glob("**/*.html")}
    broken = []
    for path, parsed in pages.items():
        for href in parsed.links:
            url = urlsplit(href)
            if url.scheme or href == "#":
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchor = unquote(url.fragment)
            if not target.exists() or (target in pages and anchor and anchor not in pages[target].ids):
                broken.append((path.name, href))
    assert broken == []
