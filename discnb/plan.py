"""What a run needs of a machine, before one is rented: memory, disk, work and minutes of every stage.

Sizes are computed from the models' configurations and the code's own constants, without weights or network. What is
assumed instead is said in `Plan.assumptions`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from transformers import PretrainedConfig

from . import models
from .architectures import architecture
from .cache import cache_bytes
from .config import STREAM, RunConfig, override
from .data.domains import CARD_COUNTS
from .data.stem import EVAL_SHARE
from .devices import CORE, GPUS, Device, device_named
from .footprint import FLOAT, Shape, engine_flops, forward_flops, inference_bytes, meta_model, shape_of, training_bytes

MFU = 0.4
"""Share of a device's peak that its matrix products reach, unless `plan` is told another."""
CONTEXT_BYTES = 1 << 30
"""Of CUDA, its libraries' workspaces and NCCL on a GPU."""
FRAGMENTATION = 0.05
"""Of the tensors' bytes, lost between them by the caching allocator."""
BITS = {"F16": 16.0, "Q8_0": 8.5, "Q5_K_M": 5.7, "Q4_K_M": 4.9}
"""Bits to a weight in a GGUF file; for the K-quants about, since they mix kinds."""
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


Moments = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as the plan sees it."""

    name: str
    revision: str | None
    parameters: int
    active: int
    """Parameters that work on a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage's needs on each of its devices."""

    name: str
    devices: int
    """How many of the devices it can use."""
    moments: Moments
    """Bytes at each moment that may be its widest, by what they are for."""
    peak: int
    """Of the widest, with what is assumed for CUDA and the allocator."""
    fits: bool
    advice: str | None
    """The nearest change that makes it fit, where it does not."""
    held_by: tuple[str, ...]
    """The GPUs that hold it as it is set."""
    checkpointing: dict[str, dict[str, int]]
    """Bytes of `activations` and of the `peak`, `with` and `without` activation checkpointing."""
    disk: dict[str, int]
    """Bytes it reads from the hub or leaves on disk."""
    flops: dict[str, float]
    """All its work, by what it is for."""
    minutes: float
    """Of that work alone at the stated MFU: no loading, hashing, waiting."""

    @property
    def moment(self) -> str:
        """When its memory is widest."""
        return max(self.moments, key=lambda name: sum(self.moments[name].values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run needs; `to_dict` gives plain values."""

    preset: str
    gpu: str
    gpus: int
    mfu: float
    teacher: Model
    student: Model
    samples: dict[str, int]
    tokens: dict[str, int]
    steps: int
    cache_bytes_per_token: int
    stages: tuple[Stage, ...]
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as nested plain values, as `--json` prints it."""
        return asdict(self)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def plan(
    config: RunConfig,
    *,
    gpu: str | None = None,
    gpus: int = 1,
    samples: int | None = None,
    tokens_per_sample: float | None = None,
    mfu: float = MFU,
) -> Plan:
    """What a run of these settings needs of `gpus` devices of kind `gpu`: bytes, FLOPs, minutes, and what fits.

    Without `gpu` it is an H100-80 for a run in bfloat16 and this machine's CPU for another. `samples` replaces the
    source's own number; `tokens_per_sample` is its mean if it has been measured, else every text is `data.max_length`
    long.
    """
    if gpu is None:
        gpu = "H100-80" if config.train.bf16 or config.teacher.dtype == "bfloat16" else "CPU"
    if gpus < 1 or (samples is not None and samples < 2) or not 0 < mfu <= 1:
        raise ValueError(f"gpus is {gpus}, samples {samples}, mfu {mfu}; expected at least 1, at least 2, and 0 to 1")
    if tokens_per_sample is not None and not 0 < tokens_per_sample <= config.data.max_length:
        raise ValueError(f"tokens per sample are {tokens_per_sample}; expected up to {config.data.max_length}")
    device, (teacher, student) = device_named(gpu), shapes(config)
    counts = sample_counts(config, samples)
    mean = tokens_per_sample or config.data.max_length
    tokens = {split: round(count * mean) for split, count in counts.items()}
    ask = _Ask(config, teacher, student, gpu, device, gpus, mfu, mean)
    train = config.train
    return Plan(
        preset=config.preset,
        gpu=gpu,
        gpus=gpus,
        mfu=mfu,
        teacher=Model(
            name=config.teacher.model,
            revision=config.teacher.revision,
            parameters=teacher.parameters,
            active=teacher.active,
        ),
        student=Model(
            name=config.student.model,
            revision=config.student.revision,
            parameters=student.parameters,
            active=student.active,
        ),
        samples=counts,
        tokens=tokens,
        steps=math.ceil(train.epochs * math.ceil(counts["train"] / (train.batch_size * train.accumulation))),
        cache_bytes_per_token=cache_bytes(1, _meta_head(teacher), config.teacher.storage) - 2 * teacher.head,
        stages=(_cache_stage(ask, sum(tokens.values())), _train_stage(ask, tokens["train"]), _export_stage(student)),
        assumptions=tuple(_assumptions(ask, tokens_per_sample)),
    )


def shapes(config: RunConfig) -> tuple[Shape, Shape]:
    """The sizes of teacher and student."""
    if config.teacher.model == "scratch":
        with torch.device("meta"):
            teacher_model = models.scratch_teacher(_Vocabulary(), 0)  # type: ignore[arg-type]
    else:
        teacher_model = meta_model(_architecture(config.teacher.model))
    if config.student.model == "scratch":
        with torch.device("meta"):
            student_model = models.scratch_student(_Vocabulary(), 0)  # type: ignore[arg-type]
    elif config.student.layers is not None:
        c = teacher_model.config
        if not 2 <= config.student.layers <= c.num_hidden_layers:
            raise ValueError(f"student.layers is {config.student.layers}; expected 2 to {c.num_hidden_layers}")
        values = {**c.to_dict(), "num_hidden_layers": config.student.layers, "layer_types": None}
        student_model = meta_model(type(c)(**values))
    else:
        student_model = meta_model(_architecture(config.student.model))
    return shape_of(teacher_model), shape_of(student_model)


class _Vocabulary:
    """What models from scratch ask of their tokenizer, which there is none of yet."""

    eos_token_id, pad_token_id = 1, 0

    def __len__(self) -> int:
        return 1024


def _architecture(source: str) -> PretrainedConfig:
    return architecture(SMOLLM2 if source == models.SMOLLM2 else source)


def sample_counts(config: RunConfig, samples: int | None = None) -> dict[str, int]:
    """Samples of each split, as `load_stem` and the run make them."""
    c = config.data
    if samples is None and c.source.startswith(STREAM):
        if c.train_samples is None or c.eval_samples is None:
            raise ValueError(f"how many samples {c.source} has is not known before it is read: give their number")
        return {"train": c.train_samples, "eval": c.eval_samples}
    total = samples or (c.size if c.source == "mini" else sum(CARD_COUNTS.values()))
    held_out = math.ceil(EVAL_SHARE * total)
    wanted = {"train": (total - held_out, config.data.train_samples), "eval": (held_out, config.data.eval_samples)}
    return {split: count if samples or not limit else min(limit, count) for split, (count, limit) in wanted.items()}


@dataclass(frozen=True, slots=True)
class _Ask:
    """One question: these settings, these models, on these devices."""

    config: RunConfig
    teacher: Shape
    student: Shape
    gpu: str
    device: Device
    gpus: int
    mfu: float
    mean: float

    @property
    def kind(self) -> str:
        return "cpu" if self.gpu == "CPU" else "cuda"

    def peak(self, moments: Moments) -> int:
        """Bytes of the widest moment with what is assumed on top of it."""
        total = max(sum(memory.values()) for memory in moments.values())
        return total if self.kind == "cpu" else round(total * (1 + FRAGMENTATION)) + CONTEXT_BYTES

    def set(self, **changes: Any) -> "_Ask":
        """The same with other settings, `train__batch_size` for `train.batch_size`."""
        return replace(self, config=override(self.config, {k.replace("__", "."): v for k, v in changes.items()}))

    def on(self, gpu: str) -> "_Ask":
        return replace(self, gpu=gpu, device=device_named(gpu))


def _cache_stage(ask: _Ask, tokens: int) -> Stage:
    c, shape = ask.config.teacher, ask.teacher
    flops = {name: count * tokens for name, count in forward_flops(shape, round(ask.mean)).items()}
    speed = ask.device.bf16 if c.dtype == "bfloat16" else ask.device.float32
    return Stage(
        name="cache",
        devices=ask.gpus,
        checkpointing={},
        disk={
            "the teacher's weights": 2 * shape.parameters,
            "states and head": cache_bytes(tokens, _meta_head(shape), c.storage),
        },
        flops=flops,
        minutes=sum(flops.values()) / (speed * ask.mfu * ask.gpus) / 60,
        **_fit(ask, _teacher_moments, _teacher_changes(ask)),
    )


def _teacher_moments(ask: _Ask) -> Moments:
    c, width = ask.config.teacher, 2 if ask.config.teacher.dtype == "bfloat16" else FLOAT
    batch, length = c.batch_size, ask.config.data.max_length
    forward = inference_bytes(ask.teacher, batch=batch, length=length, padded=batch > 1, width=width)
    states = batch * length * ask.teacher.hidden * (width + 2)
    return {"a forward": {"weights": width * ask.teacher.parameters, "one forward": forward, "states": states}}


def _train_stage(ask: _Ask, tokens: int) -> Stage:
    train, shape = ask.config.train, ask.student
    passes, seen = 3 + train.activation_checkpointing, tokens * train.epochs
    model = {name: passes * count * seen for name, count in forward_flops(shape, round(ask.mean)).items()}
    signals = _student_moments(ask)["signals"]
    kept = signals["kept logits"] == 2 * FLOAT * ask.config.data.max_length * shape.vocabulary
    engine = seen * engine_flops(shape.head, ask.teacher.head, kept=kept)
    used, speed = _ranks(ask), ask.device.bf16 if train.bf16 else ask.device.float32
    seconds = sum(model.values()) / (speed * ask.mfu) + engine / (ask.device.float32 * ask.mfu)
    checkpoint = 3 * FLOAT * shape.parameters
    both = {
        name: _student_moments(ask.set(train__activation_checkpointing=on))
        for name, on in (("with", True), ("without", False))
    }
    return Stage(
        name="train",
        devices=used,
        checkpointing={
            "activations": {name: moments["signals"]["activations"] for name, moments in both.items()},
            "peak": {name: ask.peak(moments) for name, moments in both.items()},
        },
        disk={
            "one checkpoint": checkpoint,
            "checkpoints at most": checkpoint * (train.keep_checkpoints + 1),  # one is written before one goes
            "the student": FLOAT * shape.parameters,
        },
        flops={**model, "signals in float32": engine},
        minutes=seconds / used / 60,
        **_fit(ask, _student_moments, _student_changes(ask)),
    )


def _fit(ask: _Ask, moments: Callable[[_Ask], Moments], changes: Iterator[tuple[str, _Ask]]) -> dict[str, Any]:
    """A stage's moments and peak, what holds it, and the first of the changes, nearest first, that makes it fit."""

    def holds(asked: _Ask) -> bool:
        return asked.peak(moments(asked)) <= asked.device.memory

    fits = holds(ask)
    advice = None if fits else next((what for what, changed in changes if holds(changed)), "nothing known here")
    return {
        "moments": moments(ask),
        "peak": ask.peak(moments(ask)),
        "fits": fits,
        "advice": advice,
        "held_by": tuple(name for name in sorted(GPUS, key=lambda n: GPUS[n].memory) if holds(ask.on(name))),
    }


def _ranks(ask: _Ask) -> int:
    """How many devices a step's sequences can keep busy: each needs one at least."""
    return min(ask.gpus, ask.config.train.batch_size * ask.config.train.accumulation)


def _student_moments(ask: _Ask) -> Moments:
    train, ranks = ask.config.train, _ranks(ask)
    sequences = math.ceil(train.batch_size * train.accumulation / ranks)  # of a rank and step
    batch = min(train.batch_size, sequences)
    return training_bytes(
        ask.student,
        ask.teacher.hidden,
        batch=batch,
        length=ask.config.data.max_length,
        padded=batch > 1,
        bf16=train.bf16,
        checkpointing=train.activation_checkpointing,
        accumulating=sequences > batch,
        device=ask.kind,
        share=ranks,
        sharded=ranks > 1 and train.parallel == "fsdp",
        memory=ask.device.memory,
    )


def _bigger(ask: _Ask) -> list[str]:
    return sorted((name for name, d in GPUS.items() if d.memory > ask.device.memory), key=lambda n: GPUS[n].memory)


def _teacher_changes(ask: _Ask) -> Iterator[tuple[str, _Ask]]:
    size = ask.config.teacher.batch_size
    smaller = [size >> k for k in range(1, size.bit_length())]
    for batch in smaller:
        yield f"teacher.batch_size={batch}", ask.set(teacher__batch_size=batch)
    if ask.config.teacher.dtype != "bfloat16":
        yield "teacher.dtype=bfloat16", ask.set(teacher__dtype="bfloat16")
    for name in _bigger(ask):
        yield f"one {name}", ask.on(name)
    if ask.config.teacher.dtype != "bfloat16":
        for name in _bigger(ask):
            yield f"teacher.dtype=bfloat16 on one {name}", ask.set(teacher__dtype="bfloat16").on(name)


def _student_changes(ask: _Ask) -> Iterator[tuple[str, _Ask]]:
    train = ask.config.train
    again = "train.activation_checkpointing=true"
    variants = [("", ask)]
    if not train.activation_checkpointing:
        redone = ask.set(train__activation_checkpointing=True)
        variants.append((again + " ", redone))
        yield again, redone
    for prefix, base in variants:
        for k in range(1, train.batch_size.bit_length()):
            if train.batch_size % (1 << k) == 0:
                batch, steps = train.batch_size >> k, train.accumulation << k
                yield (
                    f"{prefix}train.batch_size={batch} train.accumulation={steps}",
                    base.set(train__batch_size=batch, train__accumulation=steps),
                )
    prefix, base = variants[-1]
    for ranks in (2, 4, 8) if ask.kind == "cuda" else ():
        if ask.gpus <= ranks <= train.batch_size * train.accumulation:
            yield (
                f"{prefix}train.parallel=fsdp over {ranks} GPUs",
                replace(base.set(train__parallel="fsdp"), gpus=ranks),
            )
    for name in _bigger(ask):
        yield f"one {name}", ask.on(name)


def _export_stage(shape: Shape) -> Stage:
    memory = {"weights": FLOAT * shape.parameters}
    return Stage(
        name="export",
        devices=0,
        moments={"writing, on the CPU": memory},
        peak=sum(memory.values()),
        fits=True,
        advice=None,
        held_by=(),
        checkpointing={},
        disk={f"{kind} (about)": round(shape.parameters * bits / 8) for kind, bits in BITS.items()},
        flops={},
        minutes=0.0,
    )


def _meta_head(shape: Shape) -> torch.Tensor:
    """The head as the cache keeps it."""
    return torch.empty(shape.vocabulary, shape.hidden, dtype=torch.bfloat16, device="meta")


def _assumptions(ask: _Ask, tokens_per_sample: float | None) -> Iterator[str]:
    c = ask.config
    yield "computed: parameters, bytes of tensors, bytes on disk, FLOPs; nothing of this was measured on a GPU"
    yield f"assumed: products reach {ask.mfu:.0%} of the peak; loading, hashing, writing and evaluation take no time"
    if tokens_per_sample is None:
        yield f"assumed: every text has {c.data.max_length:,} tokens, the most it can have"
    if ask.kind == "cuda":
        yield f"assumed: {CONTEXT_BYTES / 1e9:.2f} GB for CUDA and {FRAGMENTATION:.0%} lost by the allocator"
    else:
        yield f"assumed: {CORE / 1e9:.0f} GFLOP/s to a core of this CPU"
    yield "assumed: batches have padding and go with a mask, unless of one; experts run in groups (`grouped_mm`)"
    yield "assumed: the head has its padded rows; a third of the tokens at most are singular; AdamW is fused"
    yield f"not counted: grading, up to {c.grade.new_tokens:,} tokens for each of {c.grade.samples:,} held-out problems"
    if _ranks(ask) > 1:
        yield f"assumed: {c.train.parallel} keeps " + (
            "two layers, the gradients of one and the embedding whole"
            if c.train.parallel == "fsdp"
            else "a copy of the gradients in buckets"
        )
    if _ranks(ask) < ask.gpus:
        yield f"training keeps {_ranks(ask)} of {ask.gpus:,} GPUs busy: a step has no more sequences to share out"
    for part, name in (("teacher", c.teacher.model), ("student", c.student.model)):
        if "/" in name and getattr(c, part).revision is None:
            yield f"{part}.revision is not pinned: the hub's newest would be loaded"
    if c.data.source == "hub" and c.data.revision is None:
        yield "data.revision is not pinned: the hub's newest sets would be read"
    if c.teacher.model == "scratch":
        yield "not counted: the training of the scratch teacher itself"
