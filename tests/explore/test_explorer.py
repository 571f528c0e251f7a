"""The widget without a front end."""

import base64
import html
import re

import pytest
from traitlets import TraitError

from discnb.explore.explorer import STATIC, PivotExplorer, program, style
from discnb.objective import DiscObjective

from .records import HOSTILE, made_up


def wanted(record, student="after", **settings):
    return record.pivots(student, DiscObjective(**settings)).nonzero()[:, 0].tolist()


def test_the_pivots_follow_the_settings_and_a_callback_hears_of_them():
    record, other, heard = made_up(120), made_up(60, 1), []
    explorer = PivotExplorer([record, other])
    explorer.observe(lambda change: heard.append(change["new"]), "pivots")
    assert explorer.pivots == wanted(record)
    explorer.pivot_sigma = 1.0
    explorer.window = 2
    explorer.view = "before"
    explorer.sample = 1
    both = {"pivot_sigma": 1.0, "window": 2}
    assert heard == [
        wanted(record, pivot_sigma=1.0),
        wanted(record, **both),
        wanted(record, "before", **both),
        wanted(other, "before", **both),
    ]
    explorer.view = "teacher"  # the marks stay the student's
    assert explorer.pivots == wanted(other, **both)


def test_another_sample_selects_nothing():
    explorer = PivotExplorer([made_up(120), made_up(3)])
    explorer.selected = 80
    explorer.sample = 1
    assert explorer.selected is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", 2.2, "kept at the temperatures 1, 1.5, 2, 3, 4"),
        ("window", 0, "expected at least 1"),
        ("pivot_sigma", -1.0, "expected a number >= 0"),
        ("sample", 2, "expected 0 to 1"),
        ("view", "during", "expected one of before, after, teacher"),
        ("selected", 39, "expected a position from 0 to 38"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(name, value, message):
    explorer = PivotExplorer([made_up(40), made_up(3)])
    was = getattr(explorer, name)
    with pytest.raises(ValueError, match=re.escape(message)):
        setattr(explorer, name, value)
    assert getattr(explorer, name) == was
    with pytest.raises(TraitError):
        explorer.align = "sideways"
    with pytest.raises(TraitError, match="read-only"):
        explorer.pivots = [1]


def test_settings_the_records_cannot_show_are_refused():
    with pytest.raises(ValueError, match="kept at the temperatures"):
        PivotExplorer([made_up(4)], DiscObjective(temperature=7.0))


def test_an_explorer_starts_from_its_objective():
    objective = DiscObjective(temperature=3.0, window=2, pivot_sigma=1.5, align="rise", amplifier=5.0)
    explorer = PivotExplorer([made_up(100)], objective)
    assert (explorer.temperature, explorer.window, explorer.align, explorer.amplifier) == (3.0, 2, "rise", 5.0)
    assert explorer.pivots == made_up(100).pivots("after", objective).nonzero()[:, 0].tolist()


def test_a_page_holds_no_text_of_the_data_but_in_base64():
    explorer = PivotExplorer([made_up(40, words=HOSTILE)], title="</title><script>alert(1)</script>")
    page = explorer._page()
    assert page.count("<script") == 2 and page.count("</script") == 2
    assert "alert" not in page.replace(html.escape(explorer.title), "")
    [records] = re.findall(r'id="records">(.*?)</script>', page)
    assert base64.b64decode(records, validate=True) == explorer._records
    frame = explorer.static().data
    assert (
        frame.count("<iframe") == 1 and "<script" not in frame and explorer.static(500).data.count("height: 500px") == 1
    )
    assert html.unescape(re.search(r'srcdoc="(.*?)"', frame, re.DOTALL).group(1)) == page


def test_the_program_imports_nothing_and_names_no_address():
    assert not re.search(r"(?m)^\s*import\b", program())
    assert set(re.findall(r"https?://[^\s\"'`]+", program() + style())) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", program())
    assert "url(" not in style() and "@import" not in style()
    assert {path.name for path in STATIC.iterdir()} == {"core.js", "view.js", "explorer.css"}
