"""lm-evaluation-harness asks what we would ask, and counts what we would count."""

import builtins
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM

from discnb.data import Collator, tokenize_samples
from discnb.data.mini import mini_corpus
from discnb.grading import grade
from discnb.harness import OWN, TASKS, lm_eval
from discnb.models import scratch_student, scratch_tokenizer
from discnb.prompt import final_answer, prompt_for
from discnb.run import open_run
from discnb.train import train_language_model

pytest.importorskip("lm_eval")
COMMAND = Path(sys.executable).with_name("discnb")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices this small are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def learnt():
    """Eight problems, of which a student has learnt four by heart and four with another's answer."""
    words = ["mass", "heat", "wave", "lens", "gear", "cell", "force", "field"]
    rows = [
        {"question": f"{word} {word} {word}" + "?" * (i % 3), "cot": f"It is {word}.", "response": f"{i + 2}"}
        for i, word in enumerate(words)
    ]
    taught = [row if i % 2 else {**row, "response": f"{i} m"} for i, row in enumerate(rows)]
    tokenizer = scratch_tokenizer((text for row in rows for text in row.values()), 300)
    tokens, _ = tokenize_samples(Dataset.from_list(taught), tokenizer, 128)
    shape = scratch_student(tokenizer, seed=0).config.to_dict()
    torch.manual_seed(0)
    student = Qwen3ForCausalLM(Qwen3Config(**{**shape, "hidden_size": 96, "head_dim": 24, "intermediate_size": 192}))
    train_language_model(
        student, tokens, Collator(tokenizer.pad_token_id), steps=120, batch_size=8, learning_rate=3e-3, seed=0
    )
    student.eval()
    domains = ["even", "odd"]
    return student, tokenizer, [{**row, "domain": domains[i % 2]} for i, row in enumerate(rows)]


@pytest.fixture
def split(learnt, tmp_path):
    path = tmp_path / "eval.parquet"
    Dataset.from_list(learnt[2]).to_parquet(path)
    return path


@torch.no_grad()
def greedy(model, tokenizer, prompt, limit):
    """One token after another, the whole text read again for each."""
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    new = []
    while len(new) < limit:
        token = int(model(ids).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        new.append(token)
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    return tokenizer.decode(new, skip_special_tokens=True)


def test_completions_and_grades_are_those_of_a_plain_loop(learnt, split):
    model, tokenizer, rows = learnt
    found = lm_eval(model, tokenizer, ["discnb_stem"], samples=split, batch_size=3, max_new_tokens=40)
    records = found["samples"]["discnb_stem"]
    wanted = [greedy(model, tokenizer, prompt_for(row["question"]), 40) for row in rows]
    assert [record["completion"] for record in records] == wanted
    grades = [grade(final_answer(text), row["response"]) for text, row in zip(wanted, rows, strict=True)]
    assert [(record["correct"], record["how"]) for record in records] == grades
    assert [record["question"] for record in records] == [row["question"] for row in rows]
    right = sum(one.correct for one in grades)
    assert 0 < right < len(rows)
    figures = found["results"]["discnb_stem"]
    p = right / len(rows)
    assert figures["exact_answer"] == p and figures["problems"] == len(rows)
    assert figures["exact_answer_stderr"] == pytest.approx((p * (1 - p) / (len(rows) - 1)) ** 0.5)
    assert set(figures["by_domain"]) == {"even", "odd"}
    assert sum(part["exact_answer"] * part["problems"] for part in figures["by_domain"].values()) == right
    json.dumps(found, allow_nan=False)
    assert tokenizer.padding_side == "right"  # as it was


def test_an_answer_ends_at_the_length_limit_and_limit_takes_the_first(learnt, split):
    model, tokenizer, rows = learnt
    found = lm_eval(model, tokenizer, ["discnb_stem"], samples=split, limit=1, max_new_tokens=2)
    [record] = found["samples"]["discnb_stem"]
    assert record["completion"] == greedy(model, tokenizer, prompt_for(rows[0]["question"]), 2)
    assert found["results"]["discnb_stem"]["exact_answer_stderr"] is None  # one problem has none


def test_the_built_in_problems_are_held_out_and_of_all_domains(learnt):
    model, tokenizer, _ = learnt
    found = lm_eval(model, tokenizer, ["discnb_stem"], limit=40, max_new_tokens=1, batch_size=40)
    questions = {record["question"] for record in found["samples"]["discnb_stem"]}
    assert len(questions) == 40 and not questions & {row["question"] for row in mini_corpus()}
    assert len(found["results"]["discnb_stem"]["by_domain"]) >= 8


def test_the_three_tasks_are_found_and_ask_with_the_cards_prompt():
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert set(manager.all_tasks) == set(OWN)
    for name in OWN:
        text = (TASKS / f"{name}.yaml").read_text()
        assert "doc_to_text: !function utils.prompt" in text and "!function utils.graded" in text
        plain = yaml.safe_load(text.replace("!function ", ""))
        assert plain["generation_kwargs"] == {"until": [], "do_sample": False, "max_gen_toks": 512}


def test_the_hubs_problems_are_graded_by_their_marked_answers():
    sys.path.insert(0, str(TASKS))
    try:
        import utils
    finally:
        sys.path.remove(str(TASKS))
    gsm8k = {"question": "How many eggs?", "answer": "16 - 3 - 4 = <<16-3-4=9>>9 eggs, 9 * 2 = $18.\n#### 18"}
    math500 = {"problem": "Find x.", "answer": r"\frac{1}{2}", "subject": "Algebra"}
    assert utils.prompt(gsm8k) == prompt_for("How many eggs?") and utils.prompt(math500) == prompt_for("Find x.")
    assert utils.graded(gsm8k, ["So.\n\nFinal Answer:\n$18"]) == {"exact_answer": 1.0}
    assert utils.graded(gsm8k, ["18"]) == {"exact_answer": 0.0}
    assert utils.graded(math500, ["So.\n\nFinal Answer:\nx = 0.5"]) == {"exact_answer": 1.0}
    assert utils.domain(math500) == "Algebra" and utils.domain(gsm8k) is None


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["discnb_stm"], {}, "there is no task 'discnb_stm'; did you mean discnb_stem"),
        (["discnb_stem"], {"limit": 0}, "limit is 0; expected at least 1 problem"),
        (["discnb_stem"], {"max_new_tokens": 1024}, "max_new_tokens is 1024; expected 1 to 1023"),
        (["discnb_gsm8k"], {"samples": Path("x.parquet")}, "which no task but discnb_stem reads"),
        (["discnb_stem"], {"samples": Path("nowhere.parquet")}, r"nowhere.parquet does not exist"),
    ],
)
def test_what_cannot_be_measured_says_why(learnt, tasks, options, message):
    with pytest.raises(ValueError, match=message):
        lm_eval(learnt[0], learnt[1], tasks, **options)


def test_a_hub_out_of_reach_is_one_line(learnt, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\nand more")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(ValueError, match=r"task discnb_gsm8k could not be had: Couldn't reach 'openai/gsm8k' .*Hub$"):
        lm_eval(learnt[0], learnt[1], ["discnb_gsm8k"])


def test_without_the_harness_the_extra_is_named(learnt, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("lm_eval"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'discnb\[eval\]'"):
        lm_eval(learnt[0], learnt[1], ["discnb_stem"])


def command(*arguments):
    return subprocess.run([COMMAND, "eval", *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_the_command_measures_a_runs_student_and_another_model(learnt, tmp_path):
    model, tokenizer, _ = learnt
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    done = command("--suite", "lm-eval", "--model", tmp_path / "model", "--limit", 2, "--max-tokens", 8)
    assert done.returncode == 0, done.stderr
    assert "discnb_stem" in done.stdout and "exact_answer" in done.stdout

    run = open_run("tiny", tmp_path / "run", {"data.size": 60, "teacher.steps": 1, "train.checkpoint_steps": 50})
    done = command("--suite", "lm-eval", "--run-dir", run.folder, "--limit", 2, "--max-tokens", 8)
    assert done.returncode == 0, done.stderr
    found = json.loads((run.folder / "lm-eval" / "results.json").read_text())
    assert found["model"] == "student"
    held_out = run.samples("eval")["question"][:2]
    assert [record["question"] for record in found["samples"]["discnb_stem"]] == held_out
    # nothing that a stage verifies has changed
    done = command("--run-dir", run.folder)
    assert done.returncode == 0 and "working in" not in done.stdout.replace("eval: working in", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "helm"], "there is no suite 'helm'; expected lm-eval"),
        (["--tasks", "discnb_gsm8k"], "add --suite lm-eval"),
        (["--suite", "lm-eval", "--model", "nowhere"], "no model at 'nowhere'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments, message):
    done = command(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
