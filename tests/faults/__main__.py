"""`make faults`: inject every fault, do the stage again, and count what was lost."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from discnb import train
from discnb.checkpoint import step_of

from .cases import cases
from .harness import Lab, each, with_shim


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the faults of each kind, at least one of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose kind or name holds this")
    parser.add_argument("--json", type=Path, help="write the counts here")
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--believe-checkpoints", action="store_true", help="sabotage: go on from any, verified or not")
    chosen = parser.parse_args()
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="discnb-faults-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with_shim([*sys.argv[1:], "--folder", str(folder)], folder)
    begin = time.monotonic()
    lab = Lab(folder)
    lab.prepare()
    if chosen.believe_checkpoints:
        train.newest_checkpoint = lambda folder: max(folder.glob("checkpoint-*"), key=step_of, default=None)
    print("reference run: " + ", ".join(f"{s} {lab.seconds[s]:.1f} s, {lab.calls[s]} calls" for s in lab.seconds))
    made = [case for case in cases(lab, chosen.seed, chosen.share) if chosen.only in f"{case[0]} {case[1]}"]
    counts: dict[str, Counter[str]] = {}
    for done, result in enumerate(each(made, folder, chosen.workers), start=1):
        counts.setdefault(result.kind, Counter())[result.outcome] += 1
        if result.outcome != "survived":
            print(f"{result.outcome}: {result.kind}, {result.name}: {result.detail}", flush=True)
        if sys.stdout.isatty() or done % 50 == 0:
            print(f"{done} of {len(made)} faults, {time.monotonic() - begin:.0f} s", flush=True)
    print(f"\n{'fault':22}{'injected':>10}{'survived':>10}{'refused':>10}{'lost':>6}")
    total = sum(counts.values(), Counter[str]())
    for kind, count in [*sorted(counts.items()), ("in all", total)]:
        print(f"{kind:22}{count.total():10}{count['survived']:10}{count['refused']:10}{count['lost']:6}")
    print(f"{time.monotonic() - begin:.0f} s")
    if chosen.json:
        found = {"cores": os.cpu_count(), "seconds": round(time.monotonic() - begin), "faults": counts}
        chosen.json.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    return int(total["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
