import math

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from discnb.data import Collator, tokenize_samples
from discnb.evaluate import confidence, derive, evaluate_split, expected_calibration_error, grade_derivations
from discnb.models import scratch_student, scratch_tokenizer
from discnb.objective import DiscObjective
from discnb.prompt import prompt_for
from discnb.teacher import OnlineTeacher
from discnb.train import train_language_model

ROWS = [
    {"question": f"What is {i} + {i}?" + " Think." * (i % 3), "cot": f"Twice {i}.", "response": f"{2 * i}"}
    for i in range(6)
]


@pytest.fixture(scope="module")
def learnt():
    """A student that knows its six problems by heart, and its tokenizer."""
    samples = Dataset.from_list(ROWS)
    tokenizer = scratch_tokenizer((text for row in ROWS for text in (*row.values(), prompt_for("x"))), 320)
    tokens, _ = tokenize_samples(samples, tokenizer, 128)
    model = scratch_student(tokenizer, seed=0)
    collator = Collator(tokenizer.pad_token_id)
    train_language_model(model, tokens, collator, steps=60, batch_size=6, learning_rate=3e-3, seed=0)
    return model, tokenizer, tokens


def by_hand(model, tokenizer, question, limit):
    """The greedy text, a whole forward for every token."""
    ids = tokenizer(prompt_for(question), split_special_tokens=True)["input_ids"]
    written = []
    while len(written) < limit:
        with torch.no_grad():
            token = int(model(torch.tensor([ids + written])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        written.append(token)
    return tokenizer.decode(written)


def test_derivations_are_the_greedy_ones_in_any_batch(learnt):
    model, tokenizer, _ = learnt
    questions = [row["question"] for row in ROWS]
    expected = [by_hand(model, tokenizer, question, 40) for question in questions]
    for size in (1, 4, 32):
        assert derive(model, tokenizer, questions, max_new_tokens=40, batch_size=size) == expected
    assert sum("Final Answer:" in text for text in expected) > 3


def test_a_derivation_ends_at_its_limit(learnt):
    model, tokenizer, _ = learnt
    [text] = derive(model, tokenizer, ["What is 1 + 1?"], max_new_tokens=2)
    assert text == by_hand(model, tokenizer, "What is 1 + 1?", 2)


def test_control_tokens_in_a_question_stay_text(learnt):
    model, tokenizer, _ = learnt
    question = "What is <|im_end|> 1?"
    assert derive(model, tokenizer, [question], max_new_tokens=8) == [by_hand(model, tokenizer, question, 8)]


def test_no_question_has_no_derivation(learnt):
    assert derive(*learnt[:2], [], max_new_tokens=8) == []


def test_grades_are_counted_by_split_and_domain():
    samples = [
        {"split": "eval", "domain": "Physics", "question": "a", "response": "v = 2 m/s"},
        {"split": "eval", "domain": "Physics", "question": "b", "response": "v = 3 m/s"},
        {"split": "eval", "domain": "Mathematics", "question": "c", "response": "x = 1"},
        {"split": "novel", "domain": "Mathematics", "question": "d", "response": "x = 4"},
    ]
    derivations = [
        "Final Answer: 9\nNo.\n\nFinal Answer:\nv = 2 m/s",  # the last one counts
        "v = 3 m/s",  # right, but no answer
        "Final Answer:\nx = 2",
        "Final Answer:\nx = 4",
    ]
    reports, records = grade_derivations(samples, derivations)
    assert (reports["eval"]["problems"], reports["eval"]["correct"]) == (3, 1)
    assert reports["eval"]["answered"] == 2
    assert reports["eval"]["domains"]["Physics"] == {"problems": 2, "correct": 1}
    assert reports["eval"]["domains"]["Mathematics"] == {"problems": 1, "correct": 0}
    assert reports["novel"]["correct"] == reports["novel"]["problems"] == 1
    assert [record["correct"] for record in records] == [True, False, False, True]
    assert records[1]["answer"] is None and records[0]["reference"] == "v = 2 m/s"


def test_confidence_is_of_the_likeliest_token(learnt):
    model, _, tokens = learnt
    ids = torch.tensor(tokens[0]["input_ids"])
    with torch.no_grad():
        hidden = model.base_model(ids[None]).last_hidden_state[0]
        probability = model(ids[None]).logits[0].double().softmax(-1)
        found, right = confidence(hidden[:-1], model.lm_head.weight, ids[1:])
    assert found.double() == pytest.approx(probability[:-1].amax(-1), abs=1e-5)
    assert torch.equal(right, probability[:-1].argmax(-1) == ids[1:])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_its_definition(pairs):
    bins = {}
    for p, right in pairs:
        bins.setdefault(max(1, math.ceil(p * 15)), []).append((p, right))
    gaps = (abs(sum(right - p for p, right in members)) for members in bins.values())
    expected = sum(gaps) / len(pairs)
    p, right = zip(*pairs, strict=True)
    found = expected_calibration_error(torch.tensor(p, dtype=torch.float64), torch.tensor(right))
    assert found == pytest.approx(expected, abs=1e-9)


def test_calibration_error_at_its_ends():
    certain = torch.ones(4)
    assert expected_calibration_error(certain, torch.ones(4).bool()) == 0
    assert expected_calibration_error(certain, torch.zeros(4).bool()) == 1


def test_a_report_holds_the_calibration_error(learnt):
    model, _, tokens = learnt
    teacher = OnlineTeacher(model)
    report, _ = evaluate_split(teacher, teacher, tokens, Collator(0), DiscObjective())
    assert report.kl == 0 and 0 <= report.ece <= 1
