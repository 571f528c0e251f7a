"""lm-evaluation-harness over a loaded model: the tasks of `discnb/tasks`, and any of its own."""

import difflib
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .grading import grade
from .prompt import final_answer

TASKS = Path(__file__).parent / "tasks"
OWN = ("discnb_stem", "discnb_gsm8k", "discnb_math500")
"""Tasks that ask with the card's prompt and grade the final answer."""


def lm_eval(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    *,
    samples: Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    max_new_tokens: int = 512,
) -> dict[str, Any]:
    """The tasks' figures with their standard errors, by task and domain, and a record of every sample.

    Generation is greedy, to the end of text or `max_new_tokens`. `samples` is a parquet file with the problems of
    `discnb_stem`, such as a run's `data/eval.parquet`; without it they come from the built-in corpus. `limit` takes the
    first ones of each task. A task that does not exist or whose data cannot be had is a ValueError.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ImportError(
            f"lm-evaluation-harness is not installed ({error}); `pip install 'discnb[eval]'` brings it"
        ) from error

    if samples is not None and "discnb_stem" not in tasks:
        raise ValueError(f"samples is {samples}, which no task but discnb_stem reads; leave it out or add that task")
    if samples is not None and not samples.exists():
        raise ValueError(f"{samples} does not exist; expected a parquet file such as a run's data/eval.parquet")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1 problem, or None for all")
    metadata = {} if samples is None else {"samples": str(samples)}
    theirs = not all(task.startswith("discnb") for task in tasks)  # reading all of theirs takes ten seconds
    with _quiet():
        manager = TaskManager(include_path=str(TASKS), include_defaults=theirs, metadata=metadata)
    for task in tasks:
        if task not in manager.all_tasks:
            near = difflib.get_close_matches(task, manager.all_tasks, n=3) or list(OWN)
            raise ValueError(f"there is no task {task!r}; did you mean {' or '.join(near)}?")
    with _quiet():
        # tokens as in training: nothing is put before the text
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, add_bos_token=False)
        if not 1 <= max_new_tokens < lm.max_length:
            raise ValueError(
                f"max_new_tokens is {max_new_tokens}; expected 1 to {lm.max_length - 1}, since the model reads "
                f"{lm.max_length} tokens, prompt and answer"
            )
        loaded: dict[str, Any] = {}
        for task in tasks:
            try:
                loaded |= manager.load([task])["tasks"]
            except Exception as error:  # datasets, httpx and the hub each raise their own
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ValueError(f"the problems of task {task} could not be had: {reason}") from error
        found = simple_evaluate(
            lm,
            tasks=list(loaded.values()),
            task_manager=manager,
            limit=limit,
            batch_size=batch_size,
            gen_kwargs={"max_gen_toks": max_new_tokens, "eos_token_id": tokenizer.eos_token_id},
            bootstrap_iters=1000,
        )
    records = {name: [_record(name, sample) for sample in rows] for name, rows in found["samples"].items()}
    return {
        "results": {name: _figures(figures, records.get(name, [])) for name, figures in found["results"].items()},
        "samples": records,
        "settings": {
            "samples": None if samples is None else str(samples),
            "limit": limit,
            "max_new_tokens": max_new_tokens,
            "batch_size": batch_size,
        },
        "versions": {name: version(name) for name in ("lm-eval", "transformers", "torch")},
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that the model is loaded already and that the hub is asked again."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _record(task: str, sample: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a sample: the completion, its figures and, of the tasks here, the answer and its grade."""
    doc, completion = sample["doc"], sample["filtered_resps"][0]
    record = {"id": sample["doc_id"], "reference": sample["target"], "completion": completion}
    if task in OWN:
        answer = final_answer(completion)
        correct, how = grade(answer, sample["target"])
        record |= {
            "domain": doc.get("domain") or doc.get("subject"),
            "question": doc["problem"] if "problem" in doc else doc["question"],
            "answer": answer,
            "correct": correct,
            "how": how,
        }
    return record | {name: sample[name] for name in sample.get("metrics", [])}


def _figures(figures: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """A task's figures under plain names; what is not a finite number is None."""
    out: dict[str, Any] = {}
    for name, value in figures.items():
        metric, comma, kind = name.partition(",")
        if comma:
            number = value if isinstance(value, int | float) and math.isfinite(value) else None
            out[metric if kind == "none" else f"{metric} ({kind})"] = number
    domains = defaultdict(list)
    for record in records:
        if record.get("domain"):
            domains[record["domain"]].append(record["correct"])
    by_domain = {
        name: {"exact_answer": sum(correct) / len(correct), "problems": len(correct)}
        for name, correct in sorted(domains.items())
    }
    return {**out, "problems": len(records)} | ({"by_domain": by_domain} if by_domain else {})
