"""The short form of `make faults`: some faults of every kind, in every run of the tests."""

import json
import shutil
import subprocess
import sys

import pytest

HARNESS = [sys.executable, "-m", "tests.faults"]
KINDS = 11

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="the shim is compiled, for Linux"),
    pytest.mark.timeout(900),
]
CHECKPOINT = "byte flipped checkpoints/checkpoint-8/model.safetensors"


def test_nothing_is_lost(tmp_path):
    counts = tmp_path / "counts.json"
    done = subprocess.run(
        [*HARNESS, "--share", "0.02", "--json", counts, "--folder", tmp_path / "faults"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    found = json.loads(counts.read_text())["faults"]
    assert len(found) == KINDS and not sum(kind.get("lost", 0) for kind in found.values())
    assert all(sum(kind.values()) >= 1 for kind in found.values())
    assert found["SIGKILL at a moment"]["survived"] >= 1 and found["byte flipped"]


def test_the_harness_can_find_a_loss(tmp_path):
    """With a checkpoint that is not verified, a flipped byte in it goes into the result: the harness must say so."""
    done = subprocess.run(
        [*HARNESS, "--believe-checkpoints", "--folder", tmp_path / "faults", "--only", CHECKPOINT],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "lost: byte flipped, checkpoints" in done.stdout, done.stdout + done.stderr
