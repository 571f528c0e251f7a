import io

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from discnb.explore import plots
from discnb.explore.strip import TokenStrip
from discnb.models import scratch_tokenizer
from discnb.objective import SequenceSignals

METRICS = [
    {"step": s, "loss": 3 / s, "ce": 2 / s, "kd": 4 / s, "energy": 0.5 / s} for s in range(1, 9)
]  # fmt: skip
FILES = {"F16": {"bytes": 2e8, "kl_to_torch": 4e-6}, "Q4_K_M": {"bytes": 9e7, "kl_to_torch": 0.03}}
STRIP = TokenStrip(
    ["Let", " x", "<script>", " $x^2$", "\n", "日本", " 9"],
    [0.0, 0.2, 5.0, 0.0, 0.3, 0.2, 1.5],
    [False, True, False, False, False, False, False],
    [False, False, True, False, False, False, False],
)
FIGURES = {
    "loss_terms": lambda ax=None: plots.loss_terms(METRICS, ax=ax),
    "energy_against_loss": lambda ax=None: plots.energy_against_loss(METRICS, ax=ax),
    "token_strip": lambda ax=None: plots.token_strip(STRIP, ax=ax),
    "gguf_sizes": lambda ax=None: plots.gguf_sizes(FILES, ax=ax),
}


@pytest.mark.filterwarnings("ignore:Glyph")  # the test's font has no Japanese
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_renders_and_says_what_it_shows(name):
    figure = FIGURES[name]()
    buffer = io.BytesIO()
    figure.savefig(buffer)
    image = Image.open(buffer).convert("L")
    assert image.width > 400 and len(set(image.get_flattened_data())) > 20  # something is drawn
    assert len(figure.get_label()) > 40


@pytest.mark.parametrize("name", FIGURES)
def test_a_given_axes_is_drawn_on(name):
    mine = Figure()
    ax = mine.add_subplot()
    assert FIGURES[name](ax) is mine
    assert ax.has_data() or ax.patches


def test_alternative_texts_hold_the_figures_numbers():
    assert "from 3.00 to 0.38" in plots.loss_terms(METRICS).get_label()
    assert "from 0.50 to 0.06 nats²" in plots.energy_against_loss(METRICS).get_label()
    assert "Q4_K_M 90.0 MB, KL 3.0e-02" in plots.gguf_sizes(FILES).get_label()
    said = plots.token_strip(STRIP).get_label()
    assert "7 tokens" in said and "mean 1.20 nats" in said and "largest 5.00 at '<script>'" in said
    assert "1 pivots and 1 singular" in said


def test_the_strip_shows_every_character_as_written():
    ax = plots.token_strip(STRIP).axes[0]
    shown = "".join(text.get_text() for text in ax.texts)
    assert shown == "".join(STRIP.tokens).replace("\n", "↵")
    assert not any(text.get_parse_math() for text in ax.texts)


def test_a_long_token_wraps_at_the_column_limit():
    strip = TokenStrip(["a" * 25], [1.0], [False], [False])
    ax = plots.token_strip(strip, columns=10).axes[0]
    assert sorted({text.get_position()[1] for text in ax.texts}) == pytest.approx([0.46, 1.46, 2.46])
    assert max(text.get_position()[0] for text in ax.texts) < 10


def test_a_strip_puts_each_signal_on_the_token_it_predicts():
    tokenizer = scratch_tokenizer(["one two three"] * 3, 300)
    ids = [tokenizer.convert_tokens_to_ids(c) for c in ("o", "n", "e", "Ġ", "t", "w", "o")]
    n = len(ids) - 1
    marks = torch.arange(n) == 0
    kl = torch.arange(n, dtype=torch.float32)
    strip = TokenStrip.build(tokenizer, ids, SequenceSignals(kl, kl, kl, marks, ~marks))
    assert "".join(strip.tokens) == "one two"
    assert strip.kl == [0.0, *kl.tolist()]
    assert strip.pivot[:3] == [False, True, False] and strip.singular[:3] == [False, False, True]
