"""Run folders that are damaged or hostile: manifests, settings, records of the cache, checkpoints, metrics."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from discnb.cache import CachedTeacher, cache_facts
from discnb.checkpoint import MANIFEST, DamagedFile, mend, newest_checkpoint, read_manifest, write_json, write_manifest
from discnb.presets import preset
from discnb.run import Run, open_run
from discnb.stages import Stages

FACTS = {"bytes": 3, "sha256": "0" * 64}


def listing(*names, **facts):
    return json.dumps({"files": {name: {**FACTS, **facts} for name in names}})


MANIFESTS = {
    "up the tree": (listing("../../victim"), r"lists '\.\./\.\./victim'"),
    "up the tree, later": (listing("a/../../../victim"), "lists 'a/"),
    "at the root": (listing("/victim"), "lists '/victim'"),
    "of the folder itself": (listing("."), r"lists '\.'"),
    "with an empty name": (listing(""), "lists ''"),
    "with an empty part": (listing("a//b"), "lists 'a//b'"),
    "with backslashes": (listing("..\\..\\victim"), "lists"),
    "on a drive": (listing("C:/victim"), "lists 'C:/victim'"),
    "with a NUL": (listing("a\0b"), "lists"),
    "with a lone surrogate": ('{"files": {"\\ud800": {"bytes": 3, "sha256": "0"}}}', "lists"),
    "with a turning name": (listing("\u202etxt.exe"), "lists"),
    "that is empty": ("", "not valid JSON"),
    "that is cut": ('{"files": {', "not valid JSON"),
    "that is a list": ("[]", "is no manifest"),
    "that is null": ("null", "is no manifest"),
    "that is a number": ("7", "is no manifest"),
    "without files": ("{}", "is no manifest"),
    "whose files are a list": ('{"files": ["a"]}', "is no manifest"),
    "whose files are null": ('{"files": null}', "is no manifest"),
    "whose file is a text": ('{"files": {"a": "b"}}', "gives 'a' 'b'"),
    "without sizes": ('{"files": {"a": {"sha256": "0"}}}', "gives 'a'"),
    "without hashes": ('{"files": {"a": {"bytes": 1}}}', "gives 'a'"),
    "whose size is a text": (listing("a", bytes="3"), "gives 'a'"),
    "whose size is true": (listing("a", bytes=True), "gives 'a'"),
    "whose hash is a number": (listing("a", sha256=0), "gives 'a'"),
    "with a file twice": ('{"files": {"a": {}, "a": {}}}', "stands twice"),
    "with NaN": ('{"files": {}, "seconds": NaN}', "NaN is no number"),
    "with an infinity": ('{"files": {}, "seconds": -Infinity}', "-Infinity is no number"),
    "100,000 lists deep": ("[" * 100_000, "not valid JSON"),
    "with a number of 10,000 digits": ('{"files": ' + "1" * 10_000 + "}", "not valid JSON"),
    "that is no UTF-8": (b'{"files": {"\xff": 1}}', "not valid JSON"),
    "with a byte order mark": (b'\xef\xbb\xbf{"files": {}}', "not valid JSON"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_reads_and_deletes_nothing_outside_its_folder(name, tmp_path):
    content, message = MANIFESTS[name]
    folder = tmp_path / "a" / "stage"
    folder.mkdir(parents=True)
    for victim in (tmp_path / "victim", folder / "kept"):
        victim.write_text("precious")
    (folder / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DamagedFile, match=message) as error:
        read_manifest(folder)
    assert error.value.paths == [folder / MANIFEST] and "\n" not in str(error.value)
    assert mend(folder) is None
    assert [p.name for p in folder.iterdir()] == ["kept"] and (tmp_path / "victim").read_text() == "precious"


def linked(path, target):
    path.unlink()
    path.symlink_to(target)


def folder_in_place(path):
    path.unlink()
    (path / "deep").mkdir(parents=True)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def linked_parent(path):
    outside = path.parents[2] / "outside"
    path.parent.rename(outside)
    path.parent.symlink_to(outside)


PLACES = {
    "a link to a file elsewhere": (lambda p: linked(p, p.parents[2] / "victim"), "is a link"),
    "a link to a device": (lambda p: linked(p, "/dev/zero"), "is a link"),
    "a link to itself": (lambda p: linked(p, p), "is a link"),
    "a link to nothing": (lambda p: linked(p, "absent"), "is a link"),
    "a folder": (folder_in_place, "is no file"),
    "a pipe": (pipe, "is no file"),
    "in a folder that is a link": (linked_parent, "is a link"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.timeout(20)
def test_what_lies_in_a_files_place_is_not_read_and_what_it_leads_to_not_deleted(name, tmp_path):
    change, message = PLACES[name]
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "stage" / "sub" / "weights"
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    write_manifest(tmp_path / "stage")
    change(path)
    with pytest.raises(DamagedFile, match=message):
        read_manifest(tmp_path / "stage")
    assert mend(tmp_path / "stage") is None
    assert (tmp_path / "victim").read_text() == "precious"
    if (tmp_path / "outside").exists():
        assert (tmp_path / "outside" / "weights").read_text() == "precious"
    else:
        assert not path.exists() and not path.is_symlink()


def changed(**sections):
    config = preset("tiny").to_dict()
    for name, value in sections.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) and name in config else value
    return json.dumps(config)


SETTINGS = {
    "empty": ("", "not valid JSON"),
    "cut": (changed()[:-40], "not valid JSON"),
    "a list": ("[]", "expected an object with the preset's name"),
    "null": ("null", "expected an object with the preset's name"),
    "without a preset": ("{}", "expected an object with the preset's name"),
    "with a list of presets": (changed(preset=["tiny"]), "expected an object with the preset's name"),
    "with an unknown preset": (changed(preset="enormous"), "no preset 'enormous'"),
    "with a path as preset": (changed(preset="../../etc/passwd"), r"no preset '\.\./\.\./etc/passwd'"),
    "with a section that is a list": (changed(train=[1]), "'train' is no section"),
    "with a section that is a number": (changed(data=7), "'data' is no section"),
    "with an unknown section": (changed(evil={"x": 1}), "no setting 'evil.x'"),
    "with an unknown setting": (changed(train={"trust_remote_code": True}), "no setting 'train.trust_remote_code'"),
    "with a dunder": (changed(train={"__class__": "x"}), "no setting 'train.__class__'"),
    "with NaN": (changed().replace("0.003", "NaN"), "NaN is no number"),
    "with an infinite rate": (changed(train={"learning_rate": "inf"}), "learning_rate is 'inf'"),
    "with a rate of 10^400": (changed().replace("0.003", "1e400"), "learning_rate is inf"),
    "with a negative batch": (changed(train={"batch_size": -1}), "batch_size is -1"),
    "with a batch of 2^70": (changed(train={"batch_size": 2**70}), "batch_size is 1180591620717411303424"),
    "with a batch that is a list": (changed(train={"batch_size": [8]}), "batch_size is"),
    "with a batch that is an object": (changed(train={"batch_size": {"a": 1}}), "batch_size is"),
    "with a batch that is true": (changed(train={"batch_size": True}), "batch_size is True"),
    "with a model that is a list": (changed(teacher={"model": ["scratch"]}), "teacher.model is"),
    "with a NUL in the model": (changed(teacher={"model": "a\0b"}), "teacher.model is"),
    "with an escape in the source": (changed(data={"source": "\x1b[2J"}), "data.source is"),
    "with a lone surrogate": (changed(data={"source": "\ud800"}), "data.source is"),
    "with a thousand threads": (changed(export={"threads": 1000}), "threads is 1000"),
    "with a trillion samples": (changed(data={"size": 10**12}), "size is 1000000000000"),
    "with no number for an objective": (changed(objective={"temperature": "hot"}), "temperature is 'hot'"),
    "with an unknown divergence": (changed(objective={"divergence": "../x"}), "divergence is"),
    "no UTF-8": (b'{"preset": "\xff"}', "not valid JSON"),
    "saying it twice": ('{"preset": "tiny", "preset": "mini"}', "stands twice"),
    "100,000 lists deep": ("[" * 100_000, "not valid JSON"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_none_are_named_and_the_run_is_not_touched(name, tmp_path):
    content, message = SETTINGS[name]
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message) as error:
        open_run(run_dir=tmp_path)
    assert "config.json" in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["config.json"]


def test_settings_that_are_some_are_read(tmp_path):
    (tmp_path / "config.json").write_text(changed())
    assert open_run(run_dir=tmp_path).config == preset("tiny")


KEY = {"shard_samples": 2, "batch_size": 1, "storage": "bfloat16"}
RECORD = {"key": KEY, "world": 1, "lengths": {"train": [2, 1]}, "files": {"train-00000.safetensors": FACTS}}
RECORDS = {
    "a list": [],
    "null": None,
    "empty": {},
    "without a key": {**RECORD, "key": None},
    "without lengths": {**RECORD, "lengths": [1]},
    "without files": {**RECORD, "files": "train"},
    "of no shards": {**RECORD, "key": {**KEY, "shard_samples": 0}},
    "of shards that are a text": {**RECORD, "key": {**KEY, "shard_samples": "2"}},
    "of negative batches": {**RECORD, "key": {**KEY, "batch_size": -1}},
    "of an unknown storage": {**RECORD, "key": {**KEY, "storage": "pickle"}},
    "of a storage that is a list": {**RECORD, "key": {**KEY, "storage": ["bfloat16"]}},
    "of no ranks": {**RECORD, "world": 0},
    "of half a rank": {**RECORD, "world": 0.5},
    "of negative lengths": {**RECORD, "lengths": {"train": [-1]}},
    "of lengths that are texts": {**RECORD, "lengths": {"train": ["2"]}},
    "of lengths that are a number": {**RECORD, "lengths": {"train": 2}},
    "of files without sizes": {**RECORD, "files": {"x": {"sha256": ""}}},
    "of files that are numbers": {**RECORD, "files": {"x": 1}},
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_ranks_record_that_is_none_is_named(name, tmp_path):
    write_json(tmp_path / "rank-0.json", RECORDS[name])
    with pytest.raises(DamagedFile, match=r"rank-0\.json is no record of a teacher cache"):
        cache_facts(tmp_path)
    if "files" in name or "rank" in name:
        return  # of these a manifest has its own
    facts = RECORDS[name] if isinstance(RECORDS[name], dict) else {}
    write_manifest(tmp_path, **{name: value for name, value in facts.items() if name not in ("files", "world")})
    with pytest.raises(ValueError, match="of a form no longer read; delete it"):
        CachedTeacher(tmp_path, "train")


def shard(**tensors):
    return lambda path: save_file(tensors, path)


STATES = torch.zeros(3, 4, dtype=torch.bfloat16)
SHARDS = {
    "too short": shard(hidden=STATES[:2]),
    "too long": shard(hidden=torch.zeros(4, 4)),
    "too narrow": shard(hidden=STATES[:, :2].contiguous()),
    "of one dimension": shard(hidden=torch.zeros(12)),
    "under another name": shard(other=STATES),
    "with a tensor more": shard(hidden=STATES, scale=torch.ones(3, 1)),
    "of nothing": shard(),
    "that is empty": lambda path: path.write_bytes(b""),
    "that is a text": lambda path: path.write_text("no tensors at all"),
    "with a header of 2^63 bytes": lambda path: path.write_bytes(b"\0" * 7 + b"\x80" + bytes(64)),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_shard_that_its_manifest_seals_and_its_lengths_belie_is_named(name, tmp_path):
    SHARDS[name](tmp_path / "train-00000.safetensors")
    save_file({"weight": torch.zeros(5, 4)}, tmp_path / "head.safetensors")
    write_manifest(tmp_path, key=KEY, lengths=RECORD["lengths"])
    with pytest.raises(DamagedFile, match=r"train-00000\.safetensors"):
        CachedTeacher(tmp_path, "train").states(0)


def test_a_shard_as_its_manifest_says_is_read(tmp_path):
    shard(hidden=STATES)(tmp_path / "train-00000.safetensors")
    save_file({"weight": torch.zeros(5, 4)}, tmp_path / "head.safetensors")
    write_manifest(tmp_path, key=KEY, lengths=RECORD["lengths"])
    assert CachedTeacher(tmp_path, "train").states(1).shape == (1, 4)


LINES = {
    "cut": (b'{"step": 1}\n{"step": 2', "line 2"),
    "that is a list": (b"[1]\n", "no object in line 1"),
    "that is blank": (b'{"step": 1}\n\n{"step": 3}\n', "line 2"),
    "with NaN": (b'{"loss": NaN}\n', "NaN is no number"),
    "that is no UTF-8": (b'{"step": 1}\n\xff\n', "line 2"),
    "100,000 lists deep": (b"[" * 100_000, "line 1"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_damaged_line_of_the_metrics_is_named(name, tmp_path):
    content, message = LINES[name]
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(DamagedFile, match=message):
        Run(tmp_path, preset("tiny")).metrics()


CHECKPOINTS = (
    "checkpoint-",
    "checkpoint--5",
    "checkpoint-²",
    "checkpoint-٣",
    "checkpoint-1e9",
    "checkpoint-" + "9" * 200,
)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_of_a_strange_name_does_not_stand_in_the_way(name, tmp_path):
    for folder in ("checkpoint-3", name):
        (tmp_path / folder).mkdir()
    write_manifest(tmp_path / "checkpoint-3")
    (tmp_path / name / MANIFEST).write_text(listing("../../victim"))
    (tmp_path / "checkpoint-99").write_text("a file")
    assert newest_checkpoint(tmp_path).name == "checkpoint-3"


def test_inputs_that_cannot_be_read_delete_nothing(tmp_path):
    place = tmp_path / "student"
    place.mkdir()
    (place / "weights").write_text("hours of work")
    (place / "inputs.json").write_text('[{"a"')
    with pytest.raises(ValueError, match=r"inputs\.json is not valid JSON.*move .*student away"):
        Stages(tmp_path).do("train", lambda folder: {}, folder="student")
    assert (place / "weights").read_text() == "hours of work"
