import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset

from discnb.data.tokens import Collator, tokenize_samples
from discnb.explore import record as records
from discnb.explore.record import TEMPERATURES, compare, pack, token_records
from discnb.models import scratch_tokenizer
from discnb.objective import DiscObjective
from discnb.prompt import format_sample

from .. import reference
from .records import made_up

SAMPLES = Dataset.from_list(
    [
        {"question": "What is 2 + 2?", "cot": "It is\n\n4 = 四 <b>.", "response": "4", "domain": "Mathematics"},
        {"question": "x<y\n and  $z$?", "cot": "Final Answer: <|im_end|>", "response": "𝔸!", "domain": "Physics"},
    ]
)


class Made:
    """Hidden states and a head, random but the same for the same tokens."""

    def __init__(self, vocabulary, width, seed):
        noise = torch.Generator().manual_seed(seed)
        self.head = torch.randn(vocabulary, width, generator=noise)
        self.table = torch.randn(vocabulary, width, generator=noise)

    def hidden(self, index, input_ids, attention_mask):
        return self.table[input_ids].cumsum(1) / 4


@pytest.fixture(scope="module")
def tokenizer():
    return scratch_tokenizer([sample["cot"] for sample in SAMPLES] * 3, 300)


@pytest.fixture(scope="module")
def made(tokenizer):
    V = len(tokenizer)
    students = {"before": lambda: Made(V, 8, 1), "after": lambda: Made(V, 8, 2)}
    return token_records(students, Made(V, 12, 3), SAMPLES, tokenizer, Collator(0), max_length=1000)


@pytest.mark.parametrize("entries", [1, 700, 1 << 21])  # a row at a time, two, all
def test_every_figure_is_the_references(monkeypatch, entries):
    monkeypatch.setattr(records, "TILE_ENTRIES", entries)
    student, teacher, labels = Made(300, 8, 1), Made(300, 12, 2), torch.arange(3, 30)
    h, g = (model.hidden(None, torch.arange(27)[None], None)[0] for model in (student, teacher))
    predicted, taught, kl = compare(h, student.head, g, teacher.head, labels)
    s, t = ((hidden @ model.head.T).double().numpy() for hidden, model in ((h, student), (g, teacher)))
    for row, temperature in zip(kl, TEMPERATURES, strict=True):
        assert row == pytest.approx(reference.token_signals(s, t, labels, temperature)[0], rel=1e-5, abs=1e-6)
    for prediction, logits in ((predicted, s), (taught, t)):
        _, ce, entropy = reference.token_signals(logits, logits, labels, 1.0)
        assert prediction.ce == pytest.approx(ce, rel=1e-5) and prediction.entropy == pytest.approx(entropy, rel=1e-5)
        assert prediction.candidates.tolist() == (-logits).argsort(-1, kind="stable")[:, :10].tolist()
        first = -np.sort(-reference.log_softmax(logits), -1)[:, :10]
        assert prediction.log_probabilities == pytest.approx(first, rel=1e-5, abs=1e-6)


def test_the_tokens_in_a_row_are_the_text_and_eos_its_name(made, tokenizer):
    split, _ = tokenize_samples(SAMPLES, tokenizer, 1000)
    parts = set()
    for record, sample, row in zip(made, SAMPLES, split, strict=True):
        text = format_sample(sample["question"], sample["cot"], sample["response"]).text
        assert "".join(record.tokens) == text + tokenizer.eos_token
        assert record.labels.tolist() == row["input_ids"][1:]
        first, last = record.proof
        assert "".join(record.tokens[first:last]) == sample["cot"]
        # a character of several tokens is shown by the first; all of them cover it
        parts |= {text[slice(*record.offsets[i])] for i, token in enumerate(record.tokens) if token == ""}
    assert parts <= {"四", "𝔸"} and "𝔸" in parts
    assert made[1].title == "x<y and $z$?" and made[1].domain == "Physics"


def test_a_cut_derivation_has_no_end(tokenizer):
    [cut, _] = token_records(
        {"before": lambda: Made(len(tokenizer), 8, 1)}, Made(len(tokenizer), 8, 2), SAMPLES, tokenizer, Collator(0),
        max_length=90,
    )  # fmt: skip
    assert len(cut.tokens) == 90 and len(cut) == 89 and cut.student == "before"
    assert format_sample("What is 2 + 2?", "It is\n\n4 = 四 <b>.", "4").text.startswith("".join(cut.tokens))


def test_a_figure_is_the_students_own_and_unsmoothed(made):
    """Kept KL does not depend on the method's smoothing, which cannot be had from short arrays."""
    record = made[0]
    for window in (1, 3):
        o = DiscObjective(smoothing_window=window, pivot_sigma=1.0)
        kl = record.kl["after"][TEMPERATURES.index(2.0)]
        assert (
            record.pivots("after", o).numpy().tolist()
            == reference.pivots(kl.astype(float), [True] * len(kl), 1.0).tolist()
        )


def test_every_label_and_candidate_has_its_text(made, tokenizer):
    for record in made:
        ids = {
            *record.labels.tolist(),
            *(i for p in record.predictions.values() for i in p.candidates.ravel().tolist()),
        }
        assert record.names == {i: tokenizer.decode([i]) for i in ids}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"kl": {}}, "expected the students 'before' and/or 'after'"),
        (lambda r: {"kl": {"during": r.kl["after"]}}, "KL is given for ['during']"),
        (lambda r: {"tokens": r.tokens[1:]}, "expected one more than predictions"),
        (lambda r: {"kl": r.kl | {"after": r.kl["after"][:, 1:]}}, "KL of 'after' has shape (5, 2); expected (5, 3)"),
        (lambda r: {"predictions": r.predictions | {"teacher": r.predictions["teacher"]._replace(ce=np.ones(2))}},
         "predictions of 'teacher' have other lengths than the 3 labels"),
        (lambda r: {"predictions": r.predictions | {"after": r.predictions["after"]._replace(ce=np.full(3, np.nan))}},
         "the cross-entropy of 'after' holds nan"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_hold_together_is_refused(change, message):
    record = made_up(4)
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(record, **change(record))


def test_kl_at_a_temperature_that_was_not_kept_is_refused():
    with pytest.raises(ValueError, match=r"kept at the temperatures 1, 1.5, 2, 3, 4, not at 2.2"):
        made_up(4).kl_at("after", 2.2)


def test_records_of_different_kinds_are_not_packed_together():
    with pytest.raises(ValueError, match="no records to show"):
        pack([], {})
    with pytest.raises(ValueError, match="the records differ"):
        pack([made_up(4), made_up(4, students=("before",))], {})
