"""`make soak`: what a short test cannot show. An hour of training, 100,000 cached samples, 10,000 explorer records.

python -m tests.soak [--minutes 60] [--samples 100000] [--records 10000]
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from playwright.sync_api import expect

from browser import chromium
from discnb.cache import CachedTeacher, cache_facts, write_cache
from discnb.checkpoint import write_manifest
from discnb.explore.explorer import PivotExplorer
from discnb.models import scratch_teacher, scratch_tokenizer
from discnb.objective import DiscObjective
from discnb.teacher import OnlineTeacher

from .explore.records import made_up

COMMAND = Path(sys.executable).with_name("discnb")


def training(minutes: float, folder: Path) -> dict[str, float]:
    """The resident memory of `mini`'s training, which begins again and again on a few samples."""
    run = folder / "run"
    settings = {"data.train_samples": 64, "data.eval_samples": 2, "train.epochs": 10_000, "train.checkpoint_steps": 25}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [COMMAND, "train", "--preset", "mini", "--run-dir", run, *words], stdout=log, stderr=log
        )
    while not (run / "metrics.jsonl").exists():
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text()[-3000:])
        time.sleep(1)
    begin, sizes = time.monotonic(), list[float]()
    while time.monotonic() - begin < minutes * 60 and process.poll() is None:
        sizes.append(resident(process.pid))
        time.sleep(2)
    process.send_signal(signal.SIGTERM)
    code = process.wait()
    quarter = len(sizes) // 4
    if code != 128 + signal.SIGTERM:
        raise RuntimeError(f"the training ended with code {code}: {(folder / 'log').read_text()[-3000:]}")
    return {
        "minutes": (time.monotonic() - begin) / 60,
        "steps": (run / "metrics.jsonl").read_bytes().count(b"\n"),
        "checkpoints": len(list((run / "checkpoints").iterdir())),
        "second_quarter_mb": statistics.median(sizes[quarter : 2 * quarter]),
        "last_quarter_mb": statistics.median(sizes[-quarter:]),
        "peak_mb": max(sizes),
    }


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cache(samples: int, folder: Path) -> dict[str, float]:
    """Seconds to open a teacher's cache of many short samples, every file verified and not, and to read one."""
    tokenizer = scratch_tokenizer((f"{i} and {i * i}" for i in range(500)), 300)
    split = Dataset.from_dict(
        {"input_ids": [[i % 200, (i * 7) % 200, i % 13, 5, 6, 7][: 3 + i % 4] for i in range(samples)]}
    )
    teacher = OnlineTeacher(scratch_teacher(tokenizer, seed=0))
    key = {"storage": "bfloat16"}
    write_cache(folder, teacher, {"train": split}, key, batch_size=64)
    manifest = write_manifest(folder, **cache_facts(folder))
    tokens, shards = sum(manifest["lengths"]["train"]), len(manifest["files"]) - 2
    found: dict[str, float] = {"samples": samples, "tokens": tokens, "shards": shards}
    for name, known in {"verified": None, "known": manifest}.items():
        begin = time.perf_counter()
        cached = CachedTeacher(folder, "train", manifest=known)
        found[f"open_{name}_seconds"] = time.perf_counter() - begin
    begin = time.perf_counter()
    wanted = torch.randint(samples, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    for sample in wanted:
        cached.states(sample).clone()
    found["read_seconds"] = (time.perf_counter() - begin) / len(wanted)
    return found


def explorer(records: int, folder: Path) -> dict[str, float]:
    """Seconds until a page of many records shows the first, then the last one, and moves a slider there."""
    many = [made_up(40, number) for number in range(records)]
    begin = time.perf_counter()
    path = PivotExplorer(many, DiscObjective(), "soak").to_html(folder / "page.html")
    found = {
        "records": records,
        "tokens": sum(len(r.tokens) for r in many),
        "write_seconds": time.perf_counter() - begin,
    }
    found["page_mb"] = path.stat().st_size / 1e6
    with chromium() as browser:
        page = browser.new_page()
        begin = time.perf_counter()
        page.goto(path.as_uri())
        expect(page.locator("[role=option]").first).to_be_visible(timeout=120_000)
        found["open_seconds"] = time.perf_counter() - begin
        settled = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        moves = {
            "last_record": lambda: page.get_by_label("Sample", exact=True).select_option(str(records - 1)),
            "slider": lambda: page.get_by_role("slider", name="temperature").fill("3"),
        }
        for name, move in moves.items():
            begin = time.perf_counter()
            move()
            page.evaluate(settled)
            found[f"{name}_seconds"] = time.perf_counter() - begin
        found["heap_mb"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of training; 0 for none")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/soak.json"))
    chosen = parser.parse_args()
    found = json.loads(chosen.json.read_text()) if chosen.json.exists() else {}
    parts = {
        "cache": lambda place: cache(chosen.samples, place),
        "explorer": lambda place: explorer(chosen.records, place),
        "training": lambda place: training(chosen.minutes, place),
    }
    sizes = {"cache": chosen.samples, "explorer": chosen.records, "training": chosen.minutes}
    for name, part in parts.items():
        if sizes[name]:
            with tempfile.TemporaryDirectory() as folder:
                found[name] = part(Path(folder))
            print(name, json.dumps(found[name], indent=2), flush=True)
            chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
