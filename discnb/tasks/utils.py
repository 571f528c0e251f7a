"""What the tasks of lm-evaluation-harness call: problems, the card's own prompt, and the grade of a final answer."""

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from discnb.data.mini import mini_corpus
from discnb.grading import grade
from discnb.prompt import final_answer, prompt_for

SIZE, SEED = 200, 2024
"""Of the built-in corpus' problems that `discnb_stem` asks, where no others are given."""


def stem(samples: str | None = None, **_: Any) -> DatasetDict:
    """The problems of `discnb_stem`: those in the parquet file `samples`, or the built-in corpus' held-out ones.

    The latter have a seed of their own, and none of them is in the corpus of the default size and seed, from which the
    presets `tiny` and `mini` take theirs.
    """
    if samples is None:
        seen = {row["question"] for row in mini_corpus()}
        problems = Dataset.from_list([row for row in mini_corpus(SIZE, SEED) if row["question"] not in seen])
        problems = problems.shuffle(seed=SEED)  # so that the first ones are of all domains
    else:
        problems = Dataset.from_parquet(str(Path(samples)), keep_in_memory=True)
        if missing := {"question", "response"} - set(problems.column_names):
            raise ValueError(
                f"{samples} has no column {', '.join(sorted(missing))}; expected a run's data/eval.parquet"
            )
    return DatasetDict(test=problems)


def prompt(doc: dict[str, Any]) -> str:
    """What the model continues."""
    return prompt_for(doc["problem"] if "problem" in doc else doc["question"])


def reference(doc: dict[str, Any]) -> str:
    """The right answer: a sample's response, or what GSM8K and MATH-500 call answer."""
    return doc["response"] if "response" in doc else doc["answer"]


def domain(doc: dict[str, Any]) -> str | None:
    """What the problem is about, if the set says so."""
    return doc.get("domain") or doc.get("subject")


def graded(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1 where the completion's final answer is right, else 0."""
    return {"exact_answer": float(grade(final_answer(results[0]), reference(doc)).correct)}
