"""Two processes over gloo train what one trains; in float64, so that only an error can tell them apart."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent


def start(world, *module):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)] if world > 1 else []
    return subprocess.run(
        [sys.executable, *torchrun, "-m", *module],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def launch(folder, world, expect=0, **settings):
    folder.mkdir(exist_ok=True)
    done = start(world, "tests.ranks_worker", str(folder), json.dumps(settings))
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


SMALL = {
    "data.size": 150,
    "data.max_length": 96,
    "teacher.steps": 2,
    "train.checkpoint_steps": 8,
    "train.parallel": "fsdp",
    "train.activation_checkpointing": "true",
    "export.parity_samples": 1,
    "export.importance_samples": 2,
    "export.generated_tokens": 4,
}


def discnb(command, folder, world):
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    return start(world, "discnb", command, "--preset", "tiny", "--run-dir", str(folder), *settings)


def test_two_ranks_go_through_the_stages_and_one_ends_the_run(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    refused = discnb("cache", two, world=2)
    assert refused.returncode != 0 and "a teacher from scratch is trained in one process" in refused.stderr
    shutil.rmtree(two)
    assert discnb("cache", one, world=1).returncode == 0
    shutil.copytree(one, two)
    for path in (*two.glob("teacher/*.safetensors"), *two.glob("teacher/*.json")):
        if path.name != "inputs.json":
            path.unlink()

    for command in ("cache", "train"):
        done = discnb(command, two, world=2)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count(f"{command}: working in") == 1
    of_one, of_two = ({p.name: p.read_bytes() for p in (f / "teacher").glob("*.safetensors")} for f in (one, two))
    assert len(of_two) == 5 and of_two == of_one  # three shards and one of two splits, and the head
    assert json.loads((two / "teacher" / "manifest.json").read_text())["ranks"] == 2

    refused = discnb("run", two, world=2)
    assert refused.returncode != 0 and "`run` works in one process" in refused.stderr
    assert discnb("train", one, world=1).returncode == 0
    for row, want in zip(rows(two), rows(one), strict=True):
        # float32, where a jump at the threshold itself may be a pivot for one and not for the other
        assert row["pivot_fraction"] == pytest.approx(want["pivot_fraction"], abs=0.005)
        assert {**row, "pivot_fraction": 0} == pytest.approx({**want, "pivot_fraction": 0}, rel=2e-3)
    ended = discnb("eval", two, world=1)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "working in" not in ended.stdout.replace("eval: working in", "")
