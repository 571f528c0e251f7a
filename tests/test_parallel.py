"""Two processes over gloo train what one trains; in float64, so that only an error can tell them apart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent


def launch(folder, world, expect=0, **settings):
    folder.mkdir(exist_ok=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)] if world > 1 else []
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "tests.ranks_worker", str(folder), json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode == 0) == (expect == 0), done.stderr[-3000:]
    return folder


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def agree(folder, reference):
    found, wanted = rows(folder), rows(reference)
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for row, want in zip(found, wanted, strict=True):
        assert row == pytest.approx(want, rel=1e-6)
    weights = load_file(reference / "trained.safetensors")
    trained = load_file(folder / "trained.safetensors")
    assert trained.keys() == weights.keys()
    for name, tensor in trained.items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Nine samples, four to a step: the third step of an epoch has one, and leaves the second rank nothing."""
    folder = launch(tmp_path_factory.mktemp("alone"), 1)
    assert all(row["grad_norm"] > 0.5 for row in rows(folder)[:2])  # clipped
    return folder


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(("batch", "accumulation"), [(4, 1), (1, 4)])
def test_two_ranks_train_as_one(alone, tmp_path, sharded, batch, accumulation):
    agree(launch(tmp_path, 2, sharded=sharded, batch=batch, accumulation=accumulation), alone)


@pytest.mark.parametrize(("first", "then"), [((2, True), (1, False)), ((1, False), (2, True)), ((2, False), (2, True))])
def test_a_run_goes_on_with_another_number_of_ranks(alone, tmp_path, first, then):
    launch(tmp_path, first[0], expect=3, sharded=first[1], stop_after=3)
    assert (tmp_path / "checkpoints" / "checkpoint-2" / "manifest.json").exists()
    agree(launch(tmp_path, then[0], sharded=then[1]), alone)


def test_more_ranks_than_sequences_in_a_step_are_refused(tmp_path):
    with pytest.raises(AssertionError, match="1 sequences for 2 ranks; expected at least one for each"):
        launch(tmp_path, 2, batch=1)
