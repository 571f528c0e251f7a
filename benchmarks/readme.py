"""Writes the measurements in README.md and RELIABILITY.md from `results/`: no figure in them is typed.

python benchmarks/readme.py
"""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- measurements: written by benchmarks/readme.py -->", "<!-- end of measurements -->"
NAMES = {
    "floor": "the bare matrix products",
    "dense": "dense autograd",
    "keep": "**`token_signals`, logits kept**",
    "flat": "**`token_signals`, none kept**",
    "liger": "Liger's fused JSD (a scalar)",
    "trl": "TRL's chunked KL and log-probability",
}

FILLS = {"zero": "zero", "bucket": "spread evenly"}
TEXT = """\
KL, cross-entropy and entropy per token with their gradients, on {machine[cores]} CPU cores (torch {machine[torch]}):
median ratio to dense autograd over paired rounds, and peak memory beyond inputs and gradients.

{engine}

- Without kept logits the peak is {flat[0]:.0f} MiB at 512 tokens and {flat[1]:.0f} MiB at 4,096; the whole objective's
  is {whole[0]:.0f} MiB for one sequence and {whole[1]:.0f} MiB for eight. The largest relative error against float64 is
  {worst:.0e}.
- An optimizer step of `mini` runs at {speed[cached]:.2f} times the tokens per second of TRL's GKDTrainer with the
  teacher cached, {speed[online]:.2f} times with it run at every batch.
- The cache takes {cache[bfloat16][bytes_per_token]:,.0f} bytes per token of SmolLM2 and is read at
  {cache[bfloat16][read_tokens_per_second]:,.0f} tokens/s. In float8 it takes {cache[float8][bytes_per_token]:,.0f} at a
  KL of {cache[float8][kl][mean]:.1e} nats, in int8 {cache[int8][bytes_per_token]:,.0f} at
  {cache[int8][kl][mean]:.1e}; the 128 likeliest tokens would take {cache[top_128][bytes_per_token]:,.0f}, read at
  {cache[top_128][read_tokens_per_second]:,.0f} tokens/s.
- `import discnb` takes {milliseconds:.1f} ms, `discnb --help` {help:.2f} s.

What keeping only the k likeliest tokens of the teacher would have changed, on the same pair: the relative error of KL
and D, and the share of pivots that stay pivots.

| k, the rest | τ | mean KL, exact | from top-k | error of KL | error of D | pivots shared |
|---|---:|---:|---:|---:|---:|---:|
{top_k}"""


RELIABILITY = """\
`make faults`, on {cores} CPU cores in {seconds:.0f} s:

{faults}

`make soak`, what has been run of it:

{soak}"""
SOAK = {
    "training": """\
- {minutes:.0f} minutes of training, {steps:,} steps. Resident memory had a median of {second_quarter_mb:,.0f} MB in the
  second quarter of the time and of {last_quarter_mb:,.0f} MB in the last one; at most {peak_mb:,.0f} MB.""",
    "cache": """\
- A cache of {samples:,} samples in {shards:,} files is open after {open_verified_seconds:.2f} s with every file's hash
  checked, after {open_known_seconds:.3f} s if they were; a sample is then read in {read_seconds:.6f} s.""",
    "explorer": """\
- A page of {records:,} derivations, {tokens:,} tokens, has {page_mb:.0f} MB. It shows the first
  {open_seconds:.1f} s after it is opened, the last {last_record_seconds:.1f} s after it is chosen, and follows a slider
  in {slider_seconds:.1f} s.""",
}


def reliability():
    """The text between the two marks of RELIABILITY.md."""
    faults, soak = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("faults", "soak"))
    outcomes = ("survived", "refused", "lost")
    table = ["| fault | injected | survived | refused | lost |", "|---|" + "---:|" * 4]
    in_all = {name: sum(kind.get(name, 0) for kind in faults["faults"].values()) for name in outcomes}
    for kind, count in [*sorted(faults["faults"].items()), ("in all", in_all)]:
        table.append(f"| {kind} | {sum(count.values())} | {' | '.join(str(count.get(name, 0)) for name in outcomes)} |")
    lines = [text.format(**soak[part]) for part, text in SOAK.items() if part in soak]
    return RELIABILITY.format(
        cores=faults["cores"], seconds=faults["seconds"], faults="\n".join(table), soak="\n".join(lines)
    )


def section():
    """The text between the two marks of README.md."""
    signals, step, cache, startup = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("signals", "step", "cache", "startup")
    )
    shapes = [", ".join(f"{n:,}" for n in shape["shape"]) for shape in signals["shapes"]]
    engine = [f"| (N, H, V) | {' | '.join(f'{shape}: time | memory' for shape in shapes)} |"]
    engine += ["|---|" + "---:|" * 2 * len(shapes)]
    for name, label in NAMES.items():
        cells = [
            f"{v['time_over_dense']:.2f} | {v['peak_extra_bytes'] / 2**20:,.0f} MiB"
            for v in (shape["variants"][name] for shape in signals["shapes"])
        ]
        engine.append(f"| {label} | {' | '.join(cells)} |")
    top_k = [
        f"| {row['k']}, {FILLS[row['fill']]} | {row['temperature']:g} | {row['mean_kl']:.3f} | "
        f"{row['mean_kl_top_k']:.3f} | {row['kl_error']:.1%} | {row['D_error']:.1%} | {row['pivots_shared']:.0%} |"
        for row in cache["top_k"]
    ]
    flat, whole = (list(signals[k].values()) for k in ("flat_peak_by_tokens", "objective_peak_by_sequences"))
    return TEXT.format(
        machine=signals["machine"],
        engine="\n".join(engine),
        flat=(flat[0] / 2**20, flat[-1] / 2**20),
        whole=(whole[0] / 2**20, whole[-1] / 2**20),
        worst=max(signals["errors"].values()),
        speed={name: variant["speed_over_gkd"] for name, variant in step["variants"].items()},
        cache=cache,
        milliseconds=startup["import_seconds"] * 1000,
        help=startup["help_seconds"],
        top_k="\n".join(top_k),
    )


PAGES = {"README.md": section, "RELIABILITY.md": reliability}


def filled(page):
    """The page's text with its section written anew."""
    text = (ROOT / page).read_text()
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n{PAGES[page]()}\n{text[text.index(END) :]}"


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(filled(page))
