"""The command, given what it should not be: a line that says what was wrong, exit code 2, no traceback."""

import json
import sys

import pytest

from discnb import cli

NEW = ("data", "--run-dir", "{new}")
CASES = {
    "an unknown preset": (("data", "--preset", "enormous"), "no preset 'enormous'"),
    "a preset up the tree": (("data", "--preset", "../../etc"), "no preset '../../etc'"),
    "a preset at the root": (("run", "--preset", "/etc/passwd"), "no preset '/etc/passwd'"),
    "an empty preset": (("plan", "--preset", ""), "no preset ''"),
    "a preset with an escape": (("data", "--preset", "\x1b[2Jtiny"), "no preset '\\x1b[2Jtiny'"),
    "a preset that turns": (("data", "--preset", "\u202eynit"), "no preset '\\u202eynit'"),
    "a preset with rich's markup": (("data", "--preset", "[/x]"), "no preset '[/x]'"),
    "a setting without a value": ((*NEW, "--set", "train.epochs"), "expected name=value"),
    "a setting without a name": ((*NEW, "--set", "=1"), "no setting ''"),
    "an unknown setting": ((*NEW, "--set", "train.epoch=1"), "did you mean 'train.epochs'"),
    "a setting with a dunder": ((*NEW, "--set", "train.__class__=1"), "no setting"),
    "a setting with rich's markup": ((*NEW, "--set", "[/]=1"), "no setting '[/]'"),
    "a rate that is a text": ((*NEW, "--set", "train.learning_rate=fast"), "expected float"),
    "a rate that is NaN": ((*NEW, "--set", "train.learning_rate=nan"), "train.learning_rate is 'nan'"),
    "an infinite rate": ((*NEW, "--set", "train.learning_rate=inf"), "train.learning_rate is 'inf'"),
    "a rate of 1e999": ((*NEW, "--set", "train.learning_rate=1e999"), "train.learning_rate is '1e999'"),
    "a negative rate": ((*NEW, "--set", "train.learning_rate=-1"), "expected a number > 0"),
    "epochs of nothing": ((*NEW, "--set", "train.epochs=0"), "train.epochs is 0"),
    "infinite epochs": ((*NEW, "--set", "train.epochs=inf"), "train.epochs is 'inf'"),
    "half a batch": ((*NEW, "--set", "train.batch_size=0.5"), "expected int"),
    "a batch of 2^64": ((*NEW, "--set", f"train.batch_size={2**64}"), "expected int"),
    "a batch of 10,000 digits": ((*NEW, "--set", "train.batch_size=1" + "0" * 10_000), "expected int"),
    "a code for a number": ((*NEW, "--set", "train.batch_size=__import__('os')"), "expected int"),
    "bf16 perhaps": ((*NEW, "--set", "train.bf16=perhaps"), "expected bool"),
    "an unknown storage": ((*NEW, "--set", "teacher.storage=pickle"), "storage is 'pickle'"),
    "a thousand threads": ((*NEW, "--set", "export.threads=1000"), "at most 512"),
    "a trillion samples": ((*NEW, "--set", "data.size=1000000000000"), "at most 100,000"),
    "a source that is not there": ((*NEW, "--set", "data.source=/absent"), "'/absent' is no folder"),
    "a source with an escape": ((*NEW, "--set", "data.source=\x1b]0;x\x07"), "expected a text without control"),
    "a stream of nothing": ((*NEW, "--set", "data.source=stream:"), "the stream's source is ''"),
    "a stream from a file of code": ((*NEW, "--set", "data.source=stream:{code}"), "cannot be read"),
    "a teacher with a NUL": ((*NEW, "--set", "teacher.model=a\0b"), "expected a text without control"),
    "a run's folder with a line feed": (("data", "--run-dir", "a\nb"), "expected a name without control characters"),
    "a run's folder with an escape": (("data", "--run-dir", "a\x1b[2Jb"), "expected a name without control"),
    "a run's folder that is no UTF-8": (("data", "--run-dir", "a\udcff"), "expected a name without control"),
    "a run's folder with other files": (("data", "--run-dir", "{other}"), "holds files but no config.json"),
    "a run's folder that is a file": (("data", "--run-dir", "{file}"), "Invalid value for '--run-dir'"),
    "a run that is damaged": (("train", "--run-dir", "{damaged}"), "config.json is not valid JSON"),
    "a run of other settings": (("data", "--run-dir", "{run}", "--set", "train.epochs=2"), "made with other settings"),
    "an explorer of no run": (("explore", "{empty}"), "there is no run in"),
    "an explorer of a damaged run": (("explore", "{damaged}"), "config.json is not valid JSON"),
    "an explorer of a split up the tree": (("explore", "{run}", "--split", "../../x"), "no split '../../x'"),
    "an explorer of no samples": (("explore", "{run}", "--limit", "0"), "limit is 0"),
    "an explorer onto a folder": (("explore", "{run}", "-o", "{empty}"), "is a folder"),
    "a chat with no run": (("chat", "2 + 2?", "--run-dir", "{empty}"), "there is no run in"),
    "a chat of an unknown kind": (("chat", "2 + 2?", "--run-dir", "{run}", "--kind", "../../x"), "no file of kind"),
    "a chat before the export": (("chat", "2 + 2?", "--run-dir", "{run}"), "does not exist; `discnb export`"),
    "a chat with a file that lies": (("chat", "2 + 2?", "--run-dir", "{lying}"), "is not a GGUF file"),
    "a chat of no tokens": (("chat", "2 + 2?", "--run-dir", "{run}", "--max-tokens", "0"), "--max-tokens"),
    "a plan on an unknown GPU": (("plan", "--gpu", "[/]\x1b[2J"), "[/]"),
    "a plan on no GPUs": (("plan", "--gpus", "0"), "--gpus is 0"),
    "a plan on -1 GPUs": (("plan", "--gpus", "-1"), "--gpus is -1"),
    "a plan for NaN samples": (("plan", "--samples", "nan"), "--samples is nan"),
    "a plan for infinite samples": (("plan", "--samples", "inf"), "--samples is inf"),
    "a plan for negative samples": (("plan", "--samples", "-5"), "--samples is -5"),
    "a plan for 1e300 samples": (("plan", "--samples", "1e300"), "--samples is 1e+300"),
    "a plan for samples of nothing": (("plan", "--tokens", "0"), "--tokens is 0"),
    "a plan at NaN of the peak": (("plan", "--mfu", "nan"), "--mfu is nan"),
    "a plan at ten times the peak": (("plan", "--mfu", "10"), "mfu 10.0; expected"),
    "a plan of a model up the tree": (("plan", "--set", "teacher.model=../../x"), "no architecture is known"),
    "an unknown command": (("destroy",), "No such command"),
    "an unknown option": (("data", "--force"), "No such option"),
    "too many arguments": (("data", "a", "b"), "unexpected extra argument"),
    "a number that is none": (("explore", "{run}", "--limit", "many"), "Invalid value for '--limit'"),
}  # fmt: skip


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = {name: tmp_path / name for name in ("new", "other", "file", "damaged", "run", "empty", "code", "lying")}
    for name in ("other", "damaged", "empty", "code"):
        found[name].mkdir()
    (found["other"] / "thesis.tex").write_text("years of work")
    found["file"].write_text("a file")
    (found["damaged"] / "config.json").write_text('{"preset": ')
    (found["code"] / "code.py").write_text("open('ran', 'w')")
    from discnb.run import open_run

    for name in ("run", "lying"):
        open_run("tiny", found[name])
    (found["lying"] / "gguf").mkdir()
    (found["lying"] / "gguf" / "student-Q4_K_M.gguf").write_bytes(b"\x80\x04 a pickle")
    return found


def command(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["discnb", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_a_line_and_exit_code_2(name, places, tmp_path, monkeypatch, capsys):
    arguments, message = CASES[name]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code = command([word.format(**places) if "{" in word else word for word in arguments], monkeypatch)
    out, err = capsys.readouterr()
    assert code == 2, err
    assert message in " ".join(err.split()) or message in err, err
    assert "Traceback" not in out + err
    assert not {c for c in err if not c.isprintable()} - {"\n"} and len(err) < 12_000
    if err.startswith("discnb: ") and "other settings" not in message:
        assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before and not (tmp_path / "ran").exists()


def test_an_interruption_is_exit_code_130(places, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("discnb.run.Run.data", interrupted)
    assert command(["data", "--run-dir", str(places["run"])], monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_what_is_well_is_exit_code_0(monkeypatch, capsys):
    assert command(["plan", "--preset", "tiny", "--json"], monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["gpus"] == 1
