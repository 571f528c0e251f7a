"""What `discnb doctor` says of a machine and a run, well and ill."""

import importlib.metadata
import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from discnb import cli, doctor
from discnb.checkpoint import write_manifest
from discnb.doctor import STAGES, examine
from discnb.run import open_run

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """llama.cpp is loaded in a child once, in the test that is about it."""
    monkeypatch.setattr(doctor, "_llama_cpp", lambda: doctor.Finding("llama.cpp", "ok", "not looked at"))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    open_run("tiny", folder)
    for name in STAGES.values():
        (folder / name).mkdir()
        (folder / name / "weights").write_bytes(b"as they were written")
        write_manifest(folder / name)
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    for step in (1, 2):
        (folder / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
        write_manifest(folder / "checkpoints" / f"checkpoint-{step}")
    return folder


def states(folder=None):
    return {finding.what: finding.state for finding in examine(folder)}


def found(folder, what):
    [finding] = [finding for finding in examine(folder) if finding.what == what]
    return finding


def test_a_machine_on_which_the_tests_run_has_nothing_broken():
    findings = list(examine())
    assert {"Python", "processor", "memory", "disk", "torch", "llama.cpp", "GPU", "SmolLM2's weights"} <= {
        f.what for f in findings
    }
    assert [f for f in findings if f.state == "broken"] == []
    assert all(bool(f.mend) == (f.state != "ok") for f in findings)


def test_a_whole_run_is_well(run):
    assert {state for what, state in states(run).items() if what.startswith(("run", "stage", "check", "metrics"))} == {
        "ok"
    }
    assert found(run, "stage cache").detail.startswith("complete, 1 files")
    assert found(run, "metrics.jsonl").detail == "2 optimizer steps"


@pytest.mark.parametrize(
    ("damage", "what", "state", "detail"),
    [
        (lambda f: (f / "config.json").unlink(), "run {run}", "broken", "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "run {run}", "broken", "not valid JSON"),
        (lambda f: (f / "teacher/weights").write_bytes(b"as they were writtem"), "stage cache", "broken",
         "was altered"),
        (lambda f: (f / "teacher/weights").write_bytes(b"as"), "stage cache", "broken", "has 2 bytes"),
        (lambda f: (f / "student/weights").unlink(), "stage train", "broken", "is missing"),
        (lambda f: (f / "student/manifest.json").write_text("[]"), "stage train", "broken", "is no manifest"),
        (lambda f: (f / "gguf/manifest.json").unlink(), "stage export", "missing", "begun, not complete"),
        (lambda f: [(f / "eval" / n).unlink() for n in ("weights", "manifest.json")], "stage eval", "missing",
         "not begun"),
        (lambda f: (f / "checkpoints/checkpoint-2/manifest.json").unlink(), "checkpoint-2", "missing", "interrupted"),
        (lambda f: (f / "checkpoints/checkpoint-1/manifest.json").write_text("7"), "checkpoint-1", "broken",
         "no manifest"),
        (lambda f: (f / "metrics.jsonl").write_text('{"step": 1}\n{"st'), "metrics.jsonl", "broken", "line 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_run_is_named_and_not_touched(run, damage, what, state, detail):
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    finding = found(run, what.format(run=run))
    assert finding.state == state and detail in finding.detail and finding.mend
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_packages_are_held_to_what_is_required_and_pinned(monkeypatch):
    version = importlib.metadata.version
    given = {"torch": "1.0", "numpy": "99.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: given.get(name) or version(name))
    monkeypatch.setattr(doctor, "_requirements", lambda: {"torch": "2.13"})
    monkeypatch.setattr(doctor, "_pins", lambda: {"numpy": "2.4.6", "torch": "2.13.0"})
    assert found(None, "torch").state == "broken" and "older than 2.13" in found(None, "torch").detail
    assert found(None, "numpy").state == "missing" and "tested with 2.4.6" in found(None, "numpy").detail


def test_the_projects_own_requirements_and_pins_are_read():
    pins = doctor._pins()
    assert pins["torch"] == "2.13.0" and pins["llama-cpp-python"] == "0.3.36"


def test_what_is_not_installed_is_broken_and_the_rest_is_still_looked_at(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setitem(sys.modules, "torch", None)
    findings = states()
    assert findings["torch"] == findings["GPU"] == "broken" and findings["Python"] == "ok" and "Node" in findings


def test_a_full_disk_is_broken_and_little_memory_is_not(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1 << 60)
    assert states()["disk"] == "broken" and states()["memory"] == "missing"


def test_the_disk_is_that_of_a_run_yet_to_be_made(tmp_path):
    [disk] = [f for f in doctor._machine(tmp_path / "a" / "b") if f.what == "disk"]
    assert str(tmp_path) in disk.detail


def test_weights_and_programs_that_are_not_there_are_missing(monkeypatch):
    monkeypatch.setattr("discnb.models.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    findings = states()
    assert findings["SmolLM2's weights"] == findings["Chromium"] == findings["Node"] == "missing"


@pytest.mark.parametrize(
    ("code", "detail"),
    [("import os; os.abort()", "ended by signal 6"), ("import absent", "No module named 'absent'"), ("1", "loads")],
)
def test_llama_cpp_is_tried_in_a_child_that_may_die(code, detail, monkeypatch):
    monkeypatch.undo()
    start = subprocess.run
    monkeypatch.setattr(doctor.subprocess, "run", lambda words, **kw: start([*words[:2], code], **kw))
    finding = doctor._llama_cpp()
    assert detail in finding.detail and finding.state == ("ok" if code == "1" else "broken")


def test_llama_cpp_really_loads(monkeypatch):
    monkeypatch.undo()
    assert doctor._llama_cpp().state == "ok"


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["discnb", "doctor", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_the_command_ends_with_0_or_with_1_where_something_is_broken(run, monkeypatch, capsys):
    assert command(monkeypatch, run) == 0
    assert "ok      stage cache: complete" in capsys.readouterr().out
    (run / "teacher" / "weights").write_text("altered")
    assert command(monkeypatch, run) == 1
    assert "broken  stage cache: " in capsys.readouterr().out
    assert command(monkeypatch, run, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["broken"] == 1 and {"what": "Python", "state": "ok"}.items() <= said["findings"][0].items()


def test_the_exit_codes_are_documented():
    root = Path(__file__).parent.parent
    for text in ((root / "README.md").read_text(), (root / "book" / "cli.md").read_text()):
        assert all(f"| {code} | {what} |" in text for code, what in cli.EXIT_CODES.items())
    assert "130" in cli.app.info.epilog
