"""Model folders that lie: pickles, headers, configurations and tokenizers from someone one does not know."""

import json
import os
import pickle
import shutil
import struct
import zipfile

import pytest
import torch

from discnb.data.tokens import text_encoder
from discnb.gguf import read_gguf, write_gguf
from discnb.llama import LlamaModel
from discnb.models import load_model, scratch_student, scratch_tokenizer

from .files import Model, V, safetensors

CODE = "from pathlib import Path; Path('ran').touch()\n"
"""What must never run; it would leave a file where the test can see it."""


class Program:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def pickled(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Program()))


def zipped(folder, name):
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Program()))
        archive.writestr("archive/version", "3")


def weights(content):
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def header(**facts):
    """A file of one tensor whose entry in the header says something else."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **facts}
    return weights(safetensors({"x": {k: v for k, v in entry.items() if v is not None}}, bytes(8)))


def renamed(change):
    """The true weights with another header."""

    def act(folder):
        data = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        entries = json.loads(data[8 : 8 + length])
        change(entries)
        (folder / "model.safetensors").write_bytes(safetensors(entries, data[8 + length :]))

    return act


def setting(**changes):
    def act(folder, name="config.json"):
        value = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**value, **changes}))

    return act


def tokenizer_setting(**changes):
    return lambda folder: setting(**changes)(folder, "tokenizer_config.json")


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def own_code(folder):
    (folder / "own.py").write_text(CODE)
    setting(auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}, model_type="own")(folder)


def index(weight_map):
    return text("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": weight_map}))


def linked_index(folder):
    (folder / "outside.safetensors").symlink_to("/dev/zero")


def no_weights(folder):
    (folder / "model.safetensors").unlink()


FILES = {
    "a pickle named pytorch_model.bin": (lambda f: pickled(f, "pytorch_model.bin"), "loading a pickle runs it"),
    "a pickle named model.pt": (lambda f: pickled(f, "model.pt"), "loading a pickle runs it"),
    "a pickle named weights.pkl": (lambda f: pickled(f, "weights.pkl"), "loading a pickle runs it"),
    "a pickle named model.safetensors": (lambda f: pickled(f, "model.safetensors"), "a pickle by its first bytes"),
    "torch's zip named model.safetensors": (lambda f: zipped(f, "model.safetensors"), "a pickle by its first bytes"),
    "torch's zip named pytorch_model.bin": (lambda f: zipped(f, "pytorch_model.bin"), "loading a pickle runs it"),
    "no weights": (no_weights, r"no model\.safetensors"),
    "no configuration": (lambda f: (f / "config.json").unlink(), r"no config\.json"),
    "an adapter of another model": (text("adapter_config.json", "{}"), "holds an adapter"),
    "weights from a device": (linked_index, "is no file"),
    "an index that leads up": (index({"x": "../../x.safetensors"}), "names the file '../../x.safetensors'"),
    "an index that leads to a root": (index({"x": "/etc/passwd"}), "names the file '/etc/passwd'"),
    "an index that leads to a drive": (index({"x": "C:\\x.safetensors"}), "names the file"),
    "an index of a pickle": (index({"x": "pytorch_model.bin"}), "names the file 'pytorch_model.bin'"),
    "an index of a missing file": (index({"x": "absent.safetensors"}), "names the file 'absent.safetensors'"),
    "an index of numbers": (index({"x": 7}), "names the file 7"),
    "an index of nothing": (index({}), "has no weight_map"),
    "an index that is a list": (text("model.safetensors.index.json", "[]"), "holds no object"),
    "empty weights": (weights(b""), "0 bytes long"),
    "weights of seven bytes": (weights(bytes(7)), "7 bytes long"),
    "a header of 2^64-1 bytes": (weights(safetensors({}, length=2**64 - 1)), "its header 18446744073709551615"),
    "a header of 2^63 bytes": (weights(safetensors({}, length=2**63)), "its header 9223372036854775808"),
    "a header one byte too long": (weights(safetensors({}, length=3)), "its header 3"),
    "a header of nothing": (weights(safetensors(b"")), "its header 0"),
    "a header that is no JSON": (weights(safetensors(b"{nonsense}")), "no safetensors file"),
    "a header that is no UTF-8": (weights(safetensors(b'{"\xff": 1}')), "no safetensors file"),
    "a header that is a list": (weights(safetensors(b"[]")), "the header is no object"),
    "a header 100,000 lists deep": (weights(safetensors(b"[" * 100_000)), "no safetensors file"),
    "a tensor twice": (weights(safetensors(b'{"x": {}, "x": {}}')), "a name stands twice"),
    "a tensor that is a number": (weights(safetensors({"x": 3})), "'x' is no tensor"),
    "a tensor without a type": (header(dtype=None), "'x' is no tensor"),
    "an unknown type": (header(dtype="PICKLE"), "unknown type 'PICKLE'"),
    "a type that is a list": (header(dtype=["F32"]), "unknown type"),
    "a negative size": (header(shape=[-2]), "has the shape"),
    "a size of 2^63": (header(shape=[2**63]), "has the shape"),
    "sizes whose product wraps": (header(shape=[2**33, 2**31]), "lies from 0 to 8"),
    "a size that is a text": (header(shape=["2"]), "has the shape"),
    "a size that is true": (header(shape=[True, 2]), "has the shape"),
    "an offset outside the file": (header(data_offsets=[8, 16]), "begins at 8, expected 0"),
    "offsets in the wrong order": (header(data_offsets=[8, 0]), "lies from 8 to 0"),
    "an offset of 2^64": (header(data_offsets=[0, 2**64]), "has the shape"),
    "three offsets": (header(data_offsets=[0, 4, 8]), "has the shape"),
    "overlapping tensors": (
        weights(safetensors({n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in "xy"}, bytes(8))),
        "overlap or leave a gap",
    ),
    "bytes that no tensor has": (weights(safetensors({}, b"hidden")), "the tensors take 0 bytes"),
    "cut weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-4]),
        "the tensors take",
    ),
    "weights without a tensor that is needed": (renamed(lambda e: e.update(stray=e.pop("model.norm.weight"))),
                                                "are not those of its config"),
}  # fmt: skip

CONFIGS = {
    "code of its own": (own_code, "asks for code of its own"),
    "code of its own, deep": (setting(text_config={"deep": [{"auto_map": {"AutoModel": "x.Y"}}]}), "code of its own"),
    "code of the tokenizer": (tokenizer_setting(auto_map={"AutoTokenizer": ["own.T", None]}), "code of its own"),
    "code from the hub as attention": (setting(attn_implementation="someone/kernel"), "attn_implementation"),
    "code from the hub as attention, hidden": (setting(_attn_implementation="a/b:c"), "_attn_implementation"),
    "no model_type": (setting(model_type=None), "model_type None"),
    "a model_type that is a path": (setting(model_type="../../x"), "cannot be loaded"),
    "a model_type that is a list": (setting(model_type=["qwen3"]), "model_type"),
    "an unknown model_type": (setting(model_type="evil"), "cannot be loaded"),
    "a negative width": (setting(hidden_size=-64), "hidden_size is -64"),
    "a width of nothing": (setting(hidden_size=0), "hidden_size is 0"),
    "a gigantic width": (setting(hidden_size=10**15), "hidden_size is 1000000000000000"),
    "a width that is a text": (setting(hidden_size="256"), "hidden_size is '256'"),
    "a width that is half": (setting(hidden_size=256.5), "hidden_size is 256.5"),
    "a width that is true": (setting(hidden_size=True), "hidden_size is True"),
    "a billion layers": (setting(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "negative layers": (setting(num_hidden_layers=-1), "num_hidden_layers is -1"),
    "a gigantic vocabulary": (setting(vocab_size=10**12), "vocab_size is 1000000000000"),
    "a negative vocabulary": (setting(vocab_size=-1), "vocab_size is -1"),
    "another vocabulary than the weights": (setting(vocab_size=999), "cannot be loaded|are not those"),
    "another width than the weights": (setting(hidden_size=128), "cannot be loaded|are not those"),
    "more layers than the weights": (setting(num_hidden_layers=5, layer_types=None), "are not those of its config"),
    "no heads": (setting(num_attention_heads=0), "num_attention_heads is 0"),
    "heads no multiple of key-value heads": (setting(num_attention_heads=4, num_key_value_heads=3), "not divisible"),
    "a gigantic head": (setting(head_dim=2**40), "head_dim is 1099511627776"),
    "an activation that is code": (setting(hidden_act="__import__('os').system('touch ran')"), "cannot be loaded"),
    "an epsilon that is a text": (setting(rms_norm_eps="tiny"), "cannot be loaded"),
    "a configuration that is a list": (text("config.json", "[]"), "holds no object"),
    "a configuration that is cut": (text("config.json", '{"model_type": "qw'), "not valid JSON"),
    "a configuration with NaN": (text("config.json", '{"model_type": "qwen3", "rms_norm_eps": NaN}'), "NaN"),
    "a configuration that says it twice": (text("config.json", '{"vocab_size": 1, "vocab_size": 2}'), "stands twice"),
    "a configuration 100,000 lists deep": (text("config.json", "[" * 100_000), "not valid JSON"),
    "a configuration that is no UTF-8": (text("config.json", b'{"\xff": 1}'), "not valid JSON"),
    "a number of 10,000 digits": (text("config.json", '{"vocab_size": 1' + "0" * 10_000 + "}"), "not valid JSON"),
}  # fmt: skip

TOKENIZERS = {
    "a tokenizer file up the tree": (tokenizer_setting(tokenizer_file="../../x.json"), "names the file"),
    "a tokenizer file at the root": (tokenizer_setting(vocab_file="/etc/passwd"), "names the file '/etc/passwd'"),
    "a list of tokenizer files up the tree": (
        tokenizer_setting(fast_tokenizer_files=["../../tokenizer.1.0.json"]), "names the file",
    ),
    "tokenizer files that are no list": (tokenizer_setting(fast_tokenizer_files={"a": 1}), "names the file"),
    "tokenizer settings that are a list": (text("tokenizer_config.json", "[]"), "holds no object"),
    "a tokenizer that is no JSON": (text("tokenizer.json", "nonsense"), "cannot be loaded"),
    "a tokenizer that is empty": (text("tokenizer.json", ""), "cannot be loaded"),
    "a tokenizer of an unknown kind": (
        text("tokenizer.json", '{"version": "1.0", "added_tokens": [], "model": {"type": "Evil"}}'),
        "cannot be loaded",
    ),
}  # fmt: skip
CASES = {**FILES, **CONFIGS, **TOKENIZERS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = scratch_tokenizer(["two and two are four"], 300)
    scratch_student(tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "model"


@pytest.mark.parametrize("name", CASES)
def test_a_folder_that_lies_is_refused_and_runs_nothing(name, folder, monkeypatch):
    damage, message = CASES[name]
    damage(folder)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked at the terminal"))
    with pytest.raises(ValueError, match=message) as error:
        load_model(str(folder))
    assert "model" in str(error.value) and "\n" not in str(error.value).strip()
    assert not list(folder.parent.rglob("ran"))


def test_the_same_folder_without_a_lie_loads(folder):
    model, tokenizer = load_model(str(folder))
    assert model.config.vocab_size == len(tokenizer)


TEMPLATES = {
    "runs a command": "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
    "reads a file": "{% include '/etc/passwd' %}",
    "never ends": "{% for i in range(10**12) %}{% endfor %}",
    "is computed as it is compiled": "{{ 10**10**10 }}",
    "fills the memory": "{{ 'a' * 10**12 }}",
    "is not one": "{% if",
    "is 10,000 brackets deep": "{{ " + "(" * 10_000 + ")" * 10_000 + " }}",
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.timeout(60)
def test_a_chat_template_is_carried_and_never_run(name, folder, monkeypatch):
    (folder / "chat_template.jinja").write_text(TEMPLATES[name])
    model, tokenizer = load_model(str(folder))
    assert tokenizer.chat_template == TEMPLATES[name]
    text_encoder(tokenizer).encode("two and two")
    path = write_gguf(model, tokenizer, folder / "student.gguf", "F16")
    with LlamaModel(path, context=16, threads=1) as opened:
        list(opened.generate("two", max_new_tokens=2))
    assert read_gguf(path)[1].chat_template == TEMPLATES[name]
    other = Model().set("tokenizer.chat_template", TEMPLATES[name], V.STRING).write(folder / "other.gguf")
    with LlamaModel(other, context=16, threads=1) as opened:
        assert opened.vocab_size
    assert not list(folder.parent.rglob("ran"))


def test_a_pickle_as_above_does_run_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Program()))
    assert (tmp_path / "ran").exists()
    with pytest.raises(pickle.UnpicklingError):
        (tmp_path / "x.pt").write_bytes(pickle.dumps(Program(), protocol=2))
        torch.load(tmp_path / "x.pt", weights_only=True)
