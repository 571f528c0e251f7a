"""token_signals forward and backward: time against dense autograd and the bare matrix products, and peak memory.

    python benchmarks/signals.py --shape 512 576 49152 --repeats 5

Each variant runs in every round, in alternating order, so that a drifting machine touches all alike; the figures are
medians of per-round ratios. Peak memory is the growth of a fresh process's high-water mark beyond inputs and gradients.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from discnb.signal import token_signals


def inputs(N, H, V):
    generator = torch.Generator().manual_seed(0)
    h, W, g, U = (torch.randn(shape, generator=generator) * scale for shape, scale in
                  (((N, H), 1.0), ((V, H), 0.05), ((N, H), 1.0), ((V, H), 0.05)))  # fmt: skip
    return h.requires_grad_(), W.requires_grad_(), g, U, torch.randint(0, V, (N,), generator=generator)


def dense(h, W, g, U, labels, temperature=2.0):
    student, teacher = h @ W.T, g @ U.T
    p, q = F.log_softmax(teacher / temperature, -1), F.log_softmax(student / temperature, -1)
    q1 = F.log_softmax(student, -1)
    kl = (p.exp() * (p - q)).sum(-1)
    return (kl + F.cross_entropy(student, labels, reduction="none") - (q1.exp() * q1).sum(-1)).mean()


def ours(keep):
    return lambda *x: sum(s.mean() for s in token_signals(*x, keep=keep))


def four_matmuls(h, W, g, U, labels):
    """The floor: two projections and the two products of the gradient."""
    with torch.no_grad():
        student, _ = h @ W.T, g @ U.T
        h.grad, W.grad = student @ W, student.T @ h


VARIANTS = {"floor": four_matmuls, "dense": dense, "keep": ours(True), "flat": ours(False)}


def step(name, x):
    for tensor in x[:2]:
        tensor.grad = None
    loss = VARIANTS[name](*x)
    if loss is not None:
        loss.backward()


def high_water_mark():
    """Bytes of memory this process held at most since the mark was last cleared (Linux)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def peak_extra(name, shape):
    """Bytes beyond inputs and gradients, in a process of its own."""
    code = [sys.executable, __file__, "--peak", name, "--shape", *map(str, shape)]
    return int(subprocess.run(code, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=(512, 576, 49152), metavar=("N", "H", "V"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--peak", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    x = inputs(*arguments.shape)
    if arguments.peak:
        for tensor in x[:2]:
            tensor.grad = torch.zeros_like(tensor)
        torch.ones(64, 64) @ torch.ones(64, 64)
        # the high-water mark starts again from here: making the inputs reached higher than the step might
        Path("/proc/self/clear_refs").write_text("5")
        before = high_water_mark()
        step(arguments.peak, x)
        print(high_water_mark() - before)
        return
    names, seconds = list(VARIANTS), {name: [] for name in VARIANTS}
    for round_ in range(arguments.repeats + 1):
        for name in names if round_ % 2 else names[::-1]:
            begin = time.perf_counter()
            step(name, x)
            if round_:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - begin)
    figures = {
        name: {
            "seconds": statistics.median(seconds[name]),
            "time_over_dense": statistics.median(a / b for a, b in zip(seconds[name], seconds["dense"], strict=True)),
            "time_over_floor": statistics.median(a / b for a, b in zip(seconds[name], seconds["floor"], strict=True)),
            "peak_extra_bytes": peak_extra(name, arguments.shape),
        }
        for name in names
    }
    print(f"N, H, V = {arguments.shape}, {torch.get_num_threads()} threads, {arguments.repeats} rounds")
    for name, f in figures.items():
        print(
            f"{name:6} {f['seconds']:7.2f} s   {f['time_over_dense']:.2f} x dense   {f['time_over_floor']:.2f} x floor"
            f"   {f['peak_extra_bytes'] / 2**20:6.0f} MiB extra"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps({"shape": list(arguments.shape), "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
