"""A run is a folder; its stages fill it, each leaving a manifest last, and a finished stage is skipped.

data -> cache (the teacher's hidden states) -> train -> evaluate -> export (GGUF) -> report. A stage first sees to the
stages it needs, so any of them may be called on an empty folder.
"""

import json
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from . import __version__, gguf, llama, models, pair, ranks
from .cache import CachedTeacher, cache_bytes, cache_facts, cache_key, data_key, write_cache
from .card import model_card
from .checkpoint import (
    DamagedFile,
    atomic_path,
    mend,
    read_json,
    read_json_lines,
    read_manifest,
    seal,
    unseal,
    write_json,
    write_text,
    writing,
)
from .config import STREAM, RunConfig, changed, override, settings
from .curves import Curves
from .data import Collator, TokenReport, load_stem, tokenize_samples
from .data.domains import CARD_COUNTS
from .data.stream import write_stream
from .evaluate import derive, derive_gguf, evaluate_split, grade_derivations
from .explore.record import TEMPERATURES, TokenRecord, token_records
from .footprint import engine_flops, forward_flops, shape_of
from .presets import preset as named_preset
from .progress import progress
from .prompt import prompt_for
from .quantize import QUANTIZATIONS, importance_matrix, quantize
from .stages import Stages
from .teacher import OnlineTeacher, Teacher
from .train import DiscTrainer, DistilledStudent, first_drift, spikes, training_arguments

SPLITS = ("train", "eval")
HELD_OUT = ("eval", "novel")
"""The splits that are graded: in-kind problems, and problems of kinds that training never saw where these are kept."""
IN_MEMORY_BYTES = 1 << 30
"""Of a split's file, up to which its samples are held in memory."""

log = logging.getLogger(__name__)


def open_run(
    preset: str | None = None,
    run_dir: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    *,
    must_exist: bool = False,
) -> "Run":
    """The run in `run_dir` (default `runs/<preset>`), made if it does not exist.

    Without a preset, an existing run keeps its settings and a new one is `mini`. A folder made with other settings is a
    ValueError that lists them, since its finished stages would not be what the settings say.
    """
    disable_progress_bars()  # of transformers and datasets: a run shows its own
    transformers_logging.disable_progress_bar()
    base = named_preset(preset or "mini")
    folder = Path(run_dir) if run_dir else Path("runs") / base.preset
    if not str(folder).isprintable():
        raise ValueError(f"the run's folder is {str(folder)!r}; expected a name without control characters, in UTF-8")
    was = saved_config(folder) if (folder / "config.json").exists() else None
    if folder.is_dir() and was is None and any(path.suffix != ".tmp" for path in folder.iterdir()):
        raise ValueError(f"{folder} holds files but no config.json, so it is not a run; choose an empty folder")
    if must_exist and was is None:
        raise ValueError(f"there is no run in {folder}; `discnb run` makes one")
    config = override(was if was and preset is None else base, overrides or {})
    if was and (differing := changed(config.to_dict(), was.to_dict())):
        lines = (f"{name} = {new!r} (the run has {old!r})" for name, (new, old) in differing.items())
        raise ValueError(
            f"{folder} was made with other settings; choose another --run-dir for\n  " + "\n  ".join(lines)
        )
    ranks.wait()  # until all have seen whether there was a run
    if was is None and ranks.rank() == 0:
        write_json(folder / "config.json", seal(config.to_dict()))
    return Run(folder, config)


def saved_config(folder: Path) -> RunConfig:
    """The settings in a run's `config.json`; one that holds no settings is a ValueError that names it."""
    path = folder / "config.json"
    saved = read_json(path)
    if isinstance(saved, dict) and "seal" in saved:
        try:
            saved = unseal(path, saved)
        except DamagedFile as damage:
            raise ValueError(
                f"{damage}; put back what it said, delete the seal if it is to say this, or choose another --run-dir"
            ) from damage
    try:
        if not isinstance(saved, dict) or not isinstance(saved.get("preset"), str):
            raise ValueError("expected an object with the preset's name and a section per concern")
        if wrong := [name for name, section in saved.items() if name != "preset" and not isinstance(section, dict)]:
            raise ValueError(f"{wrong[0]!r} is no section of settings")
        # a setting that the run is older than had its preset's value
        return override(named_preset(saved["preset"]), settings(saved))
    except ValueError as error:
        raise ValueError(f"{path} is not of a run: {error}; mend it, or choose another --run-dir") from error


@dataclass
class Run:
    """One run's folder and settings, and its stages as methods; each returns its manifest."""

    folder: Path
    config: RunConfig
    shared: "Run | None" = None
    """Another run whose data and teacher this one uses, and so has none of its own."""

    @cached_property
    def stages(self) -> Stages:
        """What is done of this run."""
        return Stages(self.folder)

    def data(self) -> dict[str, Any]:
        """Write the samples as `data/train.parquet` and `data/eval.parquet`, and `data/novel.parquet` if asked for."""
        if self.shared:
            return self.shared.data()

        def work(folder: Path) -> dict[str, Any]:
            c = self.config.data
            if c.source.startswith(STREAM):
                used, skipped = write_stream(
                    c.source.removeprefix(STREAM),
                    folder,
                    {"train": c.train_samples, "eval": c.eval_samples},
                    seed=c.seed,
                    bad_rows=c.bad_rows,
                    revision=c.revision,
                )
                return {"available": used, "used": used, "skipped": skipped}
            loaded = load_stem(
                c.source,
                size=c.size,
                seed=c.seed,
                bad_rows=c.bad_rows,
                revision=c.revision,
                kinds=c.kinds,
                novel_kinds=c.novel_kinds,
            )
            used = {}
            for name, rows in loaded.items():
                limit = (c.train_samples if name == "train" else c.eval_samples) or len(rows)
                split = rows.select(range(min(limit, len(rows))))
                with atomic_path(folder / f"{name}.parquet") as temporary:
                    split.to_parquet(str(temporary))
                used[name] = len(split)
            available = {name: len(rows) for name, rows in loaded.items()}
            whole = c.size if c.source == "mini" else sum(CARD_COUNTS.values())
            skipped = whole - sum(available[name] for name in SPLITS)
            return {"available": available, "used": used, "skipped": skipped}

        return self.stages.do("data", work)

    def cache(self) -> dict[str, Any]:
        """Run the teacher once over both splits and keep its hidden states, head and tokenizer in `teacher/`."""
        if self.shared:
            return self.shared.cache()
        data = self.data()

        def work(folder: Path) -> dict[str, Any]:
            first = ranks.rank() == 0
            if first and pair.makes_teacher(self.config) and mend(folder / "model") is None:
                pair.make_teacher(self.config, self.samples("train"), folder / "model")
            ranks.wait()
            model, tokenizer = self.teacher_model()
            if first:
                with writing(folder / "tokenizer"):
                    tokenizer.save_pretrained(folder / "tokenizer")
            ranks.wait()
            vocabulary, storage = pair.shared_vocabulary(self.config, model, tokenizer), self.config.teacher.storage
            splits = {name: self.tokens(name) for name in SPLITS}
            teacher = OnlineTeacher(model, vocabulary)
            key = cache_key(model, self.tokenizer, splits, vocabulary=vocabulary, **self._cache_settings)
            total = sum(report["tokens"] for report in self.token_reports.values())
            per_token, head = cache_bytes(1, teacher.head, storage) - teacher.head.nbytes, teacher.head.nbytes
            if first:
                print(
                    f"teacher: {total:,} tokens at {per_token:,} bytes ({storage}) and a head of {head / 1e6:.0f} MB, "
                    f"{cache_bytes(total, teacher.head, storage) / 1e6:.0f} MB in all",
                    flush=True,
                )
            begin = time.monotonic()
            with progress("teacher", shown=first) as update:
                ran = write_cache(
                    folder,
                    teacher,
                    splits,
                    key,
                    rank=ranks.rank(),
                    world=ranks.world(),
                    batch_size=self.config.teacher.batch_size,
                    progress=lambda done, total: update(
                        done,
                        total,
                        f"{done:,} of {total:,} tokens, {done / (time.monotonic() - begin):.0f} tokens/s, "
                        f"{(head + done * per_token) / 1e6:.0f} MB",
                    ),
                )
            ran = sum(ranks.gather(ran))  # and so every rank has written its share
            facts = cache_facts(folder)
            length = total / max(1, sum(len(split) for split in splits.values()))
            work_per_token = sum(forward_flops(shape_of(model), round(length)).values())
            speed = ranks.speed(ran, time.monotonic() - begin, work_per_token, bf16=model.dtype == torch.bfloat16)
            speed["padding"] = facts["padding"]
            if error := facts.get("storage_kl"):
                print(f"teacher: {storage} costs a KL of {error['mean']:.2g} nats/token (max {error['max']:.2g})")
            name = self.config.teacher.model
            return {**facts, "teacher": name, "splits": self.token_reports, "speed": speed, "ranks": ranks.world()}

        return self.stages.do("cache", work, folder="teacher", needs=[data], together=True)

    def train(self) -> dict[str, Any]:
        """Distil the student into `student/`, from the newest complete checkpoint if there is one."""
        cache = self.cache()

        def work(folder: Path) -> dict[str, Any]:
            c = self.config.train
            teacher = self.teacher("train")
            initial = self.initial_student()
            gguf.check_exportable(initial.config, self.tokenizer)  # now, not after the training
            if c.activation_checkpointing:
                initial.activation_checkpointing_enable()
            shape = shape_of(initial)  # before it is shared out
            student = DistilledStudent(initial, self.config.objective, teacher.head).train()
            arguments = training_arguments(
                self.folder / "checkpoints",
                num_train_epochs=c.epochs,
                per_device_train_batch_size=c.batch_size,
                gradient_accumulation_steps=c.accumulation,
                learning_rate=c.learning_rate,
                lr_scheduler_type="cosine_with_min_lr",
                lr_scheduler_kwargs={"min_lr": c.min_learning_rate},
                warmup_steps=c.warmup_steps,
                weight_decay=c.weight_decay,
                max_grad_norm=c.max_grad_norm,
                bf16=c.bf16,
                seed=c.seed,
                save_steps=c.checkpoint_steps,
                save_total_limit=None,  # DiscTrainer keeps the newest complete ones
            )
            with progress("train", shown=ranks.rank() == 0) as update:

                def show(row: dict[str, float], steps: int) -> None:
                    update(
                        row["step"],
                        steps,
                        f"step {row['step']:.0f}/{steps}  loss {row['loss']:.3f}  KL {row['kl']:.3f}  "
                        f"energy {row['energy']:.3f}  {row['tokens_per_second']:.0f} tokens/s",
                    )

                trainer = DiscTrainer(
                    student,
                    arguments,
                    teacher=teacher,
                    metrics_path=self.folder / "metrics.jsonl",
                    proof_weight=(c.proof_weight_first, c.proof_weight_last),
                    keep_checkpoints=c.keep_checkpoints,
                    drift_window=c.drift_window,
                    sharded=c.parallel == "fsdp",
                    progress=show,
                    train_dataset=self.tokens("train"),
                    data_collator=self.collator,
                )
                if ranks.rank() == 0:
                    trainer.add_callback(Curves(self.folder / "tensorboard"))
                trainer.train()
            # what the method itself asks for: forward, twice as much backward, the signals; not what is done again
            length = self.token_reports["train"]["tokens"] / self.token_reports["train"]["samples"]
            work_per_token = 3 * sum(forward_flops(shape, round(length)).values())
            work_per_token += engine_flops(shape.head, teacher.head.numel(), kept=True)
            speed = trainer.speed(work_per_token)
            with writing(folder):
                trainer.save_student(folder)
                if ranks.rank() == 0:
                    self.tokenizer.save_pretrained(folder)
            metrics = self.metrics()
            return {
                "steps": trainer.state.global_step,
                "drift": first_drift(metrics, c.drift_window),
                "spikes": spikes(metrics),
                "layers": student.student.config.num_hidden_layers,
                "parameters": student.student.num_parameters(),
                "speed": speed,
                "ranks": ranks.world(),
            }

        return self.stages.do(
            "train",
            work,
            folder="student",
            needs=[cache],
            beside=["checkpoints", "tensorboard"],
            record="metrics.jsonl",
            together=True,
        )

    def evaluate(self) -> dict[str, Any]:
        """Measure the held-out split before and after training; records per sample in `eval/`."""
        train = self.train()

        def work(folder: Path) -> dict[str, Any]:
            teacher, split = self.teacher("eval"), self.tokens("eval")
            domains = self.samples("eval")["domain"]
            contenders: dict[str, Callable[[], Teacher]] = {
                "before": lambda: OnlineTeacher(self.initial_student(), len(teacher.head), torch.float32),
                "after": lambda: OnlineTeacher(self.student()[0], len(teacher.head), torch.float32),
                "teacher": lambda: teacher,
            }
            reports = {}
            for name, build in contenders.items():
                report, records = evaluate_split(build(), teacher, split, self.collator, self.config.objective)
                reports[name] = report.to_dict()
                lines = (json.dumps({"domain": domains[r["index"]], **r}) + "\n" for r in records)
                write_text(folder / f"{name}.jsonl", "".join(lines))
            return {"reports": reports}

        return self.stages.do("eval", work, needs=[train])

    def export(self) -> dict[str, Any]:
        """Write the student as GGUF, quantise it, and compare every file with PyTorch on held-out text."""
        train = self.train()

        def work(folder: Path) -> dict[str, Any]:
            c = self.config.export
            student, tokenizer = self.student()
            tokens = {name: [torch.tensor(ids) for ids in self.tokens(name)["input_ids"]] for name in SPLITS}
            held_out = tokens["eval"][: c.parity_samples]
            hidden, head = llama.final_hidden(student, held_out), models.head_weight(student).detach()
            importance = importance_matrix(student, tokens["train"][: c.importance_samples])
            full = gguf.write_gguf(student, tokenizer, self.gguf_file("F16"), "F16")
            question = self.samples("eval")[0]["question"]
            files = {}
            with progress("export") as update:
                for done, kind in enumerate(QUANTIZATIONS, start=1):
                    path = self.gguf_file(kind)
                    if kind != "F16":
                        use = importance if kind.endswith("K_M") else None
                        quantize(full, path, kind, importance=use, threads=c.threads)
                    parity = llama.parity(path, held_out, hidden, head, threads=c.threads)
                    with llama.LlamaModel(path, threads=c.threads) as model:
                        text = "".join(model.generate(prompt_for(question), max_new_tokens=c.generated_tokens))
                    files[kind] = {**parity._asdict(), "generation": text}
                    update(done, len(QUANTIZATIONS), f"{kind}  KL to PyTorch {parity.kl_to_torch:.2g} nats/token")
            return {"question": question, "gguf": files}

        return self.stages.do("export", work, folder="gguf", needs=[train])

    def grade(self) -> dict[str, Any]:
        """Have every model and GGUF file answer held-out problems and grade them; records per problem in `grades/`."""
        train, export = self.train(), self.export()

        def work(folder: Path) -> dict[str, Any]:
            problems, limit, threads = self.problems(), self.config.grade.new_tokens, self.config.export.threads
            loaded: dict[str, Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]] = {
                "teacher": self.teacher_model,
                "before": lambda: (self.initial_student(), self.tokenizer),
                "after": self.student,
            }
            questions, reports = [problem["question"] for problem in problems], dict[str, Any]()
            with progress("grade") as update:
                for done, name in enumerate(names := (*loaded, *QUANTIZATIONS)):

                    def show(answered: int, total: int, done: int = done, name: str = name) -> None:
                        update(done * total + answered, len(names) * total, f"{name}  {answered} of {total} problems")

                    if name in loaded:
                        texts = derive(*loaded[name](), questions, max_new_tokens=limit, progress=show)
                    else:
                        file = self.gguf_file(name)
                        texts = derive_gguf(file, questions, max_new_tokens=limit, threads=threads, progress=show)
                    reports[name], records = grade_derivations(problems, texts)
                    write_text(folder / f"{name}.jsonl", "".join(json.dumps(record) + "\n" for record in records))
            return {"grades": reports}

        return self.stages.do("grade", work, folder="grades", needs=[train, export])

    def report(self) -> dict[str, Any]:
        """Gather `results.json` and write the model card; returns the results."""
        data, cache, train = self.data(), self.cache(), self.train()
        evaluation, export, grades = self.evaluate(), self.export(), self.grade()
        stages = {
            "data": data, "cache": cache, "train": train, "eval": evaluation, "export": export, "grade": grades,
        }  # fmt: skip
        results = {
            "preset": self.config.preset,
            "teacher": self.config.teacher.model,
            "student": {
                "model": self.config.student.model,
                "layers": train["layers"],
                "parameters": train["parameters"],
            },
            "seconds": {name: manifest["seconds"] for name, manifest in stages.items()},
            "samples": {name: data[name] for name in ("available", "used", "skipped")},
            "tokens": cache["splits"],
            "steps": train["steps"],
            "eval": evaluation["reports"],
            "gguf": export["gguf"],
            "grades": grades["grades"],
            "question": export["question"],
            "versions": {"discnb": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        write_json(self.folder / "results.json", results)
        write_text(self.folder / "README.md", model_card(self.config, results))
        return results

    # What the stages made, for notebooks and later stages.

    def samples(self, split: str) -> Dataset:
        """A split's samples: question, cot, response, domain."""
        path = self._source / "data" / f"{split}.parquet"
        large = path.stat().st_size > IN_MEMORY_BYTES
        # a large one is a memory map, whose file is as good as the parquet file is old
        where = {"cache_dir": str(self._source / "arrow")} if large else {"keep_in_memory": True}
        return Dataset.from_parquet(str(path), **where)

    def problems(self) -> list[dict[str, str]]:
        """The held-out samples that are graded, with their `split`."""
        splits = HELD_OUT if self.config.data.novel_kinds else HELD_OUT[:1]
        chosen = {name: self.samples(name) for name in splits}
        return [
            {"split": name, **samples[i]}
            for name, samples in chosen.items()
            for i in range(min(self.config.grade.samples, len(samples)))
        ]

    def tokens(self, split: str) -> Dataset:
        """A split's features: input_ids, proof, index."""
        return self._tokenized[split][0]

    @property
    def token_reports(self) -> dict[str, dict[str, int]]:
        """What tokenisation made of each split."""
        return {name: report.to_dict() for name, (_, report) in self._tokenized.items()}

    @cached_property
    def _tokenized(self) -> dict[str, tuple[Dataset, TokenReport]]:
        if self.shared:
            return self.shared._tokenized
        length = self.config.data.max_length
        return {name: tokenize_samples(self.samples(name), self.tokenizer, length) for name in SPLITS}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer teacher and student share."""
        return models.read_tokenizer(str(self._source / "teacher" / "tokenizer"))

    @cached_property
    def collator(self) -> Collator:
        pad = self.tokenizer.pad_token_id
        return Collator(self.tokenizer.eos_token_id if pad is None else pad)

    def metrics(self) -> list[dict[str, float]]:
        """One row per optimizer step."""
        return read_json_lines(self.folder / "metrics.jsonl")

    def teacher_model(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The teacher itself, which only the cache, a pruned student and grading need."""
        return pair.load_teacher(self.config, self._source / "teacher" / "model")

    def initial_student(self) -> PreTrainedModel:
        """The student before training in float32, the same at every call."""
        return pair.initial_student(self.config, self.tokenizer, lambda: self.teacher_model()[0])

    def student(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The distilled student and its tokenizer."""
        return models.load_model(str(self.folder / "student"), device=str(ranks.device()))

    def gguf_file(self, kind: str) -> Path:
        """Where the GGUF file of a quantisation lies."""
        return self.folder / "gguf" / f"student-{kind}.gguf"

    def teacher(self, split: str) -> CachedTeacher:
        """The teacher as the cache has it."""
        manifest = self.cache()
        key = data_key(self.tokenizer, {split: self.tokens(split)}, **self._cache_settings)
        return CachedTeacher(self._source / "teacher", split, key=key, manifest=manifest)

    def records(self, split: str = "eval", limit: int | None = None) -> list[TokenRecord]:
        """What the explorer shows of a split's first `limit` samples: the student before and, if it is trained, after.

        Nothing is written and no stage is begun: the teacher's cache must be complete.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; expected at least 1 sample, or None for all")
        teacher = CachedTeacher(self.folder / "teacher", split, manifest=self.stages.done.get("cache"))
        samples = self.samples(split)
        samples = samples.select(range(min(limit or len(samples), len(samples))))
        if len(samples) == 0:
            raise ValueError(f"the split {split!r} of {self.folder} has no samples; try {' or '.join(SPLITS)}")
        students: dict[str, Callable[[], Teacher]] = {
            "before": lambda: OnlineTeacher(self.initial_student(), len(teacher.head), torch.float32)
        }
        if "train" in self.stages.done or read_manifest(self.folder / "student") is not None:
            students["after"] = lambda: OnlineTeacher(self.student()[0], len(teacher.head), torch.float32)
        # the run's own temperature among them, so that its settings can be shown
        temperatures = sorted({*TEMPERATURES, self.config.objective.temperature})
        with progress("explorer") as update:
            return token_records(
                students,
                teacher,
                samples,
                self.tokenizer,
                self.collator,
                max_length=self.config.data.max_length,
                temperatures=temperatures,
                progress=lambda done, total: update(done, total, f"{done} of {total} looks at a derivation"),
            )

    @property
    def _source(self) -> Path:
        """Where the data and the teacher are."""
        return (self.shared or self).folder

    @property
    def _cache_settings(self) -> dict[str, Any]:
        c = self.config
        return {
            "source": c.teacher.model,
            "revision": c.teacher.revision,
            "max_length": c.data.max_length,
            "storage": c.teacher.storage,
        }
