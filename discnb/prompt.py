"""The one text format of a sample, and where its proof lies in it."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

OPENING = "Solve the following problem carefully and show a rigorous derivation.\n\nProblem:\n"
PROOF = "\n\nProof:\n"
ANSWER_MARK = "Final Answer:"
ANSWER = f"\n\n{ANSWER_MARK}\n"

PROMPT_VERSION = hashlib.sha256("\0".join((OPENING, PROOF, ANSWER)).encode()).hexdigest()[:12]
"""Changes whenever the template does: part of every key under which formatted or tokenised text is kept."""


class FormattedSample(NamedTuple):
    """A sample's text, and the characters [start, end) of it that are the chain of thought."""

    text: str
    proof_span: tuple[int, int]


def format_sample(question: str, cot: str, response: str) -> FormattedSample:
    """The sample's text and proof span. The fields are taken as they are, whatever they say or end in."""
    prompt = prompt_for(question)
    _require_text("cot", cot)
    _require_text("response", response)
    start = len(prompt)
    return FormattedSample(f"{prompt}{cot}{ANSWER}{response}", (start, start + len(cot)))


def prompt_for(question: str) -> str:
    """The text a model continues with its proof: everything up to and including `Proof:` and a newline."""
    _require_text("question", question)
    return f"{OPENING}{question}{PROOF}"


def final_answer(completion: str) -> str | None:
    """The text after the last `Final Answer:`, stripped, possibly empty; None where there is no such mark."""
    _require_text("completion", completion)
    _, mark, answer = completion.rpartition(ANSWER_MARK)
    return answer.strip() if mark else None


def proof_token_mask(offsets: Iterable[tuple[int, int]], proof_span: tuple[int, int]) -> list[bool]:
    """Per token, whether its characters [first, last) overlap the proof span; a zero-width one never does."""
    start, end = proof_span
    return [max(first, start) < min(last, end) for first, last in offsets]


def _require_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        kind = type(value).__name__
        raise TypeError(f"{field} is {value!r}, a {kind}; expected a str: convert it or drop the sample")
