"""Texts that try to be something else stay text: in the prompt, as tokens, in the explorer, figures, a terminal."""

import base64
import gzip
import json
from html.parser import HTMLParser

import matplotlib.pyplot
import numpy as np
import pytest
from datasets import Dataset

from book.browser import chromium
from discnb.data.tokens import text_encoder, tokenize_samples
from discnb.explore import plots
from discnb.explore.explorer import PivotExplorer
from discnb.explore.record import TEMPERATURES, Prediction, TokenRecord, pack
from discnb.models import scratch_tokenizer
from discnb.printable import TURNING, printable
from discnb.prompt import format_sample

from .texts import TEXTS

TOKENIZER = scratch_tokenizer(["two and two are four", *TEXTS.values()], 400)
CONTROL = set(TOKENIZER.all_special_ids)


def record_of(text):
    """A record whose every text is this one."""
    tokens = [text[i : i + 8] for i in range(0, min(len(text), 320), 8)] or [""]
    T = len(tokens) - 1
    column = np.ones(T, np.float32)
    prediction = Prediction(column, column, np.zeros((T, 10), np.int32), -np.ones((T, 10), np.float32))
    return TokenRecord(
        tokens=tuple(tokens),
        offsets=np.zeros((T + 1, 2), np.int64),
        labels=np.zeros(T, np.int32),
        proof=(0, T),
        title=" ".join(text.split())[:500],
        domain=text[:100],
        temperatures=TEMPERATURES,
        kl={"before": np.ones((len(TEMPERATURES), T), np.float32)},
        predictions={"before": prediction, "teacher": prediction},
        names={0: text[:100]},
    )


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.timeout(60)
def test_a_text_is_formatted_and_tokenised_as_it_is(name):
    text = TEXTS[name]
    formatted, (start, end) = format_sample(text, text, text)
    assert formatted[start:end] == text
    encoding = text_encoder(TOKENIZER).encode(formatted, add_special_tokens=False)
    assert not CONTROL & set(encoding.ids)
    normal = TOKENIZER.backend_tokenizer.normalizer.normalize_str(formatted)
    assert TOKENIZER.decode(encoding.ids) == normal
    split, report = tokenize_samples(
        Dataset.from_list([{"question": "q", "cot": text, "response": "r"}]), TOKENIZER, 64
    )
    assert len(split[0]["input_ids"]) <= 64 and report.samples == 1
    assert not CONTROL & set(split[0]["input_ids"][:-1])


class Elements(HTMLParser):
    """The elements that a browser would find, and the names of all their attributes."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_reaches_the_explorers_page_in_base64_alone(name):
    text = TEXTS[name]
    record = record_of(text)
    page = PivotExplorer([record], title=text[:80])._page()
    packed = page.partition('id="records">')[2].partition("</script>")[0]
    assert set(packed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    body = gzip.decompress(base64.b64decode(packed))
    header = json.loads(body[4 : 4 + int.from_bytes(body[:4], "little")])
    assert header["samples"][0]["text"] == "".join(record.tokens) and header["names"] == [text[:100]] * (
        len(record) > 0
    )
    elements = Elements()
    elements.feed(page)
    assert elements.names == [
        "html",
        "head",
        "meta",
        "meta",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "script",
        "script",
    ]
    assert not [name for name in elements.attributes if name.startswith("on") or name in ("src", "href", "srcdoc")]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.timeout(60)
def test_a_text_is_drawn_as_it_is_in_every_figure(name):
    record = record_of(TEXTS[name][:64])
    figure = plots.token_strip(record)
    figure.canvas.draw()
    drawn = "".join(t.get_text() for t in figure.findobj(matplotlib.text.Text) if not t.get_parse_math())
    shown = [c for c in "".join(record.tokens) if c.isascii() and c.isprintable() and c != " "]
    assert set(shown) <= set(drawn)
    matplotlib.pyplot.close(figure)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_cannot_command_the_terminal(name):
    text = printable(TEXTS[name])
    assert not {c for c in text if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"} and not TURNING & set(text)
    if TEXTS[name].isprintable():
        assert text == TEXTS[name]


def test_printable_shows_what_it_took_out():
    assert printable("a\x1b[2J\r\u202e\ud800\n\té🚀") == "a\\x1b[2J\\r\\u202e\\ud800\n\té🚀"


@pytest.mark.timeout(120)
def test_nothing_of_all_texts_runs_in_a_browser(tmp_path):
    records = [record_of(text) for text in TEXTS.values()]
    path = PivotExplorer(records, title=TEXTS["the end of a script"]).to_html(tmp_path / "explorer.html")
    with chromium() as browser:
        page = browser.new_context().new_page()
        asked, faults = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(path.as_uri())
        choice = page.get_by_role("combobox", name="Sample", exact=True)
        for i, record in enumerate(records):
            choice.select_option(str(i))
            if len(record.tokens) > 1:
                page.locator("[data-token='1']").first.dispatch_event("pointerover")
            assert page.evaluate("window.pwned === undefined && ({}).pwned === undefined")
        assert page.evaluate("document.scripts.length") == 2
    assert asked == [path.as_uri()] and faults == []


@pytest.mark.parametrize("size", [10_000_000])
@pytest.mark.timeout(120)
def test_a_field_of_ten_megabytes_is_cut_like_any_other(size):
    rows = [{"question": "q", "cot": "two and two are four. " * (size // 22), "response": "r"}]
    split, report = tokenize_samples(Dataset.from_list(rows), TOKENIZER, 128)
    assert len(split[0]["input_ids"]) == 128 and report.truncated == 1 and report.longest > 100_000


def test_lone_surrogates_are_named_where_bytes_are_needed():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        pack([record_of("a\ud800b")], {})
