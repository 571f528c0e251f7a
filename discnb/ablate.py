"""The ablation: arms × seeds over one teacher's cache, each cell a run of its own, and one summary of them all.

    runs/ablation-tiny/            the base: a run, whose data and teacher every cell shares
        cells/disc-1/              a cell: a run with a student, metrics, and `figures/`, what was measured of it
        summary.json               every cell's figures, and what they say together

Cells are independent, so any number of processes may work on a study; a cell that is done is skipped.
"""

import contextlib
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from . import __version__
from .arms import ARMS
from .checkpoint import atomic_path, write_json, write_text
from .compare import BASELINE, METRICS, compare
from .config import settings
from .evaluate import derive, grade_derivations, measure_tokens, report_split
from .objective import DiscObjective
from .run import Run, open_run
from .teacher import OnlineTeacher, Teacher

THREADS = 1
"""Of the base and of every cell: the last bits of a result depend on it, and more would wait for one another."""


@dataclass(frozen=True, slots=True)
class Study:
    """A preset for the base, and which arms are compared over which seeds."""

    preset: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    curves: bool = False
    """Does the summary hold every step of every training?"""


STUDIES = {
    "tiny": Study("ablation_tiny", tuple(ARMS), (1, 2, 3, 4, 5)),
    "mini": Study(
        "ablation_mini", (BASELINE, "disc", "disc_random", "disc_no_smoothing", "disc_card", "ce"), (1, 2, 3)
    ),
    "drift": Study("ablation_drift", (BASELINE, "ce"), (1,), curves=True),
}


def ablate(
    study: str,
    folder: str | Path | None = None,
    *,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    workers: int = 2,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run what is missing of a study and return its summary, which is written beside the cells.

    `folder` is runs/ablation-<study> if not given; `arms` and `seeds` take some of the study's place. Cells in the
    hands of another process are left to it and are not in the summary.
    """
    names, numbers = _chosen(study, arms, seeds)
    base = open_base(study, folder, overrides)
    teacher = prepare(base)
    cells = [(arm, seed) for seed in numbers for arm in names]
    begin, done, busy = time.monotonic(), 0, list[str]()
    context = get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(cells)), mp_context=context) as pool:
        jobs = {pool.submit(work, base.folder, arm, seed, base.stages.done): (arm, seed) for arm, seed in cells}
        try:
            for job in as_completed(jobs):
                arm, seed = jobs[job]
                figures = job.result()
                done += 1
                left = (time.monotonic() - begin) / done * (len(cells) - done)
                if figures is None:
                    busy.append(f"{arm}-{seed}")
                said = "in another process" if figures is None else f"KL {figures['kl']:.4f}"
                print(f"{done}/{len(cells)}  {arm}-{seed}  {said}  {left / 60:.0f} min left", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if busy:
        print(f"{len(busy)} cells are another process's and not in the summary: {', '.join(busy)}", flush=True)
    summary = summarise(base, teacher, study)
    write_json(base.folder / "summary.json", summary)
    return summary


def open_base(study: str, folder: str | Path | None = None, overrides: dict[str, Any] | None = None) -> Run:
    """The study's base, made if it is not there."""
    return open_run(STUDIES[study].preset, folder or Path("runs") / f"ablation-{study}", overrides)


def prepare(base: Run) -> dict[str, Any]:
    """The base's data and teacher on disk, and the teacher's own figures, which are returned."""
    torch.set_num_threads(THREADS)
    cache = base.cache()
    taught = base.teacher("eval")

    def contender() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Teacher]:
        return *base.teacher_model(), taught

    facts = base.stages.do("teacher-figures", lambda folder: measure(base, contender, folder), needs=[cache])
    return {**facts["figures"], "weights": cache["key"]["weights"]}


def cell_run(base: Run, arm: str, seed: int, folder: Path | None = None) -> Run:
    """The run of one cell: the base's settings with the arm's objective and the seed of its order and student."""
    config = replace(base.config, objective=replace(ARMS[arm], seed=seed), train=replace(base.config.train, seed=seed))
    run = open_run(config.preset, folder or base.folder / "cells" / f"{arm}-{seed}", settings(config.to_dict()))
    run.shared = base
    return run


def work(folder: Path, arm: str, seed: int, done: dict[str, Any]) -> dict[str, Any] | None:
    """One cell's figures, made if they are not there; None where another process makes them. `done` is the base's."""
    torch.set_num_threads(THREADS)
    base = open_run(run_dir=folder, must_exist=True)
    base.stages.done.update(done)
    cells = folder / "cells"
    cells.mkdir(exist_ok=True)
    try:
        with FileLock(cells / f"{arm}-{seed}.lock", timeout=0), _told_to(cells / f"{arm}-{seed}.log"):
            return make_cell(cell_run(base, arm, seed))
    except Timeout:
        return None


def make_cell(run: Run) -> dict[str, Any]:
    """Train a cell's student and measure it; returns the figures."""
    train = run.train()

    def contender() -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Teacher]:
        model, tokenizer = run.student()
        return model, tokenizer, OnlineTeacher(model, len(run.teacher("eval").head), torch.float32)

    facts = run.stages.do("figures", lambda folder: measure(run, contender, folder), needs=[train])
    for leftover in ("checkpoints", "tensorboard"):  # the student is trained, and there are many of them
        shutil.rmtree(run.folder / leftover, ignore_errors=True)
    return facts["figures"]


def measure(
    run: Run, contender: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase, Teacher]], folder: Path
) -> dict[str, Any]:
    """A model's `figures` on the held-out splits; its KL per token and its derivations are kept in `folder`.

    All arms are measured alike, as the published objective sees them.
    """
    model, tokenizer, states = contender()
    split, objective = run.tokens("eval"), DiscObjective()
    tokens = measure_tokens(states, run.teacher("eval"), split, run.collator, objective)
    report, _ = report_split(tokens, objective, split["index"])
    kept = {name: torch.cat([getattr(sample, name) for sample in tokens]) for name in ("kl", "pivot")}
    with atomic_path(folder / "tokens.safetensors") as temporary:
        save_file(kept, temporary)
    problems = run.problems()
    written = derive(
        model, tokenizer, [problem["question"] for problem in problems], max_new_tokens=run.config.grade.new_tokens
    )
    grades, records = grade_derivations(problems, written)
    write_text(folder / "derivations.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    figures = {**report.to_dict(), "accuracy": grades["eval"]["correct"] / grades["eval"]["problems"]}
    novel = grades.get("novel")
    figures["accuracy_novel"] = novel and novel["correct"] / novel["problems"]
    return {"figures": figures, "grades": grades}


def summarise(base: Run, teacher: dict[str, Any], study: str) -> dict[str, Any]:
    """Every finished cell's figures, arm by arm, and their comparison with the baseline."""
    rows, runs = [], dict[tuple[str, int], Run]()
    for place in sorted((base.folder / "cells").glob("*/figures/manifest.json")):
        arm, _, seed = place.parent.parent.name.rpartition("-")
        run = runs[arm, int(seed)] = cell_run(base, arm, int(seed))
        rows.append({"arm": arm, "seed": int(seed), **make_cell(run)})
    rows.sort(key=lambda row: (list(ARMS).index(row["arm"]), row["seed"]))
    curves = {}
    for row in rows:
        run = runs[row["arm"], row["seed"]]
        row["kl_at_pivots"] = kl_at_pivots(base, row["arm"], row["seed"])
        row["drift"] = run.train()["drift"]
        if STUDIES[study].curves:
            curves[f"{row['arm']}-{row['seed']}"] = run.metrics()
    return {
        "study": study,
        "settings": base.config.to_dict(),
        "versions": {"discnb": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "steps": runs[rows[0]["arm"], rows[0]["seed"]].train()["steps"],
        "metrics": METRICS,
        "baseline": BASELINE,
        "teacher": teacher,
        "cells": rows,
        "arms": compare(rows),
        "curves": curves,
    }


def kl_at_pivots(base: Run, arm: str, seed: int) -> float | None:
    """A cell's mean KL at the pivots of the baseline's student of the same seed, so that arms share their tokens."""
    mine, its = (
        base.folder / "cells" / f"{name}-{seed}" / "figures" / "tokens.safetensors" for name in (arm, BASELINE)
    )
    if not its.exists():
        return None
    return float(load_file(mine)["kl"].double()[load_file(its)["pivot"]].mean())


def check(
    study: str,
    committed: dict[str, Any],
    folder: str | Path | None = None,
    *,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Run cells anew and set their figures beside the committed ones, `was` and `is`.

    By default two cells: the baseline and DISC with the first committed seed. The base is used if it is there and made
    if it is not; its teacher's weights are compared too.
    """
    known = {(cell["arm"], cell["seed"]): cell for cell in committed["cells"]}
    cells = [(arm, seed) for arm in arms or (BASELINE, "disc") for seed in seeds or [min(seed for _, seed in known)]]
    if missing := [f"{arm}-{seed}" for arm, seed in cells if (arm, seed) not in known]:
        raise ValueError(f"the committed summary has no cell {', '.join(missing)}; choose --arms and --seeds it has")
    base = open_base(study, folder, overrides)
    teacher = prepare(base)
    rows = [
        {"cell": "teacher", "metric": name, "was": committed["teacher"][name], "is": teacher[name]} for name in teacher
    ]
    torch.set_num_threads(THREADS)
    for arm, seed in cells:
        place = base.folder / "check" / f"{arm}-{seed}"
        shutil.rmtree(place, ignore_errors=True)
        figures = make_cell(cell_run(base, arm, seed, place))
        cell = f"{arm}-{seed}"
        rows += [{"cell": cell, "metric": name, "was": known[arm, seed][name], "is": figures[name]} for name in figures]
    return rows


def _chosen(
    study: str, arms: Sequence[str] | None, seeds: Sequence[int] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The arms and seeds to run, the baseline among them."""
    if study not in STUDIES:
        raise ValueError(f"there is no study {study!r}; expected one of {', '.join(STUDIES)}")
    names = tuple(arms or STUDIES[study].arms)
    if unknown := [name for name in names if name not in ARMS]:
        raise ValueError(f"there is no arm {unknown[0]!r}; expected some of {', '.join(ARMS)}")
    return tuple(dict.fromkeys((BASELINE, *names))), tuple(seeds or STUDIES[study].seeds)


@contextlib.contextmanager
def _told_to(path: Path) -> Iterator[None]:
    """What a cell says of itself goes to its own log."""
    with path.open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
