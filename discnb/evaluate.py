"""How far a student is from its teacher on held-out text, and how many held-out problems a model answers."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from .data.tokens import Collator, text_encoder
from .grading import grade
from .llama import LlamaModel
from .objective import DiscObjective
from .prompt import final_answer, prompt_for
from .signal import gap_energy
from .teacher import Teacher

CALIBRATION_BINS = 15
ROWS = 256
"""Positions whose logits are held at once."""


class TokenFigures(NamedTuple):
    """What is known of a sample's predictions, `[T]` each: nats, the student's own pivots, and its likeliest token."""

    kl: Float[Tensor, " T"]
    ce: Float[Tensor, " T"]
    pivot: Bool[Tensor, " T"]
    confidence: Float[Tensor, " T"]
    correct: Bool[Tensor, " T"]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """A split's figures: means over tokens in nats, perplexity, and the gap energy as a mean over sequences in nats².

    `pivot_kl` + `smooth_kl` = `kl`: the jump part and the smooth part of the divergence, both per token. `ece` is the
    expected calibration error of the likeliest next token.
    """

    kl: float
    ce: float
    perplexity: float
    energy: float
    pivot_kl: float
    smooth_kl: float
    ece: float
    tokens: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def confidence(
    hidden: Float[Tensor, "T H"], head: Float[Tensor, "V H"], labels: Int[Tensor, " T"]
) -> tuple[Float[Tensor, " T"], Bool[Tensor, " T"]]:
    """Probability of the likeliest token at each position, and whether it is the label."""
    best = []
    for rows in hidden.split(ROWS):
        logits = rows.to(head.dtype) @ head.T  # [ROWS, V]
        top, token = logits.max(-1)
        best.append(((top - logits.logsumexp(-1)).exp(), token))
    probability, token = (torch.cat(parts) for parts in zip(*best, strict=True))
    return probability, token == labels


def expected_calibration_error(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], bins: int = CALIBRATION_BINS
) -> float:
    """Mean gap between confidence and accuracy over equal bins of confidence, weighted by tokens. Guo et al. 2017."""
    p, right = confidence.double(), correct.double()
    place = (p * bins).ceil().long().clamp(1, bins) - 1  # bin i holds i/bins < p <= (i + 1)/bins
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, right - p)
    return float(gap.abs().sum() / len(p))


@torch.no_grad()
def measure_tokens(
    student: Teacher,
    teacher: Teacher,
    split: Dataset,
    collator: Collator,
    objective: DiscObjective,
    *,
    batch_size: int = 8,
) -> list[TokenFigures]:
    """The figures of every sample of a split. Either side is hidden states and a head; nothing is smoothed."""
    objective = replace(objective, smoothing_window=1, selection="pivots", divergence="forward", temperature_spread=0.0)
    device = student.head.device  # where the student is, all is
    teacher_head, figures = teacher.head.to(device), []
    for first in range(0, len(split), batch_size):
        batch = collator([split[i] for i in range(first, min(first + batch_size, len(split)))])
        inputs = batch["index"], batch["input_ids"], batch["attention_mask"]
        states = student.hidden(*inputs), teacher.hidden(*inputs), batch["labels"], batch["mask"]
        for h, g, labels, mask in zip(*(x.to(device) for x in states), strict=True):
            n = int(mask.sum())
            s = objective.signals(h[:n], student.head, g[:n], teacher_head, labels[:n], mask[:n])
            found = s.kl, s.ce, s.pivot, *confidence(h[:n], student.head, labels[:n])
            figures.append(TokenFigures(*(values.cpu() for values in found)))
    return figures


def evaluate_split(
    student: Teacher,
    teacher: Teacher,
    split: Dataset,
    collator: Collator,
    objective: DiscObjective,
    *,
    batch_size: int = 8,
) -> tuple[SplitReport, list[dict[str, float]]]:
    """The split's report, and a record of sums per sample. Nothing is smoothed: the figures are the models' own."""
    figures = measure_tokens(student, teacher, split, collator, objective, batch_size=batch_size)
    return report_split(figures, objective, split["index"])


def report_split(
    figures: Sequence[TokenFigures], objective: DiscObjective, index: Iterable[int]
) -> tuple[SplitReport, list[dict[str, float]]]:
    """The report and the records of samples whose tokens were measured."""
    records: list[dict[str, float]] = []
    for i, tokens in zip(index, figures, strict=True):
        kl = tokens.kl.double()
        records.append(
            {
                "index": i,
                "tokens": len(kl),
                "kl": kl.sum().item(),
                "pivot_kl": kl[tokens.pivot].sum().item(),
                "ce": tokens.ce.double().sum().item(),
                "energy": gap_energy(kl, torch.ones_like(tokens.pivot), window=objective.window).item(),
                "pivots": int(tokens.pivot.sum()),
            }
        )
    count = sum(int(record["tokens"]) for record in records)
    if count == 0:
        raise ValueError("the split has no token to predict; expected at least one sample of two tokens")
    mean = {name: math.fsum(record[name] for record in records) / count for name in ("kl", "pivot_kl", "ce")}
    report = SplitReport(
        kl=mean["kl"],
        ce=mean["ce"],
        perplexity=math.exp(mean["ce"]),
        energy=math.fsum(record["energy"] for record in records) / len(records),
        pivot_kl=mean["pivot_kl"],
        smooth_kl=mean["kl"] - mean["pivot_kl"],
        ece=expected_calibration_error(
            torch.cat([tokens.confidence for tokens in figures]), torch.cat([tokens.correct for tokens in figures])
        ),
        tokens=count,
    )
    return report, records


Progress = Callable[[int, int], None]


@torch.no_grad()
def derive(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """The greedy derivation of each question, from the card's prompt up to the end of text or `max_new_tokens`."""
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=pad
    )
    encoder, derivations = text_encoder(tokenizer), list[str]()
    for first in range(0, len(questions), batch_size):
        prompts = [prompt_for(question) for question in questions[first : first + batch_size]]
        rows = [encoding.ids for encoding in encoder.encode_batch(prompts, add_special_tokens=False)]
        longest = max(map(len, rows))
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=model.device)  # [B, T]
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)  # type: ignore[operator]
        derivations += tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
        progress(len(derivations), len(questions))
    return derivations


def derive_gguf(
    path: Path,
    questions: Sequence[str],
    *,
    max_new_tokens: int,
    threads: int = 2,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """The same through llama.cpp, from a GGUF file."""
    derivations = []
    with LlamaModel(path, threads=threads) as model:
        for question in questions:
            derivations.append("".join(model.generate(prompt_for(question), max_new_tokens=max_new_tokens)))
            progress(len(derivations), len(questions))
    return derivations


def grade_derivations(
    samples: Sequence[dict[str, str]], derivations: Sequence[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How many derivations end in the right answer, by split and domain, and a record of each.

    A sample's `split` says where it is from. The answer is what stands after the last `Final Answer:`; a derivation
    without one is wrong, and not `answered`.
    """
    records: list[dict[str, Any]] = []
    for sample, derivation in zip(samples, derivations, strict=True):
        answer = final_answer(derivation)
        correct, how = grade(answer, sample["response"])
        told = {name: sample[name] for name in ("split", "domain", "question")}
        found = {"derivation": derivation, "answer": answer, "reference": sample["response"]}
        records.append({**told, **found, "correct": correct, "how": how})
    reports: dict[str, Any] = {}
    for record in records:
        empty = {"problems": 0, "answered": 0, "correct": 0, "domains": {}}
        report = reports.setdefault(record["split"], empty)
        domain = report["domains"].setdefault(record["domain"], {"problems": 0, "correct": 0})
        report["answered"] += record["answer"] is not None
        for counts in (report, domain):
            counts["problems"] += 1
            counts["correct"] += record["correct"]
    return reports, records
