"""A run's two models, as its settings name them: the teacher, loaded or made here, and the student before training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from . import models, ranks
from .checkpoint import write_manifest, writing
from .config import SHRUNKEN, RunConfig
from .data import Collator, tokenize_samples
from .progress import progress
from .prompt import format_sample
from .train import train_language_model


def makes_teacher(config: RunConfig) -> bool:
    """Is the teacher made here, rather than loaded?"""
    return config.teacher.model == "scratch" or config.teacher.model.startswith(SHRUNKEN)


def make_teacher(config: RunConfig, samples: Dataset, folder: Path) -> None:
    """Write a small teacher and its tokenizer, made from `samples`: trained, or untrained for a dry run."""
    c, seed = config.teacher, config.train.seed
    if c.steps and ranks.world() > 1:
        raise ValueError("a teacher from scratch is trained in one process: call `discnb cache` without torchrun")
    shutil.rmtree(folder, ignore_errors=True)
    texts = (format_sample(row["question"], row["cot"], row["response"]).text for row in samples)
    if c.model.startswith(SHRUNKEN):
        tokenizer = models.scratch_tokenizer(texts, size=models.QWEN_TOKENS)
        model = models.shrunken(c.model.removeprefix(SHRUNKEN), tokenizer, seed)
    else:
        tokenizer = models.scratch_tokenizer(texts)
        model = models.scratch_teacher(tokenizer, seed)
        tokens, _ = tokenize_samples(samples, tokenizer, config.data.max_length)
        with progress("scratch teacher") as update:
            train_language_model(
                model,
                tokens,
                Collator(tokenizer.pad_token_id),
                steps=c.steps,
                batch_size=c.batch_size,
                learning_rate=c.learning_rate,
                seed=seed,
                progress=lambda step, loss: update(step, c.steps, f"step {step}/{c.steps}  loss {loss:.3f}"),
            )
    with writing(folder):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    write_manifest(folder, steps=c.steps)


def load_teacher(config: RunConfig, made: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The teacher and its tokenizer: from the folder `made` if it was made here, else from where the settings say."""
    c = config.teacher
    source = str(made) if makes_teacher(config) else c.model
    # a rank has one GPU; a process alone has all of them
    device = "auto" if ranks.world() == 1 and torch.cuda.device_count() > 1 else str(ranks.device())
    return models.load_model(source, revision=c.revision, dtype=getattr(torch, c.dtype), device=device)


def initial_student(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, teacher: Callable[[], PreTrainedModel]
) -> PreTrainedModel:
    """The student before training in float32, the same at every call; `teacher` is asked for if it is cut from it."""
    c, seed = config.student, config.train.seed
    if c.model == "scratch":
        student = models.scratch_student(tokenizer, seed)
    elif c.model.startswith(SHRUNKEN):
        student = models.shrunken(c.model.removeprefix(SHRUNKEN), tokenizer, seed)
    elif c.layers is not None:
        student = models.prune_depth(teacher(), c.layers).float()
        if c.dither:
            models.dither(student, c.dither, seed)
    else:
        student, _ = models.load_model(c.model, revision=c.revision)
    student.set_attn_implementation(c.attention)
    return student.to(ranks.device())  # type: ignore[arg-type]  # transformers decorates it untyped


def shared_vocabulary(config: RunConfig, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens teacher and student share; a ValueError where their vocabularies differ."""
    rows, c = teacher.get_output_embeddings().weight.shape[0], config.student
    if c.model in ("prune", "scratch") or c.model.startswith(SHRUNKEN):
        return models.shared_vocabulary(tokenizer, tokenizer, rows, rows)
    student_tokenizer, student_rows = models.load_tokenizer(c.model, revision=c.revision)
    return models.shared_vocabulary(tokenizer, student_tokenizer, rows, student_rows)
