"""How far a student is from its teacher on held-out text."""

import math
from dataclasses import asdict, dataclass, replace

import torch
from datasets import Dataset
from torch import Tensor

from .data.tokens import Collator
from .objective import DiscObjective, SequenceSignals
from .signal import gap_energy
from .teacher import Teacher


@dataclass(frozen=True, slots=True)
class SplitReport:
    """A split's figures: means over tokens in nats, perplexity, and the gap energy as a mean over sequences in nats².

    `pivot_kl` + `smooth_kl` = `kl`: the jump part and the smooth part of the divergence, both per token.
    """

    kl: float
    ce: float
    perplexity: float
    energy: float
    pivot_kl: float
    smooth_kl: float
    tokens: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@torch.no_grad()
def sequence_signals(
    student: Teacher, teacher: Teacher, batch: dict[str, Tensor], objective: DiscObjective
) -> list[SequenceSignals]:
    """The signals of each sequence in a batch, cut to its length. Either side is hidden states and a head."""
    device = student.head.device  # where the student is, all is
    inputs = batch["index"], batch["input_ids"], batch["attention_mask"]
    states = student.hidden(*inputs), teacher.hidden(*inputs), batch["labels"], batch["mask"]
    teacher_head, out = teacher.head.to(device), []
    for h, g, labels, mask in zip(*(x.to(device) for x in states), strict=True):
        n = int(mask.sum())
        out.append(objective.signals(h[:n], student.head, g[:n], teacher_head, labels[:n], mask[:n]))
    return out


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
    objective = replace(objective, smoothing_window=1, selection="pivots", divergence="forward", temperature_spread=0.0)
    records: list[dict[str, float]] = []
    for first in range(0, len(split), batch_size):
        rows = [split[i] for i in range(first, min(first + batch_size, len(split)))]
        for row, s in zip(rows, sequence_signals(student, teacher, collator(rows), objective), strict=True):
            kl = s.kl.double()
            records.append(
                {
                    "index": row["index"],
                    "tokens": len(kl),
                    "kl": kl.sum().item(),
                    "pivot_kl": kl[s.pivot].sum().item(),
                    "ce": s.ce.double().sum().item(),
                    "energy": gap_energy(kl, torch.ones_like(s.pivot), window=objective.window).item(),
                    "pivots": int(s.pivot.sum()),
                }
            )
    tokens = sum(int(record["tokens"]) for record in records)
    if tokens == 0:
        raise ValueError("the split has no token to predict; expected at least one sample of two tokens")
    mean = {name: math.fsum(record[name] for record in records) / tokens for name in ("kl", "pivot_kl", "ce")}
    report = SplitReport(
        kl=mean["kl"],
        ce=mean["ce"],
        perplexity=math.exp(mean["ce"]),
        energy=math.fsum(record["energy"] for record in records) / len(records),
        pivot_kl=mean["pivot_kl"],
        smooth_kl=mean["kl"] - mean["pivot_kl"],
        tokens=tokens,
    )
    return report, records
