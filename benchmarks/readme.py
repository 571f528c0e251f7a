"""Writes the README's section of measurements from `results/`: no figure in it is typed.

python benchmarks/readme.py
"""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
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


def section():
    """The text between the two marks."""
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


def filled(readme):
    """The README's text with its section written anew."""
    before, after = readme[: readme.index(BEGIN)], readme[readme.index(END) :]
    return f"{before}{BEGIN}\n{section()}\n{after}"


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
