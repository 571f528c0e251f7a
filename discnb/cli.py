"""`discnb`: a thin front to the stages of a run."""

import json
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from . import show
from .checkpoint import read_json, write_json
from .interrupts import Stopped
from .notebook import NotebookError
from .printable import printable
from .show import console

if TYPE_CHECKING:
    from .run import Run

EXIT_CODES = {
    0: "it was done",
    1: "`discnb doctor` found something broken; or a fault of discnb's own, which shows a traceback",
    2: "a mistake in what was given, a file that is missing or damaged, or a stage that failed: the message says which",
    130: "interrupted; the same command goes on where it stopped",
    143: "terminated, likewise; a training ends its step and saves it first, and so it does at an interrupt",
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Discrepancy-informed distillation: data, teacher, training, GGUF and llama.cpp, one stage or all.",
    epilog="Exit codes: " + "; ".join(f"{code}, {what}" for code, what in EXIT_CODES.items()) + ".",
)

Preset = Annotated[
    str | None,
    typer.Option(
        help="Settings to start from: tiny, mini, book, stem_proof_1_7b, sft_1_7b, thinking_0_6b, thinking_1_7b, "
        "coder_1_7b, cpu_fp32, ablation_tiny, ablation_mini or ablation_drift. An existing run keeps its own.",
        show_default=False,
    ),
]
RunDir = Annotated[
    Path | None, typer.Option(help="The run's folder; runs/PRESET if not given.", show_default=False, file_okay=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, e.g. train.learning_rate=1e-4. Repeatable.", show_default=False),
]


@app.command()
def run(
    preset: Preset = None,
    run_dir: RunDir = None,
    settings: Settings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Walk every stage on 8 samples with the preset's models shrunken.")
    ] = False,
) -> None:
    """Run all stages in a notebook, kept in the run's folder, and print what came out. Done stages are skipped."""
    from . import ranks
    from .notebook import execute

    ranks.join()
    if ranks.world() > 1:
        raise ValueError("`run` works in one process; under torchrun call `cache`, then `train`, then `run` without it")
    opened = _open(preset, run_dir, settings, dry=dry_run)
    execute(opened)
    show.results(opened)


@app.command()
def data(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Write the samples."""
    manifest = _open(preset, run_dir, settings).data()
    console.print({name: manifest[name] for name in ("available", "used")})


@app.command()
def cache(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Run the teacher once and keep its hidden states."""
    manifest = _open(preset, run_dir, settings).cache()
    megabytes = sum(facts["bytes"] for name, facts in manifest["files"].items() if name.endswith(".safetensors")) / 1e6
    console.print(manifest["splits"])
    console.print({"megabytes": round(megabytes, 1), "seconds": manifest["seconds"]})


@app.command()
def train(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Distil the student, from the newest complete checkpoint if there is one."""
    manifest = _open(preset, run_dir, settings).train()
    console.print({name: manifest[name] for name in ("steps", "layers", "parameters", "seconds")})


@app.command("eval")
def evaluate(
    preset: Preset = None,
    run_dir: RunDir = None,
    settings: Settings = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="`lm-eval`: instead, have the student answer problems through lm-evaluation-harness.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="The suite's tasks, with commas between: discnb_stem (if not given), discnb_gsm8k, discnb_math500, or "
            "any of the harness's own.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many problems of each task.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="For the suite, another model: smollm2, a .gguf file, a folder or a hub id. Without --run-dir or "
            "--preset it needs no run.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="The suite's problems at a time; 8 if not given.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length limit of a suite's answer; 512 if not given.", show_default=False)
    ] = None,
) -> None:
    """Measure the student on the held-out split, before and after training; or what it answers, with --suite."""
    if suite is None:
        if any(option is not None for option in (tasks, limit, model, batch_size, max_tokens)):
            raise ValueError(
                "--tasks, --limit, --model, --batch-size and --max-tokens belong to a suite; add --suite lm-eval"
            )
        show.evaluation(_open(preset, run_dir, settings).evaluate()["reports"])
        return
    if suite != "lm-eval":
        raise ValueError(f"there is no suite {suite!r}; expected lm-eval")
    from .harness import lm_eval
    from .models import load_model

    names = [name.strip() for name in (tasks or "discnb_stem").split(",") if name.strip()]
    opened = None if model and not run_dir and not preset else _open(preset, run_dir, settings)
    if opened:
        opened.data() if model else opened.train()
    loaded, tokenizer = opened.student() if opened and not model else load_model(model or "")
    split = opened.folder / "data" / "eval.parquet" if opened and "discnb_stem" in names else None
    found = lm_eval(
        loaded,
        tokenizer,
        names,
        samples=split,
        limit=limit,
        batch_size=batch_size or 8,
        max_new_tokens=max_tokens or 512,
    )
    show.answers(found["results"])
    if opened:
        # of another model, beside the student's
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", model).strip("-.") if model else "results"
        path = opened.folder / "lm-eval" / f"{name}.json"
        write_json(path, {"model": model or "student", **found})
        console.print(f"Every answer is in {path}", soft_wrap=True)


@app.command()
def export(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Write the GGUF files and compare each with PyTorch."""
    show.files(_open(preset, run_dir, settings).export()["gguf"])


@app.command()
def grade(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Have teacher, student and every GGUF file answer held-out problems, and grade the answers."""
    show.grades(_open(preset, run_dir, settings).grade()["grades"])


@app.command()
def ablate(
    study: Annotated[str, typer.Argument(help="Which study: tiny, mini or drift.")] = "tiny",
    run_dir: Annotated[
        Path | None, typer.Option(help="Its folder; runs/ablation-STUDY if not given.", show_default=False)
    ] = None,
    arms: Annotated[
        str | None, typer.Option(help="Only these arms, with commas; the study's own if not given.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Only these seeds, with commas, e.g. 1,2,3.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Cells at a time, a core each.")] = 2,
    check: Annotated[
        bool, typer.Option("--check", help="Run two cells anew and compare them with the committed summary.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="The summary to check; the committed one if not given.", show_default=False)
    ] = None,
    settings: Settings = None,
) -> None:
    """Train every arm with every seed over one teacher, and say what differs from uniform distillation, how surely."""
    from . import ablate as study_of
    from .results import committed

    names = arms.split(",") if arms else None
    numbers = [int(seed) for seed in seeds.split(",")] if seeds else None
    if check:
        summary = read_json(against) if against else committed(f"ablation/{study}.json")
        rows = study_of.check(study, summary, run_dir, arms=names, seeds=numbers, overrides=_changes(settings))
        show.check(rows)
        return
    summary = study_of.ablate(study, run_dir, arms=names, seeds=numbers, workers=workers, overrides=_changes(settings))
    show.ablation(summary)


@app.command()
def plan(
    preset: Annotated[str, typer.Option(help="The settings to plan, as for `discnb run`.")] = "stem_proof_1_7b",
    gpu: Annotated[
        str | None,
        typer.Option(
            help="H100-80, H200, B200, A100-80, A100-40, L40S, RTX4090, A10, L4 or CPU; H100-80 if not given, or the "
            "CPU for a preset in float32.",
            show_default=False,
        ),
    ] = None,
    gpus: Annotated[int, typer.Option(help="How many of them.")] = 1,
    samples: Annotated[
        float | None, typer.Option(help="Samples, if not the source's own number, e.g. 1e9.", show_default=False)
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Mean tokens of a sample, if measured; else the most.", show_default=False)
    ] = None,
    mfu: Annotated[float, typer.Option(help="Share of the peak that products reach.")] = 0.4,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say what a run needs before a machine is rented: memory, disk, work and minutes, what fits, what breaks first."""
    from .config import override
    from .plan import plan as make_plan
    from .presets import preset as named_preset
    from .scale import scale

    for name, value in {"--samples": samples, "--tokens": tokens, "--mfu": mfu, "--gpus": gpus}.items():
        if value is not None and not 0 < value < 2**63:
            raise ValueError(f"{name} is {value}; expected a number > 0")
    config = override(named_preset(preset), _changes(settings))
    count = None if samples is None else round(samples)
    made = make_plan(config, gpu=gpu, gpus=gpus, samples=count, tokens_per_sample=tokens, mfu=mfu)
    if as_json:
        print(json.dumps({**made.to_dict(), "scale": scale(made).to_dict()}, indent=2))
        return
    show.plan(made)
    if samples is not None:
        show.scale(made)


@app.command()
def explore(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("explorer.html"),
    split: Annotated[str, typer.Option(help="Which samples: eval or train.")] = "eval",
    limit: Annotated[int, typer.Option(help="At most this many samples, the first ones.")] = 20,
) -> None:
    """Write the pivot explorer as one page that opens from disk, without a network."""
    from .explore.explorer import PivotExplorer

    if output.is_dir():
        raise ValueError(f"{output} is a folder; expected a file to write, such as {output / 'explorer.html'}")
    explorer = PivotExplorer.from_run(run_dir, split, limit)
    page, tokens = explorer.to_html(output), sum(len(record.tokens) for record in explorer.records)
    console.print(
        f"{page}: {len(explorer.records)} samples, {tokens:,} tokens, {', '.join(explorer.records[0].kl)}; "
        f"{page.stat().st_size / 1000:.0f} KB",
        soft_wrap=True,
    )


@app.command()
def chat(
    question: Annotated[
        str | None, typer.Argument(help="One problem; asked for if not given.", show_default=False)
    ] = None,
    preset: Preset = None,
    run_dir: RunDir = None,
    kind: Annotated[str, typer.Option(help="Which GGUF file: F16, Q8_0, Q5_K_M or Q4_K_M.")] = "Q4_K_M",
    max_tokens: Annotated[int, typer.Option(min=1, help="Length limit of an answer.")] = 256,
) -> None:
    """Have the distilled student derive an answer, streaming, through llama.cpp."""
    from .llama import LlamaModel
    from .prompt import prompt_for
    from .quantize import QUANTIZATIONS
    from .run import open_run

    if kind not in QUANTIZATIONS:
        raise ValueError(f"there is no file of kind {kind!r}; expected one of {', '.join(QUANTIZATIONS)}")
    opened = open_run(preset, run_dir, must_exist=True)
    path = opened.gguf_file(kind)
    if not path.exists():
        raise ValueError(f"{path} does not exist; `discnb export` writes it")
    with LlamaModel(path, threads=opened.config.export.threads) as model:
        while True:
            text = question or console.input("Problem (empty to leave): ").strip()
            if not text:
                return
            if text != text.encode(errors="replace").decode():
                raise ValueError("the problem is not valid UTF-8; expected text")
            for piece in model.generate(prompt_for(text), max_new_tokens=max_tokens):
                print(printable(piece), end="", flush=True)
            print()
            if question:
                return


@app.command()
def doctor(
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run's folder to look at too.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Look at the machine, the packages, llama.cpp, the weights and a run's files, and say what to mend."""
    from .doctor import examine

    found = []
    for finding in examine(run_dir):
        found.append(finding)
        if not as_json:
            colour = {"ok": "green", "missing": "yellow", "broken": "bold red"}[finding.state]
            mend = f"; {finding.mend}" if finding.mend else ""
            console.print(f"{finding.state:8}", style=colour, end="")
            console.print(printable(f"{finding.what}: {finding.detail}{mend}"), soft_wrap=True)
    broken = sum(finding.state == "broken" for finding in found)
    if as_json:
        print(json.dumps({"broken": broken, "findings": [finding.to_dict() for finding in found]}, indent=2))
    if broken:
        raise typer.Exit(1)


def main() -> None:
    """The command's entry: a user's mistake is one line on standard error and exit code 2, not a traceback."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    try:
        app()
    except (ValueError, FloatingPointError, OSError, ImportError, Stopped, NotebookError) as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"discnb: {printable(str(error))}")
        sys.exit(128 + stopped if (stopped := getattr(error, "stopped_by", None)) else 2)


class _Printable(logging.Formatter):
    """Warnings name files and quote texts from outside."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _changes(settings: list[str] | None) -> dict[str, Any]:
    """The settings given as `--set name=value`."""
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting!r}; expected name=value, e.g. train.learning_rate=1e-4")
        changes[name.strip()] = value.strip()
    return changes


def _open(preset: str | None, run_dir: Path | None, settings: list[str] | None, dry: bool = False) -> "Run":
    changes = _changes(settings)
    if dry:
        from . import presets

        preset = preset or "mini"
        changes = {**presets.dry_run(presets.preset(preset)), **changes}
        run_dir = run_dir or Path("runs") / f"{preset}-dry"
    from . import ranks
    from .run import open_run

    ranks.join()
    return open_run(preset, run_dir, changes)
