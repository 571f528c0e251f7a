"""The whole spine, as a user runs it: the real command, papermill, llama.cpp."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from filelock import FileLock
from papermill.exceptions import PapermillExecutionError

from discnb.checkpoint import read_manifest, seal, sha256, write_json
from discnb.notebook import check_parameters, notebook_path
from discnb.run import open_run

COMMAND = Path(sys.executable).with_name("discnb")
SMALL = {
    "data.size": 60,
    "teacher.steps": 3,
    "train.checkpoint_steps": 1,
    "export.parity_samples": 1,
    "export.importance_samples": 4,
    "export.generated_tokens": 8,
    "grade.samples": 1,
    "grade.new_tokens": 8,
}


def discnb(*arguments, timeout=600):
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def small(folder, command="run"):
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    return [command, "--preset", "tiny", "--run-dir", folder, *settings]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """`discnb run --preset tiny`, whole."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    begin = time.monotonic()
    done = discnb("run", "--preset", "tiny", "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    print(f"discnb run --preset tiny took {time.monotonic() - begin:.0f} s")
    return folder, done.stdout


def test_the_run_folder_holds_everything(tiny):
    folder, _ = tiny
    names = {path.name for path in folder.iterdir()} - {".lock", ".notebook.lock"}
    assert names == {
        "config.json", "data", "teacher", "checkpoints", "student", "eval", "gguf", "grades", "tensorboard",
        "metrics.jsonl", "results.json", "train.ipynb", "README.md",
    }  # fmt: skip
    for stage in ("data", "teacher", "student", "eval", "gguf", "grades"):
        assert read_manifest(folder / stage)["stage"]
    assert list((folder / "tensorboard").iterdir())


def test_the_results_hold_what_was_asked_for(tiny):
    results = json.loads((tiny[0] / "results.json").read_text())
    assert {"preset", "teacher", "student", "seconds", "eval", "gguf", "grades"} <= set(results)
    assert set(results["seconds"]) == {"data", "cache", "train", "eval", "export", "grade"}
    for when in ("before", "after"):
        assert {"kl", "ce", "perplexity", "energy", "pivot_kl", "smooth_kl"} <= set(results["eval"][when])
    for kind in ("F16", "Q8_0", "Q5_K_M", "Q4_K_M"):
        facts = results["gguf"][kind]
        assert {"bytes", "kl_to_torch", "top1_agreement", "tokens_per_second", "generation"} <= set(facts)
        assert facts["bytes"] == (tiny[0] / "gguf" / f"student-{kind}.gguf").stat().st_size


def test_the_student_came_closer_to_its_teacher(tiny):
    evaluation = json.loads((tiny[0] / "results.json").read_text())["eval"]
    assert evaluation["after"]["kl"] < evaluation["before"]["kl"] / 5
    assert evaluation["after"]["perplexity"] < evaluation["before"]["perplexity"] / 20
    assert evaluation["after"]["pivot_kl"] + evaluation["after"]["smooth_kl"] == pytest.approx(
        evaluation["after"]["kl"]
    )
    # the cache's bfloat16 states are the teacher to within rounding
    assert evaluation["teacher"]["kl"] < 1e-4


def test_the_exported_files_are_the_student(tiny):
    files = json.loads((tiny[0] / "results.json").read_text())["gguf"]
    assert files["F16"]["kl_to_torch"] <= 1e-4 and files["F16"]["top1_agreement"] >= 0.995
    assert files["Q8_0"]["kl_to_torch"] <= 1e-2
    assert files["Q4_K_M"]["kl_to_torch"] <= 0.05
    assert files["Q4_K_M"]["bytes"] < files["Q5_K_M"]["bytes"] < files["Q8_0"]["bytes"] < files["F16"]["bytes"]


def test_the_command_shows_progress_and_what_came_out(tiny):
    _, shown = tiny
    for word in ("scratch teacher", "tokens/s", "perplexity", "Q4_K_M", "Problem:", "Everything is in"):
        assert word in shown


def test_the_executed_notebook_is_whole_and_has_its_plots(tiny):
    notebook = nbformat.read(tiny[0] / "train.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    assert sum("<iframe" in o.get("data", {}).get("text/html", "") for o in outputs) == 1  # the explorer
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def test_the_model_card_says_what_was_measured_and_the_licence(tiny):
    card = (tiny[0] / "README.md").read_text()
    results = json.loads((tiny[0] / "results.json").read_text())
    assert card.startswith("---\n") and "\nlicense: apache-2.0\n" in card.split("---")[1]
    assert f"{results['eval']['after']['kl']:.4g}" in card
    assert f"{results['gguf']['Q4_K_M']['bytes']:,}" in card
    assert "built-in corpus" in card


def test_a_second_run_skips_every_stage_and_keeps_the_results(tiny):
    folder, _ = tiny
    kept = [folder / "results.json", folder / "student" / "model.safetensors", folder / "metrics.jsonl"]
    before = [sha256(path) for path in kept]
    done = discnb("run", "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    assert "working in" not in done.stdout
    assert [sha256(path) for path in kept] == before


def test_a_damaged_file_is_named_and_only_its_stage_is_done_again(tiny):
    folder, _ = tiny
    file = folder / "gguf" / "student-Q8_0.gguf"
    want = sha256(file)
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    done = discnb("export", "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    assert "student-Q8_0.gguf was altered" in done.stderr
    assert "export: working" in done.stdout and "train: working" not in done.stdout
    assert sha256(file) == want


def test_metrics_that_are_not_the_trainings_are_refused_and_nothing_is_trained_again(tiny):
    metrics = tiny[0] / "metrics.jsonl"
    want = metrics.read_text()
    metrics.write_text(want.replace('"step": 3,', '"step": 4,'))
    for command, said in (
        (["train", "--run-dir", tiny[0]], "metrics.jsonl is not what stage train wrote; put it back, or delete"),
        (["doctor", tiny[0]], "metrics.jsonl is not what it wrote"),
    ):
        done = discnb(*command)
        assert done.returncode in (1, 2) and said in done.stdout + done.stderr
    metrics.write_text(want)
    assert discnb("train", "--run-dir", tiny[0]).returncode == 0


def test_a_second_notebook_of_a_run_is_refused_before_it_writes(tiny):
    notebook = tiny[0] / "train.ipynb"
    before = sha256(notebook)
    with FileLock(tiny[0] / ".notebook.lock"):
        done = discnb("run", "--run-dir", tiny[0])
    assert done.returncode == 2 and "another process executes the notebook" in done.stderr
    assert sha256(notebook) == before


def test_the_explorer_shows_what_the_run_measured(tiny, tmp_path):
    page = tmp_path / "page.html"
    done = discnb("explore", tiny[0], "-o", page, "--limit", 3)
    assert done.returncode == 0, done.stderr
    assert "3 samples" in done.stdout and "before, after" in done.stdout
    assert page.stat().st_size > 100_000 and "Content-Security-Policy" in page.read_text()

    run = open_run(run_dir=tiny[0])
    kept = {path: path.stat().st_mtime_ns for path in tiny[0].rglob("*") if path.is_file()}
    records = run.records("eval", 10**6)
    assert len(records) == 32
    assert {path: path.stat().st_mtime_ns for path in tiny[0].rglob("*") if path.is_file()} == kept  # only looked at
    flipped = 0
    for when in ("before", "after"):
        measured = [json.loads(line) for line in (tiny[0] / "eval" / f"{when}.jsonl").read_text().splitlines()]
        for record, row in zip(records, measured, strict=True):
            kl = record.kl_at(when, 2.0)
            assert (len(record), record.domain) == (row["tokens"], row["domain"])
            assert kl.sum().item() == pytest.approx(row["kl"], rel=1e-4)
            pivot = record.pivots(when, run.config.objective)
            if int(pivot.sum()) != row["pivots"]:
                flipped += 1  # a jump at the threshold itself, where another batch's last bit decides
            else:
                assert kl[pivot].sum().item() == pytest.approx(row["pivot_kl"], rel=1e-4)
            assert record.predictions[when].ce.sum() == pytest.approx(row["ce"], rel=1e-4)
    assert flipped <= 1


def test_a_run_that_is_not_trained_shows_the_student_before(tiny, tmp_path):
    for name in ("config.json", "data", "teacher"):
        (tmp_path / name).symlink_to(tiny[0] / name)
    [record] = open_run(run_dir=tmp_path).records("train", 1)
    assert set(record.kl) == {"before"} and set(record.predictions) == {"before", "teacher"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no run in nowhere; `discnb run` makes one"),
        (["."], "holds files but no config.json, so it is not a run"),
        (["new"], "holds no complete teacher cache; `discnb cache` writes one"),
        (["new", "--limit", 0], "limit is 0; expected at least 1 sample"),
        (["new", "--split", "test"], "there is no split 'test'; expected one of train, eval"),
        (["new", "-o", "."], ". is a folder; expected a file to write, such as explorer.html"),
    ],
)
def test_an_explorer_that_cannot_be_says_why(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    open_run("tiny", "new")
    done = discnb("explore", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not Path("explorer.html").exists()


def test_chat_streams_a_derivation(tiny):
    done = discnb("chat", "Compute 2 + 3.", "--run-dir", tiny[0], "--kind", "Q8_0", "--max-tokens", "12")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 5 and done.stderr == ""


def test_other_settings_in_the_same_folder_are_refused_by_name(tiny):
    done = discnb("train", "--run-dir", tiny[0], "--set", "train.learning_rate=1e-2")
    assert done.returncode == 2
    assert "train.learning_rate = 0.01 (the run has 0.003)" in done.stderr


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path):
    assert discnb(*small(tmp_path / "whole", "export")).returncode == 0
    killed = subprocess.Popen([COMMAND, *map(str, small(tmp_path / "killed", "export"))], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob("checkpoints/checkpoint-[2-9]/manifest.json")):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "killed" / "student" / "manifest.json").exists()
    assert discnb(*small(tmp_path / "killed", "export")).returncode == 0
    for name in ("metrics.jsonl", "student/model.safetensors", "gguf/student-Q4_K_M.gguf", "teacher/head.safetensors"):
        assert sha256(tmp_path / "killed" / name) == sha256(tmp_path / "whole" / name), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--preset", "huge"], "no preset 'huge'; expected one of tiny, mini"),
        (["train", "--preset", "tiny", "--set", "train.epoch=2"], "did you mean 'train.epochs'"),
        (["train", "--preset", "tiny", "--set", "train.epochs"], "expected name=value"),
        (["chat", "x", "--preset", "tiny"], "there is no run in"),
        (["chat", "x", "--preset", "tiny", "--kind", "Q2"], "expected one of F16, Q8_0, Q5_K_M, Q4_K_M"),
        (["data", "--preset", "tiny", "--set", "data.source=/nowhere"], "/nowhere"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = discnb(*arguments, "--run-dir", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_process_in_the_same_folder_is_refused(tmp_path):
    run = open_run("tiny", tmp_path / "run")
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(ValueError, match=r"another process works in .*run"):
        run.data()
    assert run.data()["used"] == {"train": 608, "eval": 32}


def test_a_stage_is_done_again_when_its_inputs_change(tmp_path):
    done = discnb(*small(tmp_path / "run", "cache"))
    assert done.returncode == 0, done.stderr
    shard = tmp_path / "run" / "teacher" / "train-00000.safetensors"
    before = shard.read_bytes()
    with (tmp_path / "run" / "data" / "train.parquet").open("r+b") as file:
        file.write(b"XXXX")  # damaged: made again, in the same bytes, so the cache still holds
    again = discnb(*small(tmp_path / "run", "cache"))
    assert "data: working" in again.stdout and "cache: working" not in again.stdout and shard.read_bytes() == before
    write_json(tmp_path / "run" / "teacher" / "inputs.json", seal({"made_of": []}))  # as if other data had been there
    (tmp_path / "run" / "teacher" / "manifest.json").unlink()
    again = discnb(*small(tmp_path / "run", "cache"))
    assert "was made of other inputs" in again.stderr and "cache: working" in again.stdout
    assert shard.read_bytes() == before


def test_an_interrupted_first_write_of_the_settings_does_no_harm(tmp_path):
    (tmp_path / "config.json.tmp").write_text("{")
    assert open_run("tiny", tmp_path).config.preset == "tiny"


def test_a_student_that_cannot_be_exported_is_refused_before_training(tmp_path):
    done = discnb(*small(tmp_path / "run", "train"), "--set", "student.model=prune", "--set", "student.layers=2")
    assert done.returncode == 2
    assert "'qwen3_moe' cannot be written to GGUF" in done.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not a run; choose an empty folder"):
        open_run("tiny", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_reopened_without_a_preset_keeps_its_settings(tmp_path):
    made = open_run("tiny", tmp_path / "run", {"train.epochs": 0.5})
    assert open_run(None, tmp_path / "run").config == made.config
    with pytest.raises(ValueError, match=r"train\.epochs = 1\.0 \(the run has 0\.5\)"):
        open_run("tiny", tmp_path / "run")


def test_a_run_older_than_a_setting_had_its_presets_value(tmp_path):
    config = open_run("tiny", tmp_path / "run").config
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    del saved["train"]["parallel"], saved["objective"]["selection"], saved["seal"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    assert open_run(None, tmp_path / "run").config == open_run("tiny", tmp_path / "run").config == config
    with pytest.raises(ValueError, match=r"train\.parallel = 'fsdp' \(the run has 'ddp'\)"):
        open_run("tiny", tmp_path / "run", {"train.parallel": "fsdp"})


def test_settings_altered_by_accident_are_refused_and_by_hand_are_read(tmp_path):
    open_run("tiny", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"learning_rate": 0.003', '"learning_rate": 0.005'))
    with pytest.raises(ValueError, match=r"config\.json was altered.*delete the seal if it is to say this"):
        open_run(None, tmp_path / "run")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "seal"}))
    assert open_run(None, tmp_path / "run").config.train.learning_rate == 0.005


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_a_terminated_notebook_ends_its_step_saves_it_and_goes_on(tmp_path):
    run = subprocess.Popen(
        [COMMAND, *map(str, small(tmp_path / "run")), "--set", "train.epochs=20", "--set", "train.checkpoint_steps=99"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 143 and "which is saved; the same command goes on from there" in said, said
    [checkpoint] = (tmp_path / "run" / "checkpoints").iterdir()
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert read_manifest(checkpoint)["step"] == len(rows) == int(checkpoint.name.rpartition("-")[2])


def test_an_unknown_notebook_parameter_is_an_error(tmp_path):
    parameters = {"presset": "tiny", "run_dir": str(tmp_path / "run")}
    with pytest.raises(PapermillExecutionError, match="unknown parameter presset"):
        papermill.execute_notebook(
            notebook_path(), tmp_path / "out.ipynb", parameters=parameters, kernel_name="python3", progress_bar=False
        )
    assert not (tmp_path / "run").exists()


def test_known_notebook_parameters_pass():
    check_parameters(
        ["", "import numpy as np", '# Parameters\npreset = "tiny"\nrun_dir = None\noverrides = {}\n', "x = 1"]
    )
    with pytest.raises(ValueError, match="unknown parameter steps"):
        check_parameters(["# Parameters\nsteps = 3\n"])
