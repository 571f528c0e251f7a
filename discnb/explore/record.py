"""What the explorer and the plots look at: one derivation, token by token, seen by a student and its teacher.

KL is the student's own: nothing is smoothed, as in `evaluate`. The method averages a student's logits at singular
tokens before it takes the KL of a training step; that KL cannot be had from short arrays, so no figure here claims it.
"""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..data.tokens import Collator, text_encoder, tokenize_samples
from ..objective import DiscObjective
from ..prompt import format_sample
from ..signal import discrepancy, pivots, singular_tokens
from ..teacher import Teacher

TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0)
"""KL at another temperature cannot be computed from a few candidates, so it is kept at these."""
CANDIDATES = 10
TILE_ENTRIES = 1 << 21
"""Logits alive at a time, of each model."""
STEPS = {"ce": 1024, "falls": 256}
"""Steps per nat of what is only shown, cross-entropy and log-probabilities; what decides a mark stays float32."""


class Prediction(NamedTuple):
    """One model's view of each position `[T]`, at temperature 1, in nats; its most probable tokens first."""

    entropy: Float[np.ndarray, " T"]
    ce: Float[np.ndarray, " T"]
    candidates: Int[np.ndarray, "T C"]
    log_probabilities: Float[np.ndarray, "T C"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenRecord:
    """A derivation of T+1 tokens and what a teacher and one or two students say of its T predictions.

    Position t predicts token t+1. The students are `before` and `after` distillation, or one of them.
    """

    tokens: tuple[str, ...]
    """Their texts in a row are the derivation's. A token that ends inside a character is empty; EOS has its name."""
    offsets: Int[np.ndarray, "T+1 2"]
    """Characters [first, last) of the derivation that each token covers."""
    labels: Int[np.ndarray, " T"]
    """Ids of the predicted tokens."""
    proof: tuple[int, int]
    """The tokens [first, last) of the proof."""
    title: str
    domain: str
    temperatures: tuple[float, ...]
    kl: dict[str, Float[np.ndarray, "K T"]]
    """Of each student, KL(teacher ‖ student) at each temperature, in nats: computed in float64, kept in float32."""
    predictions: dict[str, Prediction]
    """Of each student and of `teacher`."""
    names: Mapping[int, str] = field(repr=False)
    """Texts of the tokens among labels and candidates."""

    def __post_init__(self) -> None:
        T = len(self.labels)
        if not self.kl or set(self.predictions) != {*self.kl, "teacher"} or not set(self.kl) <= {"before", "after"}:
            raise ValueError(
                f"KL is given for {list(self.kl)} and predictions for {list(self.predictions)}; expected the students "
                "'before' and/or 'after' in both, and 'teacher' in the latter"
            )
        if len(self.tokens) != T + 1 or self.offsets.shape != (T + 1, 2):
            raise ValueError(f"{len(self.tokens)} tokens for {T} predictions; expected one more than predictions")
        for name, kl in self.kl.items():
            if kl.shape != (len(self.temperatures), T):
                raise ValueError(
                    f"KL of {name!r} has shape {kl.shape}; expected {(len(self.temperatures), T)}: "
                    "temperatures, positions"
                )
        floats = {f"KL of {name!r}": kl for name, kl in self.kl.items()}
        for name, p in self.predictions.items():
            if not len(p.entropy) == len(p.ce) == len(p.candidates) == len(p.log_probabilities) == T:
                raise ValueError(f"the predictions of {name!r} have other lengths than the {T} labels")
            floats |= {f"entropy of {name!r}": p.entropy, f"cross-entropy of {name!r}": p.ce}
        for name, values in floats.items():
            if not np.isfinite(values).all():
                raise ValueError(f"the {name} holds {values[~np.isfinite(values)][0]}; expected finite numbers (nats)")

    def __len__(self) -> int:
        """How many positions there are: one fewer than tokens."""
        return len(self.labels)

    @property
    def student(self) -> str:
        """The student to look at first: `after` distillation if there is one."""
        return "after" if "after" in self.kl else "before"

    def kl_at(self, student: str, temperature: float) -> Float[Tensor, " T"]:
        """KL of a student at one of the temperatures kept, in nats, float64."""
        if student not in self.kl:
            raise ValueError(f"there is no student {student!r} in the record; it has {', '.join(self.kl)}")
        if temperature not in self.temperatures:
            kept = ", ".join(f"{t:g}" for t in self.temperatures)
            raise ValueError(f"KL is kept at the temperatures {kept}, not at {temperature:g}; choose one of them")
        return torch.from_numpy(self.kl[student][self.temperatures.index(temperature)]).double()

    def discrepancy(self, student: str, objective: DiscObjective) -> Float[Tensor, " T"]:
        """D of each position in nats, 0 where it is undefined."""
        kl = self.kl_at(student, objective.temperature)
        return discrepancy(kl, torch.ones(len(kl), dtype=torch.bool), window=objective.window)[0]

    def pivots(self, student: str, objective: DiscObjective) -> Bool[Tensor, " T"]:
        """Positions that are pivots under the objective's settings."""
        kl, o = self.kl_at(student, objective.temperature), objective
        mask = torch.ones(len(kl), dtype=torch.bool)
        return pivots(kl, mask, sigma=o.pivot_sigma, window=o.window, align=o.align)

    def singular(self, model: str, objective: DiscObjective) -> Bool[Tensor, " T"]:
        """Positions where the model's entropy is singular under the objective's settings."""
        entropy = torch.from_numpy(self.predictions[model].entropy)
        return singular_tokens(entropy, torch.ones(len(entropy), dtype=torch.bool), sigma=objective.singular_sigma)


@torch.no_grad()
def compare(
    student_hidden: Float[Tensor, "T H"],
    student_head: Float[Tensor, "V H"],
    teacher_hidden: Float[Tensor, "T G"],
    teacher_head: Float[Tensor, "V G"],
    labels: Int[Tensor, " T"],
    temperatures: Sequence[float] = TEMPERATURES,
) -> tuple[Prediction, Prediction, Float[np.ndarray, "K T"]]:
    """The student's and the teacher's predictions, and the KL between them at each temperature.

    Logits in float32, everything after them in float64, a tile of positions at a time.
    """
    rows = max(1, TILE_ENTRIES // len(student_head))
    student, teacher, divergences = [], [], []
    for first in range(0, len(labels), rows):
        at = slice(first, first + rows)
        s = (student_hidden[at].float() @ student_head.float().T).double()
        t = (teacher_hidden[at].float() @ teacher_head.float().T).double()
        student.append(_predict(s, labels[at]))
        teacher.append(_predict(t, labels[at]))
        kl = []
        for temperature in temperatures:
            p, q = (torch.log_softmax(logits / temperature, -1) for logits in (t, s))
            kl.append(torch.linalg.vecdot(p.exp(), p - q))
        divergences.append(torch.stack(kl).float().cpu().numpy())
    return (
        _joined(student),
        _joined(teacher),
        np.concatenate([np.zeros((len(temperatures), 0), np.float32), *divergences], axis=1),
    )


def _predict(logits: Float[Tensor, "R V"], labels: Int[Tensor, " R"]) -> Prediction:
    q = torch.log_softmax(logits, -1)
    top, candidates = q.topk(min(CANDIDATES, q.shape[1]), -1)
    entropy = -torch.linalg.vecdot(q.exp(), q)
    columns = entropy.float(), -q.gather(1, labels[:, None])[:, 0].float(), candidates.int(), top.float()
    return Prediction(*(column.cpu().numpy() for column in columns))


def _joined(tiles: list[Prediction]) -> Prediction:
    none = np.zeros(0, np.float32)
    empty = Prediction(none, none, np.zeros((0, CANDIDATES), np.int32), np.zeros((0, CANDIDATES), np.float32))
    return Prediction(*map(np.concatenate, zip(*tiles, strict=True))) if tiles else empty


def token_records(
    students: Mapping[str, Callable[[], Teacher]],
    teacher: Teacher,
    samples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    collator: Collator,
    *,
    max_length: int,
    temperatures: Sequence[float] = TEMPERATURES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TokenRecord]:
    """A record of each sample. Either side is hidden states and a head, online or cached; one student at a time lives.

    `students` are `before` and/or `after`, each a function that loads it. `progress` is told samples done and in all.
    """
    split, _ = tokenize_samples(samples, tokenizer, max_length)
    predictions: list[dict[str, Prediction]] = [{} for _ in split]
    kl: list[dict[str, np.ndarray]] = [{} for _ in split]
    teacher_head = teacher.head.float().cpu()
    for done, (name, load) in enumerate(students.items()):
        student = load()
        head = student.head.float().cpu()
        for i, row in enumerate(split):
            batch = collator([row])
            inputs = batch["index"], batch["input_ids"], batch["attention_mask"]
            n = int(batch["mask"].sum())
            h, g = student.hidden(*inputs)[0, :n].cpu(), teacher.hidden(*inputs)[0, :n].cpu()
            predictions[i][name], predictions[i]["teacher"], kl[i][name] = compare(
                h, head, g, teacher_head, batch["labels"][0, :n], temperatures
            )
            progress(done * len(split) + i + 1, len(students) * len(split))
        del student, head  # before the next one is loaded
    records = []
    for row, sample, p, divergence in zip(split, samples, predictions, kl, strict=True):
        tokens, offsets = _texts(row["input_ids"], sample, tokenizer)
        inside = np.flatnonzero(row["proof"])
        labels = np.array(row["input_ids"][1:], dtype=np.int32)
        ids = np.unique(np.concatenate([labels, *(m.candidates.ravel() for m in p.values())])).tolist()
        records.append(
            TokenRecord(
                tokens=tokens,
                offsets=offsets,
                labels=labels,
                proof=(int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0),
                title=" ".join(sample["question"].split()),
                domain=sample.get("domain", ""),
                temperatures=tuple(map(float, temperatures)),
                kl=divergence,
                predictions=p,
                names=dict(zip(ids, tokenizer.batch_decode([[i] for i in ids]), strict=True)),
            )
        )
    return records


def _texts(
    ids: list[int], sample: Mapping[str, str], tokenizer: PreTrainedTokenizerBase
) -> tuple[tuple[str, ...], np.ndarray]:
    """Each token's share of the text, and its characters [first, last); EOS, if it was not cut off, shows its name."""
    text = format_sample(sample["question"], sample["cot"], sample["response"]).text
    offsets = text_encoder(tokenizer).encode(text, add_special_tokens=False).offsets[: len(ids)]
    tokens, end = [], 0
    for _, last in offsets:
        # tokens may share a character, each with part of its bytes: the first shows it, the others are empty
        tokens.append(text[end : max(end, last)])
        end = max(end, last)
    if len(offsets) < len(ids):
        tokens.append(str(tokenizer.eos_token))
        offsets.append((len(text), len(text)))
    return tuple(tokens), np.array(offsets, dtype=np.int64).reshape(len(ids), 2)


def pack(records: Sequence[TokenRecord], facts: Mapping[str, Any]) -> bytes:
    """The records as the browser reads them: gzip of a JSON header, led by its length, and the arrays it lists.

    All samples of an array lie in a row, so that a column compresses; numbers of several bytes lie as planes, all
    first bytes, then all second ones. `facts` go into the header as they are. At most 160 KB a page for 1,000 tokens
    with a teacher, a student and the program itself, which a test measures.
    """
    if not records:
        raise ValueError("there are no records to show; expected at least one sample")
    models = [model for model in ("before", "after", "teacher") if model in records[0].predictions]
    if any(set(r.predictions) != set(models) or r.temperatures != records[0].temperatures for r in records):
        raise ValueError("the records differ in their models or temperatures; expected the same in all of them")
    ids = [ids for r in records for ids in (r.labels, *(p.candidates.ravel() for p in r.predictions.values()))]
    used, count = np.unique(np.concatenate(ids), return_counts=True)
    used = used[np.argsort(-count, kind="stable")]  # frequent tokens get small numbers, whose high byte is 0
    number = np.zeros(int(used.max(initial=0)) + 1, dtype=np.uint16 if len(used) <= 1 << 16 else np.uint32)
    number[used] = np.arange(len(used))
    names = {token: name for record in records for token, name in record.names.items()}

    columns: dict[str, np.ndarray] = {
        # UTF-16 code units, which is what JavaScript counts
        "lengths": np.array([len(t.encode("utf-16-le")) // 2 for r in records for t in r.tokens], dtype=np.uint16),
        "labels": number[np.concatenate([r.labels for r in records])],
    }
    for model in models:
        entropy, ce, candidates, log_probabilities = (
            np.concatenate(column) for column in zip(*(r.predictions[model] for r in records), strict=True)
        )
        steps = _steps(-log_probabilities, "falls")
        columns |= {
            f"{model}.entropy": entropy,
            f"{model}.ce": _steps(ce, "ce"),
            f"{model}.candidates": number[candidates].T,
            # the falls from one candidate to the next are small
            f"{model}.falls": np.diff(steps, axis=1, prepend=np.uint16(0)).T,
        }
        if model != "teacher":
            columns[f"{model}.kl"] = np.concatenate([r.kl[model] for r in records], axis=1)

    header = {
        **facts,
        "models": models,
        "temperatures": records[0].temperatures,
        "steps": STEPS,
        "names": [names[token] for token in used.tolist()],
        "samples": [
            {"text": "".join(r.tokens), "positions": len(r), "proof": r.proof, "title": r.title, "domain": r.domain}
            for r in records
        ],
        "arrays": [[name, _KINDS[column.dtype], *column.shape] for name, column in columns.items()],
    }
    head = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    body = b"".join(_planes(column) for column in columns.values())
    return gzip.compress(len(head).to_bytes(4, "little") + head + body, mtime=0)


def _steps(nats: np.ndarray, name: str) -> np.ndarray:
    return np.clip(np.rint(nats.astype(np.float64) * STEPS[name]), 0, 65535).astype(np.uint16)


def _planes(column: np.ndarray) -> bytes:
    little = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(-1, column.itemsize).T.tobytes()


_KINDS = {np.dtype(np.float32): "Float32", np.dtype(np.uint16): "Uint16", np.dtype(np.uint32): "Uint32"}
