"""`discnb`: a thin front to the stages of a run."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .checkpoint import read_json
from .notebook import NotebookError

if TYPE_CHECKING:
    from .run import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Discrepancy-informed distillation: data, teacher, training, GGUF and llama.cpp, one stage or all.",
)
console = Console(highlight=False)

Preset = Annotated[
    str | None,
    typer.Option(
        help="Settings to start from: tiny, mini, book, stem_proof_1_7b, sft_1_7b, thinking_0_6b, thinking_1_7b, "
        "coder_1_7b or cpu_fp32. An existing run keeps its own.",
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
def run(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Run all stages in a notebook, kept in the run's folder, and print what came out. Done stages are skipped."""
    from .notebook import execute

    opened = _open(preset, run_dir, settings)
    execute(opened)
    _show_results(opened)


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
def evaluate(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Measure the student on the held-out split, before and after training."""
    _show_evaluation(_open(preset, run_dir, settings).evaluate()["reports"])


@app.command()
def export(preset: Preset = None, run_dir: RunDir = None, settings: Settings = None) -> None:
    """Write the GGUF files and compare each with PyTorch."""
    _show_files(_open(preset, run_dir, settings).export()["gguf"])


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
            text = question or console.input("[bold]Problem[/] (empty to leave): ").strip()
            if not text:
                return
            for piece in model.generate(prompt_for(text), max_new_tokens=max_tokens):
                print(piece, end="", flush=True)
            print()
            if question:
                return


def main() -> None:
    """The command's entry: a user's mistake is one line on standard error and exit code 2, not a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        app()
    except (ValueError, FloatingPointError, OSError, ImportError, NotebookError) as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"discnb: {error}")
        sys.exit(2)


def _open(preset: str | None, run_dir: Path | None, settings: list[str] | None) -> "Run":
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting!r}; expected name=value, e.g. train.learning_rate=1e-4")
        changes[name.strip()] = value.strip()
    from .run import open_run

    return open_run(preset, run_dir, changes)


def _show_results(opened: "Run") -> None:
    results = read_json(opened.folder / "results.json")
    _show_evaluation(results["eval"])
    _show_files(results["gguf"])
    console.print("[bold]A derivation by the Q4_K_M file[/]\n")
    print(f"Problem: {results['question']}\n\n{results['gguf']['Q4_K_M']['generation'].strip()}\n")
    seconds = results["seconds"]
    spent = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    print(f"{sum(seconds.values()):.0f} s ({spent}). Everything is in {opened.folder}/")


def _show_evaluation(reports: dict[str, dict[str, float]]) -> None:
    table = Table("held-out split, nats per token", *reports, title="Student against teacher")
    labels = {
        "kl": "KL to the teacher",
        "pivot_kl": "  of it at pivots",
        "smooth_kl": "  of it elsewhere",
        "ce": "cross-entropy",
        "perplexity": "perplexity (no unit)",
        "energy": "gap energy (nats²)",
    }
    for name, label in labels.items():
        table.add_row(label, *(f"{report[name]:.4g}" for report in reports.values()))
    console.print(table)


def _show_files(files: dict[str, dict[str, Any]]) -> None:
    table = Table("GGUF", "MB", "KL to PyTorch, nats per token", "same top token", "tokens/s", title="Exported files")
    for kind, facts in files.items():
        table.add_row(
            kind,
            f"{facts['bytes'] / 1e6:.1f}",
            f"{facts['kl_to_torch']:.2e}",
            f"{facts['top1_agreement']:.2%}",
            f"{facts['tokens_per_second']:.0f}",
        )
    console.print(table)
