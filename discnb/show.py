"""What the commands print: tables of figures, and a sentence where that is shorter."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from .checkpoint import read_json
from .printable import printable

if TYPE_CHECKING:
    from .plan import Plan
    from .run import Run

console = Console(highlight=False, markup=False)


def results(opened: "Run") -> None:
    results = read_json(opened.folder / "results.json")
    evaluation(results["eval"])
    files(results["gguf"])
    grades(results["grades"])
    console.print("A derivation by the Q4_K_M file\n", style="bold")
    print(printable(f"Problem: {results['question']}\n\n{results['gguf']['Q4_K_M']['generation'].strip()}\n"))
    seconds = results["seconds"]
    spent = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    print(f"{sum(seconds.values()):.0f} s ({spent}). Everything is in {opened.folder}/")


def evaluation(reports: dict[str, dict[str, float]]) -> None:
    table = Table("held-out split, nats per token", *reports, title="Student against teacher")
    labels = {
        "kl": "KL to the teacher",
        "pivot_kl": "  of it at pivots",
        "smooth_kl": "  of it elsewhere",
        "ce": "cross-entropy",
        "perplexity": "perplexity (no unit)",
        "energy": "gap energy (nats²)",
        "ece": "calibration error",
    }
    for name, label in labels.items():
        table.add_row(label, *(f"{report[name]:.4g}" for report in reports.values()))
    console.print(table)


def answers(results: dict[str, dict[str, Any]]) -> None:
    table = Table("task", "problems", "metric", "value", "standard error", title="lm-evaluation-harness")
    for task, figures in results.items():
        for name, value in figures.items():
            if isinstance(value, float) and "_stderr" not in name:
                error = figures.get(name.replace(" (", "_stderr (", 1) if " (" in name else f"{name}_stderr")
                table.add_row(
                    task, str(figures["problems"]), name, f"{value:.4f}", "" if error is None else f"{error:.4f}"
                )
        for domain, part in figures.get("by_domain", {}).items():
            table.add_row("", str(part["problems"]), f"  {domain}", f"{part['exact_answer']:.4f}", "")
    console.print(table)


def files(files: dict[str, dict[str, Any]]) -> None:
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


def grades(grades: dict[str, dict[str, Any]]) -> None:
    from .compare import SPLIT_NAMES

    shown = list(next(iter(grades.values())))
    table = Table("right answers", *(SPLIT_NAMES[name] for name in shown), "with an answer", title="Held-out problems")
    for name, reports in grades.items():
        right = (f"{reports[split]['correct']} of {reports[split]['problems']}" for split in shown)
        answered, problems = (sum(reports[split][what] for split in shown) for what in ("answered", "problems"))
        table.add_row(name, *right, f"{answered} of {problems}")
    console.print(table)


def ablation(summary: dict[str, Any]) -> None:
    from .compare import rows

    for metric in ("kl", "accuracy"):
        title = summary["metrics"][metric]
        table = Table("arm", "mean", "± 95 %", f"less {summary['baseline']}", "± 95 %", "Holm's p", "", title=title)
        for row in rows(summary, metric):
            cells = [row["arm"], f"{row['mean']:.4f}", _reach(row["low"], row["high"])]
            if "verdict" in row:
                known = row["verdict"] in ("better", "worse")
                cells += [f"{row['difference']:+.4f}", _reach(row["from"], row["to"])]
                cells += [f"{row['p_holm']:.3f}", row["verdict"] if known else ""]
            table.add_row(*cells)
        console.print(table)


def _reach(low: float | None, high: float | None) -> str:
    return "one seed" if low is None or high is None else f"{(high - low) / 2:.4f}"


def check(rows: list[dict[str, Any]]) -> None:
    table = Table("cell", "figure", "committed", "now")
    for row in rows:
        table.add_row(row["cell"], row["metric"], str(row["was"])[:16], str(row["is"])[:16])
    console.print(table)
    far = [row for row in rows if row["was"] != row["is"]]
    if not far:
        console.print(f"all {len(rows)} figures are reproduced to the last bit")
        return
    raise ValueError(
        f"{len(far)} of {len(rows)} figures differ from the committed ones: "
        + ", ".join(f"{row['cell']} {row['metric']}" for row in far)
        + ". Another processor or torch rounds otherwise, and where the teacher's weights differ, all figures do"
    )


def plan(plan: "Plan") -> None:
    table = Table("", "parameters", "active per token", "revision", title="Models")
    for model in (plan.teacher, plan.student):
        table.add_row(model.name, f"{model.parameters:,}", f"{model.active:,}", (model.revision or "not pinned")[:10])
    console.print(table)
    cache, train, export = (plan.stage(name) for name in ("cache", "train", "export"))
    table = Table("GB on each device", "cache", *train.moments, title=f"Memory on {plan.gpus:,} × {plan.gpu}")
    columns = [*cache.moments.values(), *train.moments.values()]
    for part in dict.fromkeys(part for column in columns for part in column):
        table.add_row(part, *(f"{column[part] / 1e9:.2f}" if part in column else "" for column in columns))
    table.add_section()
    table.add_row("together", *(f"{sum(column.values()) / 1e9:.2f}" for column in columns))
    console.print(table)
    for stage in (cache, train):
        for what, sizes in stage.checkpointing.items():
            console.print(f"{what}, " + ", ".join(f"{how} checkpointing {n / 1e9:.2f} GB" for how, n in sizes.items()))
        fits = "fits" if stage.fits else f"does not fit; nearest change: {stage.advice}"
        console.print(f"{stage.name}: {stage.peak / 1e9:.2f} GB, {fits}; held by {', '.join(stage.held_by) or 'none'}")
    counts = ", ".join(f"{count:,} {split}" for split, count in plan.samples.items())
    table = Table(f"{counts} samples", "cache", "train", title="Work")
    table.add_row("tokens", f"{sum(plan.tokens.values()):,}", f"{plan.tokens['train']:,}")
    table.add_row("optimizer steps", "", f"{plan.steps:,}")
    for part in dict.fromkeys([*cache.flops, *train.flops]):
        table.add_row(f"FLOPs, {part}", *(f"{s.flops[part]:.2e}" if part in s.flops else "" for s in (cache, train)))
    table.add_row(f"minutes at {plan.mfu:.0%} of peak", f"{cache.minutes:,.1f}", f"{train.minutes:,.1f}")
    for part in [*cache.disk, *train.disk]:
        row = (f"{stage.disk[part] / 1e9:,.2f}" if part in stage.disk else "" for stage in (cache, train))
        table.add_row(f"GB on disk, {part}", *row)
    console.print(table)
    console.print(f"cache: {plan.cache_bytes_per_token:,} bytes a token")
    console.print("export: GB " + ", ".join(f"{kind} {size / 1e9:.2f}" for kind, size in export.disk.items()))
    for line in plan.assumptions:
        console.print(f"- {line}")


def scale(plan: "Plan") -> None:
    from .scale import scale

    big, busy = scale(plan), plan.stage("train").devices
    console.print(f"\nAt {sum(plan.samples.values()):,} samples", style="bold")
    for line in (
        f"cache: {big.cache_bytes / 1e12:,.2f} TB, {big.shards:,} shards of {big.shard_bytes / 1e6:,.0f} MB",
        f"better: {big.wise_shard_samples:,} samples to a shard of {big.wise_shard_bytes / 1e9:,.1f} GB, "
        f"{big.objects_per_prefix:,} objects under a prefix for each writer",
        f"hours: {big.cache_hours:,.1f} to write, {big.train_hours:,.1f} to train on {busy:,} devices, "
        f"{big.train_hours_on_all:,.1f} if a step had a sequence for each of {plan.gpus:,}",
        f"training reads {big.read_bytes_per_second / 1e9:,.2f} GB/s, {big.read_bytes_per_step / 1e6:,.1f} MB a step",
    ):
        console.print(f"- {line}")
    table = Table("samples", "what is reached then", "what to do", title="Where it breaks, first things first")
    for limit in big.limits:
        table.add_row(f"{limit.samples:,.0f}", limit.what, limit.mend)
    console.print(table)
