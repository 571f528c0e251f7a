"""GGUF files that lie: refused from their header, before llama.cpp, whose assertions end the process, sees them."""

import struct
import subprocess
import sys

import pytest

from discnb.gguf import read_gguf
from discnb.gguf_header import read_header
from discnb.llama import LlamaModel
from discnb.quantize import quantize

from .files import TOKENS, WIDTH, Model, Q, V, raw

HUGE = 2**63
TYPE = "tokenizer.ggml.token_type"


def tokens(words, family="llama"):
    """A model of these tokens."""
    model = Model(family).set("tokenizer.ggml.tokens", words).set(TYPE, [1] * len(words))
    return model.set("tokenizer.ggml.eos_token_id", 0).tensor("token_embd.weight", (WIDTH, len(words)))


HEADERS = {
    "other magic": (Model().with_head(magic=b"GGML"), "begins with b'GGML'"),
    "zip magic": (Model().with_head(magic=b"PK\3\4"), "is not a GGUF file"),
    "version 0": (Model().with_head(version=0), "version 0"),
    "version 1": (Model().with_head(version=1), "version 1"),
    "version 4": (Model().with_head(version=4), "version 4"),
    "big-endian version": (Model().with_head(version=0x03000000), "little-endian"),
    "2^63 tensors": (Model().with_head(tensors=HUGE), f"{HUGE} tensors, but"),
    "2^64-1 tensors": (Model().with_head(tensors=2**64 - 1), "tensors, but"),
    "2^63 values": (Model().with_head(values=HUGE), f"{HUGE} metadata values, but"),
    "one value too many": (Model().with_head(values=15), "truncated or damaged"),
    "one value too few": (Model().with_head(values=13), "truncated or damaged"),
    "one tensor too many": (Model().with_head(tensors=12), "truncated or damaged"),
    "key longer than the file": (Model().set("x", raw(V.UINT32, ("I", 1))), None),
    "string of 2^63 bytes": (Model().set("x", raw(V.STRING, ("Q", HUGE))), "bytes of a string"),
    "string of 2^64-1 bytes": (Model().set("x", raw(V.STRING, ("Q", 2**64 - 1))), "bytes of a string"),
    "list of 2^63 numbers": (Model().set("x", raw(V.ARRAY, ("I", V.UINT8), ("Q", HUGE))), "values in x"),
    "list of 2^61 numbers of 8 bytes": (Model().set("x", raw(V.ARRAY, ("I", 10), ("Q", 2**61))), "values in x"),
    "list of 2^63 strings": (Model().set("x", raw(V.ARRAY, ("I", V.STRING), ("Q", HUGE))), "strings in x"),
    "list of lists": (Model().set("x", raw(V.ARRAY, ("I", V.ARRAY), ("Q", 1), ("I", 4), ("Q", 0))), "no list of lists"),
    "a thousand lists within lists": (
        Model().set("x", struct.pack("<I", V.ARRAY) + struct.pack("<IQ", V.ARRAY, 1) * 1000), "no list of lists",
    ),
    "unknown value type": (Model().set("x", raw(13, ("I", 1))), "of the type 13"),
    "unknown item type": (Model().set("x", raw(V.ARRAY, ("I", 99), ("Q", 1))), "of the type 99"),
    "the same key twice": (Model().add("llama.block_count", V.UINT32, 1), "the key 'llama.block_count' twice"),
    "an empty key": (Model().add("", V.UINT32, 1), "an empty key"),
    "a key that is no UTF-8": (Model().add(b"\xff\xfe", V.UINT32, 1), "a key is not UTF-8"),
    "a string that is no UTF-8": (Model().set("x", raw(V.STRING, ("Q", 1)) + b"\xff"), "x is not UTF-8"),
    "alignment 0": (Model().set("general.alignment", 0), "alignment is 0"),
    "alignment 33": (Model().set("general.alignment", 33), "alignment is 33"),
    "alignment as text": (Model().set("general.alignment", "32", V.STRING), "alignment is '32'"),
    "alignment of 2^31": (Model().set("general.alignment", 2**31), "truncated or damaged"),
    "tensor without a name": (Model().tensor("", (32,)), "name of 0 bytes"),
    "tensor name of 64 bytes": (Model().tensor("x" * 64, (32,)), "name of 64 bytes"),
    "tensor name that is no UTF-8": (Model().tensor(b"\xff", (32,)), "a tensor's name is not UTF-8"),
    "no dimensions": (Model().tensor("output_norm.weight", ()), "of 0 dimensions"),
    "five dimensions": (Model().tensor("x", (1, 1, 1, 1, 1)), "of 5 dimensions"),
    "a dimension of 0": (Model().tensor("output_norm.weight", (0,)), r"shape \(0,\)"),
    "a dimension of 2^63": (Model().tensor("output_norm.weight", (HUGE,)), "needs"),
    "dimensions whose product wraps to 0": (Model().tensor("output.weight", (2**32, 2**32)), "needs"),
    "dimensions whose bytes wrap to 32": (Model().tensor("output.weight", (2**62 + 8,)), "needs"),
    "unknown tensor type": (Model().tensor("output_norm.weight", kind=255), "unknown type 255"),
    "removed tensor type": (Model().tensor("output_norm.weight", kind=4), "unknown type 4"),
    "row no multiple of its block": (Model().tensor("x", (33, 2), Q.Q4_0), "a multiple of 32"),
    "offset outside the file": (Model().tensor("blk.0.ffn_down.weight", offset=2**40), "overlap or leave a gap"),
    "offset of 2^64-32": (Model().tensor("blk.0.ffn_down.weight", offset=2**64 - 32), "overlap or leave a gap"),
    "offset off the alignment": (Model().tensor("output_norm.weight", offset=7), "overlap or leave a gap"),
    "overlapping tensors": (Model().tensor("blk.0.ffn_up.weight", offset=0), "overlap or leave a gap"),
    "the same tensor twice": (
        Model().tensor("x", (32,)), None,
    ),
}  # fmt: skip
HEADERS["key longer than the file"] = (
    Model().bytes().replace(struct.pack("<Q", 20) + b"general.arch", struct.pack("<Q", 2**40) + b"general.arch"),
    "bytes of a string",
)
twice = Model()
twice.tensors.append(twice.tensors[1])
HEADERS["the same tensor twice"] = (twice, "the tensor 'output_norm.weight' twice")

MODELS = {
    "no architecture": (Model().drop("general.architecture"), "lacks the metadata 'general.architecture'"),
    "architecture as a number": (Model().set("general.architecture", 3, V.UINT32), "of architecture 3"),
    "another architecture": (Model().set("general.architecture", "gemma3"), "architecture 'gemma3'"),
    "a path as architecture": (Model().set("general.architecture", "../../etc"), r"architecture '\.\./\.\./etc'"),
    "no block_count": (Model().drop("llama.block_count"), "lacks the metadata 'llama.block_count'"),
    "no embedding_length": (Model().drop("llama.embedding_length"), "lacks the metadata"),
    "no epsilon": (Model().drop("llama.attention.layer_norm_rms_epsilon"), "lacks the metadata"),
    "no tokens": (Model().drop("tokenizer.ggml.tokens"), "lacks the metadata 'tokenizer.ggml.tokens'"),
    "no merges": (Model().drop("tokenizer.ggml.merges"), "lacks the metadata 'tokenizer.ggml.merges'"),
    "no token types": (Model().drop(TYPE), "lacks the metadata"),
    "block_count 0": (Model().set("llama.block_count", 0), "block_count is 0"),
    "block_count 513": (Model().set("llama.block_count", 513), "block_count is 513"),
    "block_count 2^32-1": (Model().set("llama.block_count", 2**32 - 1), "block_count is 4294967295"),
    "block_count as text": (Model().set("llama.block_count", "1", V.STRING), "another type; expected UINT32"),
    "block_count as 64 bits": (Model().set("llama.block_count", 1, V.UINT64), "another type; expected UINT32"),
    "one layer more than there is": (Model().set("llama.block_count", 2), r"no tensor blk\.1\."),
    "no heads": (Model().set("llama.attention.head_count", 0), "head_count is 0"),
    "heads of each layer": (Model().set("llama.attention.head_count", [2], (V.UINT32,)), "another type"),
    "no key-value heads": (Model().set("llama.attention.head_count_kv", 0), "head_count_kv is 0"),
    "heads no multiple of key-value heads": (
        Model().set("llama.attention.head_count", 3).set("llama.attention.head_count_kv", 2), "not divisible by 2",
    ),
    "odd key length": (Model().set("llama.attention.key_length", 15), "key_length is 15"),
    "value length of its own": (Model().set("llama.attention.value_length", 8), "value_length 8"),
    "partly turned heads": (Model().set("llama.rope.dimension_count", 8), "rope.dimension_count 8"),
    "embedding_length 0": (Model().set("llama.embedding_length", 0), "embedding_length is 0"),
    "embedding_length 2^31": (Model().set("llama.embedding_length", 2**31), r"ask for \(2147483648, 258\)"),
    "context_length 0": (Model().set("llama.context_length", 0), "context_length is 0"),
    "epsilon 0": (Model().set("llama.attention.layer_norm_rms_epsilon", 0.0), "epsilon is 0"),
    "epsilon NaN": (Model().set("llama.attention.layer_norm_rms_epsilon", float("nan")), "epsilon is nan"),
    "epsilon infinite": (Model().set("llama.attention.layer_norm_rms_epsilon", float("inf")), "epsilon is inf"),
    "frequency base negative": (Model().set("llama.rope.freq_base", -1.0, V.FLOAT32), "freq_base is -1"),
    "vocab_size of its own": (Model().set("llama.vocab_size", 7), "vocab_size is 7"),
    "experts": (Model().set("llama.expert_count", 2**31), "'llama.expert_count'"),
    "more experts used than there are": (Model().set("llama.expert_used_count", 9), "'llama.expert_used_count'"),
    "scaled rotary embedding": (Model().set("llama.rope.scaling.type", "none of them", V.STRING), "rope.scaling.type"),
    "layers to predict ahead": (Model().set("llama.nextn_predict_layers", 9), "nextn_predict_layers"),
    "parts in other files": (Model().set("split.count", 65535), "'split.count'"),
    "tokens as numbers": (Model().set("tokenizer.ggml.tokens", [1], (V.INT32,)), "a list of STRING"),
    "tokens as one text": (Model().set("tokenizer.ggml.tokens", "a b c", V.STRING), "a list of STRING"),
    "a token twice": (tokens([*TOKENS, "a"]), "1 tokens twice"),
    "an empty token": (tokens([*TOKENS, ""]), "an empty token"),
    "fewer types than tokens": (Model().set(TYPE, [1]), "1 token types for"),
    "types as text": (Model().set(TYPE, ["normal"], (V.STRING,)), "a list of INT32"),
    "merge of one token": (Model().set("tokenizer.ggml.merges", ["ab"]), "the merge 'ab'"),
    "merge of three tokens": (Model().set("tokenizer.ggml.merges", ["a b c"]), "the merge 'a b c'"),
    "empty merge": (Model().set("tokenizer.ggml.merges", [""]), "the merge ''"),
    "end of text outside the tokens": (Model().set("tokenizer.ggml.eos_token_id", 10**6), "eos_token_id is 1000000"),
    "padding outside the tokens": (Model().set("tokenizer.ggml.padding_token_id", 2**32 - 1), "padding_token_id"),
    "end of text as text": (Model().set("tokenizer.ggml.eos_token_id", "</s>", V.STRING), "expected UINT32"),
    "fewer tokens than rows": (Model().tensor("token_embd.weight", (WIDTH, 9999)), "needs"),
    "no embedding": (Model().drop("token_embd.weight"), r"no tensor token_embd\.weight"),
    "no norm": (Model().drop("blk.0.ffn_norm.weight"), r"no tensor blk\.0\.ffn_norm\.weight"),
    "a bias": (Model().tensor("blk.0.attn_q.bias", (WIDTH,)), r"holds the tensor 'blk\.0\.attn_q\.bias'"),
    "a tensor with a path for a name": (Model().tensor("../../x", (32,)), r"holds the tensor '\.\./\.\./x'"),
    "a turned matrix": (Model().tensor("blk.0.ffn_down.weight", (WIDTH, 64)), "but its metadata ask for"),
    "a norm of two dimensions": (Model().tensor("output_norm.weight", (16, 2)), "but its metadata ask for"),
    "a norm in half precision": (Model().tensor("blk.0.ffn_down.weight", kind=Q.F64), None),
    "a matrix of integers": (Model().tensor("blk.0.ffn_down.weight", kind=Q.I32), r"ffn_down\.weight is I32"),
}  # fmt: skip
half = Model()
half.tensors = [entry for entry in half.tensors if entry[0] != "blk.0.ffn_norm.weight"]
half.tensor("blk.0.ffn_norm.weight", (WIDTH,), Q.F16)
MODELS["a norm in half precision"] = (half, r"ffn_norm\.weight is F16; expected F32")

CUTS = (
    "version", "tensor count", "value count", "key length", "key", "type", "number", "string length", "string",
    "list type", "item type", "item count", "items", "numbers", "name length", "name", "dimensions", "shape",
    "tensor type", "offset", "end of header",
)  # fmt: skip
CASES = {**HEADERS, **MODELS, **{f"cut before the {mark}": (mark, "truncated or damaged") for mark in CUTS}}


def content(made):
    if isinstance(made, str):
        whole = Model()
        data = whole.bytes()
        return data[: whole.marks[made]]
    return made if isinstance(made, bytes) else made.bytes()


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_lies_is_refused_before_llama_cpp_sees_it(name, tmp_path, monkeypatch):
    made, message = CASES[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content(made))
    opened = []
    for module in ("llama", "quantize"):
        monkeypatch.setattr(f"discnb.{module}.load_llama_cpp", lambda: opened.append(path))
    for use in (LlamaModel, read_gguf, lambda path: quantize(path, tmp_path / "q.gguf", "Q8_0")):
        with pytest.raises(ValueError, match=message) as error:
            use(path)
        assert "bad.gguf" in str(error.value) and "\n" not in str(error.value)
    assert opened == []


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_same_file_without_a_lie_runs(family, tmp_path):
    model = Model(family)
    if family == "qwen3":
        for name in ("attn_q_norm", "attn_k_norm"):
            model.tensor(f"blk.0.{name}.weight", (16,))
    path = model.write(tmp_path / "good.gguf")
    with LlamaModel(path, context=32, threads=1) as opened:
        assert opened.logits(opened.tokenize("ab c")).shape == (3, len(TOKENS))
    assert read_gguf(path)[0].config.num_hidden_layers == 1


def test_a_file_cut_anywhere_in_its_header_is_refused(tmp_path):
    whole = Model()
    data, path = whole.bytes(), tmp_path / "cut.gguf"
    for end in [*range(0, 400), *range(400, whole.marks["end of header"], 13)]:
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"cut\.gguf is (truncated|not a GGUF file)"):
            read_header(path)


LOAD = """
import sys, llama_cpp
model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), llama_cpp.llama_model_default_params())
if model:
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = 32
    context = llama_cpp.llama_init_from_model(model, settings)
print("alive")
"""


ABORTS = (
    "block_count 0", "block_count 513", "a token twice", "experts", "more experts used than there are",
    "scaled rotary embedding", "layers to predict ahead",
)  # fmt: skip


@pytest.mark.parametrize("name", ABORTS)
def test_llama_cpp_itself_would_have_ended_the_process(name, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content(CASES[name][0]))
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode < 0 and "alive" not in done.stdout, done.stderr[-500:]
