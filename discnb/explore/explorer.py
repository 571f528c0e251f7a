"""The pivot explorer: one program in three hosts, a live widget, a frame in a page, and a file that opens from disk."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import HTML

from ..checkpoint import write_text
from ..objective import DiscObjective
from ..signal.discrepancy import ALIGNMENTS
from .record import TokenRecord, pack

STATIC = Path(__file__).parent / "static"
SETTINGS = ("temperature", "window", "pivot_sigma", "align", "amplifier", "singular_sigma")
"""The settings of `DiscObjective` that decide marks and weights."""
FRAME_PIXELS = 960


@cache
def program() -> str:
    """The explorer's two modules as one, which is what a page without a server can load."""
    core, view = ((STATIC / name).read_text(encoding="utf-8") for name in ("core.js", "view.js"))
    imported, _, rest = view.partition("\n")
    assert imported.startswith("import {") and imported.endswith('"./core.js";') and "\nimport " not in rest
    return _plain(core + rest)


@cache
def style() -> str:
    """The explorer's style sheet, every rule of it inside `.disc-explorer`."""
    return _plain((STATIC / "explorer.css").read_text(encoding="utf-8"))


def _plain(code: str) -> str:
    """The code without its comments and indentation, a sixth of what a page weighs."""
    code = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    return re.sub(r"(?m)^\s*(//.*)?", "", code)


class PivotExplorer(anywidget.AnyWidget):
    """Derivations token by token, with every threshold live; observe its traits, or set them.

    The settings carry `DiscObjective`'s names. `sample`, `view` (`before`, `after` or `teacher`) and `selected` (a
    position, or None) say what is shown. `pivots` are the positions that are pivots now, computed here by
    `discnb.signal`; in the view `teacher` they are the student's, on the ground of the teacher's entropy.
    """

    _esm = program()
    _css = style()
    temperature = traitlets.Float(2.0).tag(sync=True)
    window = traitlets.Int(1).tag(sync=True)
    pivot_sigma = traitlets.Float(2.0).tag(sync=True)
    align = traitlets.Enum(ALIGNMENTS, "forward").tag(sync=True)
    amplifier = traitlets.Float(3.0).tag(sync=True)
    singular_sigma = traitlets.Float(1.0).tag(sync=True)
    sample = traitlets.Int(0).tag(sync=True)
    view = traitlets.Unicode("after").tag(sync=True)
    selected = traitlets.Int(None, allow_none=True).tag(sync=True)
    pivots = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    _records = traitlets.Bytes().tag(sync=True)

    def __init__(self, records: Sequence[TokenRecord], objective: DiscObjective | None = None, title: str = "") -> None:
        """An explorer of the records under the objective's settings; its temperature must be one the records keep."""
        objective = objective or DiscObjective()
        settings = {name: getattr(objective, name) for name in SETTINGS}
        self.records, self.objective, self.title = tuple(records), objective, title
        packed = pack(self.records, {"title": title, "settings": settings})
        self.records[0].kl_at(self.records[0].student, objective.temperature)
        super().__init__(_records=packed, view=self.records[0].student, **settings)
        self._find_pivots()

    @classmethod
    def from_run(cls, run_dir: str | Path, split: str = "eval", limit: int | None = 20) -> "PivotExplorer":
        """An explorer of a run's first `limit` samples (None: all), before and, if it is trained, after distillation.

        Nothing is written to the run and no stage is begun; the teacher's cache must be there.
        """
        from ..run import open_run  # a room above this one

        run = open_run(run_dir=run_dir, must_exist=True)
        return cls(run.records(split, limit), run.config.objective, title=run.folder.resolve().name)

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one file that opens from disk and has no access to any network; returns its path."""
        write_text(Path(path), self._page())
        return Path(path)

    def static(self, height: int = FRAME_PIXELS) -> HTML:
        """The explorer as a frame of a page that has no kernel, `height` pixels high."""
        label = html.escape(f"Pivot explorer, {self.title or 'derivations'}", quote=True)
        frame = (
            f'<iframe title="{label}" srcdoc="{html.escape(self._page(), quote=True)}" loading="lazy" '
            f'allow="clipboard-write" style="width: 100%; height: {int(height)}px; border: 0"></iframe>'
        )
        # IPython advises an IFrame instead, which needs a page of its own to load
        return HTML(f"<div>{frame}</div>")

    def _page(self) -> str:
        # base64 holds no `<`, so no text of a data set can end the element it lies in
        records = base64.b64encode(self._records).decode()
        main = f'{program()}\nopen(document.querySelector("main"), document.querySelector("#records").textContent);\n'
        assert "</script" not in main and "</style" not in style()
        page = "body { margin: 0; } @media (prefers-color-scheme: dark) { body { background: #15181d; } }\n" + style()
        policy = f"default-src 'none'; script-src {_hash(main)}; style-src {_hash(page)}"
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>Pivot explorer{html.escape(f' · {self.title}' if self.title else '')}</title>\n"
            f"<style>{page}</style>\n</head>\n<body>\n<main></main>\n"
            f'<script type="application/octet-stream" id="records">{records}</script>\n'
            f'<script type="module">{main}</script>\n</body>\n</html>\n'
        )

    @traitlets.validate(
        "temperature", "window", "pivot_sigma", "amplifier", "singular_sigma", "sample", "view", "selected"
    )
    def _check(self, proposal: dict[str, Any]) -> Any:
        """A trait the front end or a user sets is held to what the objective and the records allow."""
        name, value = proposal["trait"].name, proposal["value"]
        record = self.records[self.sample] if name != "sample" else self.records[0]
        if name in {field.name for field in fields(DiscObjective)}:
            replace(self.objective, **{name: value})
        if name == "temperature":
            record.kl_at(record.student, value)
        elif name == "sample" and not 0 <= value < len(self.records):
            raise ValueError(f"sample is {value}; expected 0 to {len(self.records) - 1}")
        elif name == "view" and value not in record.predictions:
            raise ValueError(f"view is {value!r}; expected one of {', '.join(record.predictions)}")
        elif name == "selected" and value is not None and not 0 <= value < len(record):
            raise ValueError(f"selected is {value}; expected a position from 0 to {len(record) - 1}, or None")
        return value

    @traitlets.observe(*SETTINGS, "sample", "view")
    def _find_pivots(self, change: Any = None) -> None:
        if change is not None and change["name"] == "sample" and self.selected is not None:
            self.selected = None
        record = self.records[self.sample]
        student = self.view if self.view in record.kl else record.student
        objective = replace(self.objective, **{name: getattr(self, name) for name in SETTINGS})
        self.set_trait("pivots", record.pivots(student, objective).nonzero()[:, 0].tolist())


def _hash(text: str) -> str:
    """A content security policy's name for a script or style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
