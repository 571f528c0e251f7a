"""The signal engine forward and backward: time against its peers and the bare matrix products, and peak memory.

    python benchmarks/signals.py [--rounds 3] [--shape N H V ...]

`dense` is plain autograd over the logits; `keep` and `flat` are `token_signals` with all logits kept and with none.
`liger` gives one scalar, `trl` per-token KL and log-probability by two sweeps and no gradient of the entropy. `floor`
is two projections and the two products of the gradient, and nothing else. Memory is beyond inputs and gradients.
"""

import argparse
import json
import math
import statistics

import torch
import torch.nn.functional as F
from measure import in_own_process, paired_seconds, peak_extra, ratio, save, timed

from discnb.objective import DiscObjective
from discnb.signal import token_signals

SHAPES = [(512, 1024, 65536), (1024, 2048, 151936)]
TEMPERATURE = 2.0


def inputs(N, H, V, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    h, W, g, U = (
        torch.randn(shape, generator=generator).mul_(scale).to(dtype)
        for shape, scale in (((N, H), 1.0), ((V, H), 0.05), ((N, H), 1.0), ((V, H), 0.05))
    )
    return h.requires_grad_(), W.requires_grad_(), g, U, torch.randint(0, V, (N,), generator=generator)


def dense_signals(h, W, g, U, labels):
    student, teacher = h @ W.T, g @ U.T
    p, q = F.log_softmax(teacher / TEMPERATURE, -1), F.log_softmax(student / TEMPERATURE, -1)
    q1 = F.log_softmax(student, -1)
    ce = F.cross_entropy(student, labels, reduction="none")
    return (p.exp() * (p - q)).sum(-1), ce, -(q1.exp() * q1).sum(-1)


def mean_of(signals):
    return sum(signal.mean() for signal in signals)


def floor(h, W, g, U, labels):
    with torch.no_grad():
        student, _ = h @ W.T, g @ U.T
        h.grad, W.grad = student @ W, student.T @ h


def liger(h, W, g, U, labels):
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    return LigerFusedLinearJSDLoss(beta=0.0, temperature=TEMPERATURE, compiled=False)(h, W, g, U, labels)


def trl(h, W, g, U, labels):
    from trl.kernels.chunked_divergence import VOCAB_CHUNK_SIZE, ChunkedDivergenceFunction
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    kl, _ = ChunkedDivergenceFunction.apply(h, W, None, g, U, None, 0.0, TEMPERATURE)
    logprob, *_ = ChunkedLogProbFunction.apply(h, W, None, labels, 1.0, VOCAB_CHUNK_SIZE, None, 1.0, ())
    return kl.mean() - logprob.mean()


VARIANTS = {
    "floor": floor,
    "dense": lambda *x: mean_of(dense_signals(*x)),
    "keep": lambda *x: mean_of(token_signals(*x, temperature=TEMPERATURE, memory=math.inf)),
    "flat": lambda *x: mean_of(token_signals(*x, temperature=TEMPERATURE, memory=0)),
    "liger": liger,
    "trl": trl,
}


def step(name, x):
    for tensor in x[:2]:
        tensor.grad = None
    loss = VARIANTS[name](*x)
    if loss is not None:
        loss.backward()


def peak_of_variant(name, *shape):
    x = inputs(*shape)

    def prepare():
        for tensor in x[:2]:
            tensor.grad = torch.zeros_like(tensor)  # freed by the step: its gradients do not count
        torch.ones(64, 64) @ torch.ones(64, 64)
        VARIANTS[name](*inputs(8, 16, 64))  # imports

    return peak_extra(prepare, lambda: step(name, x))


def peak_of_objective(sequences, T, H, V):
    """Of the whole objective on a batch, whose head's gradient is gathered over its sequences."""
    h, W, g, U, labels = inputs(sequences * T, H, V)
    batch = [h.detach().view(sequences, T, H).requires_grad_(), W, g.view(sequences, T, H), U]
    mask = torch.ones(sequences, T, dtype=torch.bool)

    def prepare():
        for tensor in batch[:2]:
            tensor.grad = torch.zeros_like(tensor)
        torch.ones(64, 64) @ torch.ones(64, 64)

    def run():
        for tensor in batch[:2]:
            tensor.grad = None
        DiscObjective()(*batch, labels.view(sequences, T), mask, mask, 2.0).loss.backward()

    return peak_extra(prepare, run)


def errors(N, H, V):
    """Largest relative error (norm) of float32 signals and gradients against dense float64."""
    x, wide = inputs(N, H, V), inputs(N, H, V, torch.float64)
    got, want = token_signals(*x, temperature=TEMPERATURE), dense_signals(*wide)
    mean_of(got).backward()
    mean_of(want).backward()
    pairs = [*zip(got, want, strict=True), (x[0].grad, wide[0].grad), (x[1].grad, wide[1].grad)]
    names = ("kl", "ce", "entropy", "hidden_gradient", "head_gradient")
    return {name: ((a.double() - b).norm() / b.norm()).item() for name, (a, b) in zip(names, pairs, strict=True)}


PROBES = {"variant": peak_of_variant, "objective": peak_of_objective, "errors": errors}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, action="append", metavar=("N", "H", "V"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probe", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        kind, *rest = arguments.probe
        print(json.dumps(PROBES[kind](*(int(a) if a.isdigit() else a for a in rest))))
        return

    def probe(*what):
        print("  memory of", *what, flush=True)
        return in_own_process(__file__, "--probe", *what)

    shapes = []
    for shape in arguments.shape or SHAPES:
        print(f"N, H, V = {tuple(shape)}", flush=True)
        x = inputs(*shape)
        seconds = paired_seconds({n: timed(lambda n=n, x=x: step(n, x)) for n in VARIANTS}, arguments.rounds)
        del x
        figures = {
            name: {
                "seconds": statistics.median(seconds[name]),
                **{f"time_over_{other}": ratio(seconds, name, other) for other in ("floor", "dense", "liger", "trl")},
                "peak_extra_bytes": probe("variant", name, *shape),
            }
            for name in VARIANTS
        }
        for name, f in figures.items():
            print(
                f"{name:6} {f['seconds']:7.2f} s   {f['time_over_dense']:.2f} x dense   {f['time_over_floor']:.2f} x "
                f"floor   {f['peak_extra_bytes'] / 2**20:6.0f} MiB extra",
                flush=True,
            )
        shapes.append({"shape": list(shape), "variants": figures})
    _, H, V = (arguments.shape or SHAPES)[0]
    figures = {
        "rounds": arguments.rounds,
        "shapes": shapes,
        "errors": probe("errors", *(arguments.shape or SHAPES)[0]),
        "flat_peak_by_tokens": {N: probe("variant", "flat", N, H, V) for N in (512, 1024, 2048, 4096)},
        "objective_peak_by_sequences": {B: probe("objective", B, 256, H, V) for B in (1, 2, 4, 8)},
    }
    print(json.dumps({name: figures[name] for name in list(figures)[2:]}, indent=2))
    save("signals", figures)


if __name__ == "__main__":
    main()
