"""The teacher cache: bytes and speed, what 8-bit storage costs, and what a top-k cache would have changed.

    python benchmarks/cache.py [--samples 32]

On real states: SmolLM2-135M and the preset `mini`'s undistilled student. A top-k cache keeps the k largest
log-probabilities of a position at temperature 1. Zero-filled, the rest has probability 0 and the k are made to sum to 1
again at the temperature of use; tail-bucketed, what is left of the probability is spread evenly over the rest.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from measure import save
from safetensors import safe_open
from safetensors.torch import save_file

from discnb.cache import CachedTeacher, cache_facts, write_cache
from discnb.checkpoint import write_manifest
from discnb.run import open_run
from discnb.signal import discrepancy, pivots
from discnb.teacher import OnlineTeacher

TOP_K = (50, 128)
TEMPERATURES = (1.0, 2.0)
FILLS = ("zero", "bucket")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=32)
    samples = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        run = open_run("mini", Path(folder) / "run", {"data.train_samples": samples, "data.eval_samples": 1})
        figures = {"samples": samples, **speed(run, Path(folder)), "top_k": top_k(run)}
    save("cache", figures)


def speed(run, folder):
    manifest, whole = run.cache(), run.teacher("train")
    tokens, model = run.tokens("train"), run.teacher_model()[0]
    online, count = OnlineTeacher(model, len(whole.head)), sum(whole.lengths)
    figures = {"tokens": count}
    for storage in ("bfloat16", "float8", "int8"):
        place = folder / storage
        key = {**manifest["key"], "storage": storage}
        begin = time.perf_counter()
        write_cache(place, online, {"train": tokens}, key)
        wrote = time.perf_counter() - begin
        facts = cache_facts(place)
        write_manifest(place, **facts)
        cached = CachedTeacher(place, "train")
        begin = time.perf_counter()
        for sample in range(len(tokens)):
            cached.states(sample).clone()
        read = time.perf_counter() - begin
        figures[storage] = {
            "bytes_per_token": sum(p.stat().st_size for p in place.glob("train-*")) / count,
            "write_tokens_per_second": count / wrote,
            "read_tokens_per_second": count / read,
            **({"kl": facts["storage_kl"]} if "storage_kl" in facts else {}),
        }
    figures["top_128"] = read_top_k(run, folder, count)
    for name, f in list(figures.items())[1:]:
        print(name, {k: v if isinstance(v, dict) else round(v) for k, v in f.items()}, flush=True)
    return figures


def read_top_k(run, folder, count):
    """Bytes and reading speed of a cache of 128 indices (int32) and log-probabilities (bfloat16) per token."""
    cached, values, indices = run.teacher("train"), [], []
    for sample in range(len(cached.lengths)):
        logits = cached.states(sample).float() @ cached.head.float().T
        top = logits.log_softmax(1).topk(128)
        values.append(top.values.bfloat16())
        indices.append(top.indices.int())
    path = folder / "top.safetensors"
    save_file({"values": torch.cat(values), "indices": torch.cat(indices)}, path)
    begin, first = time.perf_counter(), 0
    with safe_open(path, "pt") as file:
        for length in cached.lengths:
            for name in ("values", "indices"):
                file.get_slice(name)[first : first + length].clone()
            first += length
    read = time.perf_counter() - begin
    return {"bytes_per_token": path.stat().st_size / count, "read_tokens_per_second": count / read}


def top_k(run):
    """Relative errors of mean KL and D, and how far the pivots agree, by k, way of filling and temperature."""
    cached, model = run.teacher("train"), run.initial_student()
    student, collator, tokens = OnlineTeacher(model, len(cached.head), torch.float32), run.collator, run.tokens("train")
    cells = {(k, fill, tau): [] for k in TOP_K for fill in FILLS for tau in TEMPERATURES}
    for sample in range(len(tokens)):
        batch = collator([tokens[sample]])
        h = student.hidden(batch["index"], batch["input_ids"], batch["attention_mask"])[0, :-1]
        p1 = (cached.states(sample)[:-1].double() @ cached.head.double().T).log_softmax(1)  # [T, V]
        s = h.double() @ student.head.double().T
        for (k, fill, tau), rows in cells.items():
            q = (s / tau).log_softmax(1)
            rows.append((kl((p1 / tau).log_softmax(1), q), kl(reduced(p1, k, fill, tau), q)))
    figures = {}
    for (k, fill, tau), rows in cells.items():
        exact, approximate = (torch.cat(side) for side in zip(*rows, strict=True))
        D, D_approximate = (torch.cat([jumps(row[side]) for row in rows]) for side in (0, 1))
        sets = [(marks(a), marks(b)) for a, b in rows]
        both, either = (sum(int(f(a, b).sum()) for a, b in sets) for f in (torch.logical_and, torch.logical_or))
        figures[f"{k} {fill} {tau:g}"] = {
            "k": k,
            "fill": fill,
            "temperature": tau,
            "mean_kl": exact.mean().item(),
            "mean_kl_top_k": approximate.mean().item(),
            "kl_error": ((approximate - exact).abs().mean() / exact.mean()).item(),
            "D_error": ((D_approximate - D).abs().mean() / D.mean()).item(),
            "pivots": sum(int(a.sum()) for a, _ in sets),
            "pivots_shared": both / max(1, either),
            "sequences_changed": sum(not torch.equal(a, b) for a, b in sets) / len(sets),
        }
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in figures[f"{k} {fill} {tau:g}"].items()})
    return list(figures.values())


def reduced(p1, k, fill, tau):
    """Log-probabilities [T, V] at temperature tau that a top-k cache of `p1`, those at 1, leaves."""
    values, indices = p1.topk(k)
    tail = (1 - values.exp().sum(1, keepdim=True)).clamp(min=1e-12)
    rest = -torch.inf if fill == "zero" else (tail / (p1.shape[1] - k)).log()
    return torch.zeros_like(p1).add_(rest).scatter_(1, indices, values).div_(tau).log_softmax(1)


def kl(p, q):
    return torch.where(p > -torch.inf, p.exp() * (p - q), 0.0).sum(1)


def jumps(values):
    D, defined = discrepancy(values[None], torch.ones(1, len(values), dtype=torch.bool))
    return D[defined]


def marks(values):
    return pivots(values[None], torch.ones(1, len(values), dtype=torch.bool))[0]


if __name__ == "__main__":
    main()
