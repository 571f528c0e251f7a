import json
import os

import pytest
from safetensors import SafetensorError

from discnb.checkpoint import (
    MANIFEST,
    DamagedFile,
    UnsealedFile,
    atomic_path,
    keep_newest,
    mend,
    newest_checkpoint,
    read_json,
    read_manifest,
    seal,
    unseal,
    write_json,
    write_manifest,
    write_text,
    writing,
)


def make_checkpoint(folder, step, complete=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_bytes(bytes([step % 256]) * 100)
    if complete:
        write_manifest(path, step=step)
    return path


def test_a_complete_folder_reads_back_its_facts(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.bin").write_bytes(b"abc")
    written = write_manifest(tmp_path, stage="x", number=1.5)
    assert read_manifest(tmp_path) == written
    assert list(written["files"]) == ["sub/a.bin"] and written["stage"] == "x"


def test_a_folder_without_a_manifest_is_not_complete(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(b"abd"), "altered"),
        (lambda p: p.write_bytes(b"ab"), "2 bytes; its manifest says 3"),
        (lambda p: p.unlink(), "missing"),
    ],
)
def test_every_damage_is_found_and_named(tmp_path, damage, message):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    write_manifest(tmp_path)
    damage(path)
    with pytest.raises(DamagedFile, match=message) as error:
        read_manifest(tmp_path)
    assert error.value.paths == [path] and str(path) in str(error.value)


def test_mending_deletes_everything_damaged_and_nothing_else(tmp_path, caplog):
    for name in "abc":
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path)
    (tmp_path / "a").write_text("x")
    (tmp_path / "c").write_text("longer")
    assert mend(tmp_path) is None
    assert os.listdir(tmp_path) == ["b"]
    assert f"{tmp_path / 'a'} was altered" in caplog.text and f"{tmp_path / 'c'} has 6 bytes" in caplog.text


def test_a_damaged_manifest_is_named(tmp_path):
    write_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text('{"files": ')
    with pytest.raises(DamagedFile, match=r"manifest\.json is not valid JSON"):
        read_manifest(tmp_path)


def test_what_a_manifest_says_is_sealed(tmp_path):
    write_manifest(tmp_path, kl=0.25)
    path = tmp_path / MANIFEST
    path.write_text(path.read_text().replace("0.25", "0.15"))
    with pytest.raises(DamagedFile, match=r"manifest\.json was altered: its seal") as error:
        read_manifest(tmp_path)
    assert error.value.paths == [path]


def test_a_seal_holds_what_is_said_and_not_how_it_is_written(tmp_path):
    value = {"b": (1, 2.5), "a": {"τ": None}}
    path = tmp_path / "a.json"
    write_json(path, dict(reversed(seal(value).items())))
    assert unseal(path, read_json(path)) == {"b": [1, 2.5], "a": {"τ": None}}
    with pytest.raises(DamagedFile, match="was altered"):
        unseal(path, {**seal(value), "c": 1})
    for wrong in (value, [], None):
        with pytest.raises(UnsealedFile, match="has no seal"):
            unseal(path, wrong)


def test_a_folder_without_a_seal_is_refused_and_nothing_deleted(tmp_path):
    write_manifest(tmp_path)
    write_json(tmp_path / MANIFEST, {"files": {}})
    with pytest.raises(ValueError, match=r"has no seal: an earlier discnb made it.*move .* away"):
        mend(tmp_path)
    assert (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] .\nunexpected pos 6080 vs 5972"),
        Exception("No space left on device (os error 28)"),
    ],
)
def test_an_error_of_writing_names_the_file(tmp_path, error):
    with pytest.raises(OSError, match=r"weights") as raised, writing(tmp_path / "weights"):
        raise error
    assert "\n" not in str(raised.value) and raised.value.__cause__ is error


def test_an_error_that_is_not_of_writing_stays_what_it_is(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path / "weights"):
        raise KeyError("a")
    with pytest.raises(FileNotFoundError, match="elsewhere"), writing(tmp_path / "weights"):
        (tmp_path / "elsewhere").read_text()


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_leftover_temporary_is_no_part_of_a_manifest(tmp_path):
    for name in ("a.txt.tmp", ".tmpQ84e4c"):  # ours, and that of safetensors
        (tmp_path / name).write_text("half")
    assert write_manifest(tmp_path)["files"] == {}


def test_json_refuses_nan_and_keeps_text(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": "τ"})
    assert read_json(path) == {"x": "τ"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": "τ"}


def test_the_newest_complete_checkpoint_is_found_by_number(tmp_path):
    for step in (9, 10, 100):
        make_checkpoint(tmp_path, step)
    make_checkpoint(tmp_path, 200, complete=False)
    assert newest_checkpoint(tmp_path).name == "checkpoint-100"


def test_a_damaged_checkpoint_is_named_and_skipped(tmp_path, caplog):
    make_checkpoint(tmp_path, 1)
    newest = make_checkpoint(tmp_path, 2)
    (newest / "weights").write_bytes(b"\xff" * 100)
    assert newest_checkpoint(tmp_path).name == "checkpoint-1"
    assert "checkpoint-2" in caplog.text


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None


def test_retention_keeps_the_newest_complete_ones_and_never_the_last_good_one(tmp_path):
    for step in (1, 2, 3):
        make_checkpoint(tmp_path, step)
    make_checkpoint(tmp_path, 4, complete=False)
    keep_newest(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3", "checkpoint-4"]
