import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from discnb.compare import METRICS as METRICS_COMPARED
from discnb.compare import compare
from discnb.explore import plots
from discnb.objective import DiscObjective

from .records import made_up

METRICS = [
    {"step": s, "loss": 3 / s, "ce": 2 / s, "kd": 4 / s, "energy": 0.5 / s} for s in range(1, 9)
]  # fmt: skip
FILES = {"F16": {"bytes": 2e8, "kl_to_torch": 4e-6}, "Q4_K_M": {"bytes": 9e7, "kl_to_torch": 0.03}}
TOKENS = ["Let", " x", "<script>", " $x^2$", "\n", "日本", " 9"]
STRIP = replace(
    made_up(7, words=TOKENS, students=("after",)),
    kl={"after": np.tile(np.array([0.2, 5.0, 0.0, 0.3, 0.2, 1.5], np.float32), (5, 1))},
)
CELLS = [
    {"arm": arm, "seed": seed, **dict.fromkeys(METRICS_COMPARED, gain + seed * (1 + gain / 9))}
    for arm, gain in (("uniform", 0.0), ("disc", 1.0), ("reverse", -1.0), ("jsd", 0.0))
    for seed in (1, 2, 3)
]
SUMMARY = {"baseline": "uniform", "metrics": METRICS_COMPARED, "cells": CELLS, "arms": compare(CELLS)}
GRADES = {
    name: {"eval": {"correct": right, "problems": 8}, "novel": {"correct": 0, "problems": 8}}
    for name, right in (("teacher", 8), ("after", 3))
}
OBJECTIVE = DiscObjective(pivot_sigma=1.0)  # with six positions nothing exceeds 2σ
LOOKS = ("token_strip", "kl_profile", "weights")
FIGURES = {
    "loss_terms": lambda ax=None: plots.loss_terms(METRICS, ax=ax),
    "energy_against_loss": lambda ax=None: plots.energy_against_loss(METRICS, ax=ax),
    "token_strip": lambda ax=None: plots.token_strip(STRIP, objective=OBJECTIVE, ax=ax),
    "kl_profile": lambda ax=None: plots.kl_profile(STRIP, objective=OBJECTIVE, ax=ax),
    "weights": lambda ax=None: plots.weights(STRIP, objective=OBJECTIVE, ax=ax),
    "gguf_sizes": lambda ax=None: plots.gguf_sizes(FILES, ax=ax),
    "forest": lambda ax=None: plots.forest(SUMMARY, ax=ax),
    "grades": lambda ax=None: plots.grades(GRADES, ax=ax),
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
    said = FIGURES["token_strip"]().get_label()
    assert "7 tokens" in said and "mean 1.20 nats" in said and "largest 5.00 at '<script>'" in said
    singular = int(STRIP.singular("after", OBJECTIVE).sum())
    assert f"2 pivots and {singular} singular" in said
    said = FIGURES["kl_profile"]().get_label()
    assert "6 positions" in said and "largest 5.00 at '<script>'" in said and "at 2 positions" in said
    # D = 4.8, 5, 0.3, 0.1, 1.3: mean 2.3, standard deviation 2.16
    assert "threshold of 4.46 nats" in said
    # the pivots are the positions of 0.2 and 5.0, in 7.2 nats of KL; tripled, 15.6 of 17.6
    said = FIGURES["weights"]().get_label()
    assert "2 pivots, mean weight 1.667" in said and "72% of the KL and 89% of the weighted KL" in said


def test_the_profile_and_the_weights_show_every_position():
    profile = FIGURES["kl_profile"]().axes[0]
    [pivots] = [line for line in profile.lines if line.get_label() == "pivot"]
    assert pivots.get_xdata().tolist() == [0, 1]
    kl, added = FIGURES["weights"]().axes[0].containers
    assert [bar.get_height() for bar in kl] == pytest.approx([0.2, 5.0, 0.0, 0.3, 0.2, 1.5])
    assert [bar.get_height() for bar in added] == pytest.approx([0.4, 10.0, 0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("name", LOOKS)
def test_a_derivation_too_short_for_a_difference_can_be_drawn(name, length):
    figure = getattr(plots, name)(made_up(length))
    figure.savefig(io.BytesIO())
    assert "0 pivots" in figure.get_label()


def test_a_student_the_record_lacks_is_named():
    with pytest.raises(ValueError, match="no student 'before' in the record; it has after"):
        plots.token_strip(STRIP, "before")


def test_the_strip_shows_every_character_as_written():
    ax = FIGURES["token_strip"]().axes[0]
    shown = "".join(text.get_text() for text in ax.texts)
    assert shown == "".join(TOKENS).replace("\n", "↵")
    assert not any(text.get_parse_math() for text in ax.texts)


def test_the_strip_puts_each_mark_on_the_token_its_position_predicts():
    ax = FIGURES["token_strip"]().axes[0]
    bold = "".join(text.get_text() for text in ax.texts if text.get_weight() == "bold")
    assert bold == " x<script>"


def test_a_long_token_wraps_at_the_column_limit():
    ax = plots.token_strip(made_up(2, words=["a" * 25, "b"]), columns=10).axes[0]
    assert sorted({text.get_position()[1] for text in ax.texts}) == pytest.approx([0.46, 1.46, 2.46])
    assert max(text.get_position()[0] for text in ax.texts) < 10


def test_a_forest_says_which_arms_differ_and_marks_them():
    figure = FIGURES["forest"]()
    assert "better: reverse; worse: disc; no difference shown: jsd" in figure.get_label()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["disc", "jsd", "reverse"]
    accuracy = plots.forest(SUMMARY, "accuracy").get_label()
    assert "better: disc; worse: reverse" in accuracy


def test_grades_are_counts_with_intervals():
    figure = FIGURES["grades"]()
    assert "teacher 8 of 8 of known kinds" in figure.get_label() and "after 0 of 8 of new kinds" in figure.get_label()
