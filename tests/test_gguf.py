"""discnb.gguf against llama.cpp's own converter, against itself there and back, and against broken input."""

import json
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from discnb.gguf import read_gguf, write_gguf
from discnb.gguf_header import gguf_tensors
from discnb.quantize import QUANTIZATIONS, importance_matrix, quantize
from tests.conftest_gguf import (
    CALIBRATION_TEXT,
    MAKERS,
    NASTY_TEXTS,
    family,  # noqa: F401 (a fixture)
    float_file,
    make_smollm2,
    make_tiny_qwen3,
    token_ids,
)

SDIST = Path(__file__).parents[1] / ".wheelhouse" / "llama_cpp_python-0.3.36.tar.gz"

CONVERT = """
import runpy, sys, types
from conversion.base import TextModel
# The converter imports it before it looks whether there is a SentencePiece model, which there is not.
sys.modules["sentencepiece"] = types.SimpleNamespace(SentencePieceProcessor=None)
pre = sys.argv.pop(1)
if pre != "recognise":
    TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
sys.argv[0] = "convert_hf_to_gguf.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def llama_cpp_source(tmp_path_factory) -> Path:
    """llama.cpp's converter, from the sdist of llama-cpp-python (the wheel lacks it)."""
    if not SDIST.is_file():
        pytest.skip(f"{SDIST} is absent; `pip download --no-binary :all: --no-deps llama-cpp-python==0.3.36` gets it")
    root = tmp_path_factory.mktemp("sdist")
    wanted = ("/convert_hf_to_gguf.py", "/conversion/", "/gguf-py/gguf/")
    with tarfile.open(SDIST) as archive:
        for member in archive:
            _, _, inner = member.name.partition("/vendor/llama.cpp")
            if inner.startswith(wanted):
                archive.extract(member, root, filter="data")
    (source,) = root.glob("*/vendor/llama.cpp")
    return source


def contents(path: Path) -> tuple[dict, dict]:
    """Metadata by key, and (shape, type, bytes) by tensor name, of a GGUF file."""
    reader = gguf.GGUFReader(path)
    values = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    tensors = {t.name: (tuple(t.shape.tolist()), t.tensor_type, t.data.tobytes()) for t in reader.tensors}
    return values, tensors


def tiny_llama(**changes) -> LlamaForCausalLM:
    """A random Llama of one layer that fits the tiny tokenizer."""
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**{"vocab_size": 512, "num_hidden_layers": 1, **shape, **changes}))


# SmolLM2's tokenizer must be recognised by the converter's own fingerprint; a new vocabulary cannot be.
@pytest.mark.parametrize(("family_name", "pre"), [("smollm2", "recognise"), ("qwen3", "qwen2")])
def test_f16_file_equals_that_of_llama_cpps_own_converter(family_name, pre, llama_cpp_source, tmp_path):
    model, tokenizer = MAKERS[family_name]()
    model.save_pretrained(tmp_path / "hf")
    tokenizer.save_pretrained(tmp_path / "hf")
    path = tmp_path / "oracle.gguf"
    arguments = [pre, str(tmp_path / "hf"), "--outfile", str(path), "--outtype", "f16"]
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, *arguments],
        cwd=llama_cpp_source,
        env={"PYTHONPATH": f"{llama_cpp_source}:{llama_cpp_source / 'gguf-py'}", "PATH": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]

    expected_values, expected_tensors = contents(path)
    values, tensors = contents(float_file(family_name, "F16"))
    assert tensors.keys() == expected_tensors.keys()
    for name, expected in expected_tensors.items():
        assert tensors[name] == expected, name
    described = {"general.architecture", "general.type", "general.file_type", "general.quantization_version"}
    for key, expected in expected_values.items():
        if key in described or not key.startswith("general."):
            assert values.get(key) == expected, key
    assert values["tokenizer.ggml.add_bos_token"] is False
    assert {"tokenizer.ggml.bos_token_id", "tokenizer.chat_template"} <= values.keys()


def test_f32_file_read_back_has_identical_weights_config_and_tokenizer(family, tmp_path):  # noqa: F811
    model, tokenizer = MAKERS[family]()
    again, tokenizer_again = read_gguf(float_file(family, "F32"))
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    described = ("head_dim", "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "eos_token_id", "pad_token_id")
    for name in described:
        assert getattr(again.config, name) == getattr(model.config, name), name
    assert again.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer_again.get_vocab() == tokenizer.get_vocab()
    assert tokenizer_again.chat_template == tokenizer.chat_template
    assert (tokenizer_again.eos_token, tokenizer_again.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)
    for text in NASTY_TEXTS:
        for split in (False, True):
            options = {"return_offsets_mapping": True, "split_special_tokens": split}
            assert tokenizer_again(text, **options) == tokenizer(text, **options), text


def test_model_read_from_a_quantised_file_saves_and_loads_like_any_other(tmp_path):
    model, tokenizer = make_smollm2()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, loaded_tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    for text in NASTY_TEXTS:
        assert loaded_tokenizer(text).input_ids == tokenizer(text).input_ids


def test_smollm2_tokens_follow_its_published_rules():
    tokenizer = make_smollm2()[1]
    assert tokenizer.convert_ids_to_tokens(tokenizer("in 1234").input_ids) == ["in", "Ġ", "1", "2", "3", "4"]
    text = "a  word\n\n  and   more "
    offsets = tokenizer(text, return_offsets_mapping=True).offset_mapping
    assert "".join(text[start:end] for start, end in offsets) == text  # every space belongs to a token
    assert all(start < end for start, end in offsets)


def test_bf16_file_keeps_bfloat16_weights_exactly(tmp_path):
    model = tiny_llama().bfloat16()
    again, _ = read_gguf(write_gguf(model, make_tiny_qwen3()[1], tmp_path / "m.gguf", "BF16"))
    assert all(torch.equal(value, again.state_dict()[name].bfloat16()) for name, value in model.state_dict().items())


def test_tokenizer_without_normalizer_comes_back_without(tmp_path):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(make_tiny_qwen3()[1].backend_tokenizer).from_str(
            make_tiny_qwen3()[1].backend_tokenizer.to_str()
        ),
        eos_token="<|im_end|>",
    )
    tokenizer.backend_tokenizer.normalizer = None
    again = read_gguf(write_gguf(tiny_llama(), tokenizer, tmp_path / "m.gguf"))[1]
    decomposed = "cafe\u0301"
    assert again(decomposed).input_ids == tokenizer(decomposed).input_ids
    assert again(decomposed).input_ids != make_tiny_qwen3()[1](decomposed).input_ids


def test_qwen_file_of_another_writer_composes_characters_as_qwen_does(tmp_path, monkeypatch):
    tokenizer = make_tiny_qwen3()[1]
    with monkeypatch.context() as patch:
        patch.setattr("discnb.gguf.NORMALIZER_KEY", "discnb.absent")
        path = write_gguf(tiny_llama(), tokenizer, tmp_path / "m.gguf")
    again = read_gguf(path)[1]
    assert again("cafe\u0301").input_ids == tokenizer("cafe\u0301").input_ids == tokenizer("café").input_ids


def test_header_check_lists_what_gguf_reader_lists():
    path = float_file("qwen3", "F16")
    expected = {t.name: (tuple(t.shape.tolist()), t.tensor_type.name) for t in gguf.GGUFReader(path).tensors}
    assert gguf_tensors(path) == expected


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.5, 0.999])
def test_truncated_file_is_named_as_such(share, tmp_path):
    data = float_file("qwen3", "F16").read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: 4 + int(share * len(data))])
    with pytest.raises(ValueError, match=r"cut\.gguf is truncated"):
        read_gguf(path)


def test_any_damage_to_the_header_raises_value_error_or_nothing(tmp_path):
    data = bytearray(float_file("qwen3", "F16").read_bytes())
    path = tmp_path / "damaged.gguf"
    random = np.random.default_rng(0)
    for position in random.integers(4, 2000, size=60):
        damaged = data.copy()
        damaged[position : position + 8] = struct.pack("<Q", 2 ** int(random.integers(20, 63)))
        path.write_bytes(damaged)
        try:
            gguf_tensors(path)
        except ValueError as error:
            assert "damaged.gguf" in str(error)


def test_other_files_and_architectures_are_refused_by_name(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no model")
    for path in (text, tmp_path / "absent.gguf"):
        with pytest.raises(ValueError, match=path.name):
            read_gguf(path)
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ValueError, match=r"empty\.gguf is not a GGUF file"):
        read_gguf(tmp_path / "empty.gguf")
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "gemma3")
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), dtype=np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(ValueError, match=r"other\.gguf is of architecture 'gemma3'.*llama.*qwen3"):
        read_gguf(tmp_path / "other.gguf")


def test_value_beyond_float16_is_refused_and_the_old_file_stays(tmp_path):
    model, tokenizer = tiny_llama(), make_tiny_qwen3()[1]
    path = tmp_path / "m.gguf"
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 5] = 65504.0
    write_gguf(model, tokenizer, path, "F16")
    before = path.read_bytes()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 5] = -65505.0
    with pytest.raises(ValueError, match=r"up_proj.*65505.*BF16 or F32"):
        write_gguf(model, tokenizer, path, "F16")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write_gguf(model, tokenizer, path, "F32")
    assert read_gguf(path)[0].model.layers[0].mlp.up_proj.weight[3, 5] == -65505.0


def test_nan_is_refused_in_every_dtype(tmp_path):
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    for dtype in ("F32", "F16", "BF16"):
        with pytest.raises(ValueError, match=r"model\.norm\.weight holds inf or NaN"):
            write_gguf(model, make_tiny_qwen3()[1], tmp_path / "m.gguf", dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 4},
            "6 attention heads are not divisible",
        ),
        ({"hidden_size": 72, "num_attention_heads": 4, "head_dim": 16}, "hidden_size is 72"),
        ({"intermediate_size": 100}, "intermediate_size is 100"),
        ({"head_dim": 24, "num_attention_heads": 2}, r"head_dim is 48"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "scaled"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "gelu"),
    ],
)
def test_config_that_llama_cpp_would_abort_on_or_misread_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_gguf(tiny_llama(**changes), make_tiny_qwen3()[1], tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_mixture_of_experts_and_unknown_dtype_are_refused(tmp_path):
    config = Qwen3MoeConfig(
        vocab_size=512, hidden_size=64, moe_intermediate_size=32, num_hidden_layers=1, num_experts=2, head_dim=16
    )
    with pytest.raises(ValueError, match="qwen3_moe"):
        write_gguf(Qwen3MoeForCausalLM(config), make_tiny_qwen3()[1], tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="'Q8_0' is unknown"):
        write_gguf(tiny_llama(), make_tiny_qwen3()[1], tmp_path / "m.gguf", "Q8_0")


def test_tokenizer_llama_cpp_does_not_know_is_refused(tmp_path):
    source = make_tiny_qwen3()[1]

    def changed(**parts):
        backend = type(source.backend_tokenizer).from_str(source.backend_tokenizer.to_str())
        for name, part in parts.items():
            setattr(backend, name, part)
        return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")

    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(ValueError, match="pre-tokenizer"):
        write_gguf(tiny_llama(), changed(pre_tokenizer=gpt2), tmp_path / "m.gguf")
    endless = changed()
    endless.eos_token = None
    with pytest.raises(ValueError, match="no EOS"):
        write_gguf(tiny_llama(), endless, tmp_path / "m.gguf")
    with pytest.raises(ValueError, match="only 256 rows"):
        write_gguf(tiny_llama(vocab_size=256), source, tmp_path / "m.gguf")
    assert not list(tmp_path.iterdir())


def test_importance_is_the_mean_square_input_over_all_tokens():
    model, _ = make_tiny_qwen3()
    a, b = token_ids(CALIBRATION_TEXT, "qwen3")[:100], token_ids(CALIBRATION_TEXT, "qwen3")[100:130]
    importance = importance_matrix(model, [a, b])
    assert len(importance) == 3 * 7 and "output.weight" not in importance
    with torch.no_grad():
        first = model.model.layers[0].input_layernorm(model.model.embed_tokens(torch.cat([a, b])))
    for name in ("q", "k", "v"):
        np.testing.assert_allclose(importance[f"blk.0.attn_{name}.weight"], first.square().mean(0), rtol=1e-5)
    assert importance["blk.2.ffn_down.weight"].shape == (512,)
    for_a, for_b = importance_matrix(model, [a]), importance_matrix(model, [b])
    for name, value in importance.items():
        np.testing.assert_allclose(value, (100 * for_a[name] + 30 * for_b[name]) / 130, rtol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ValueError, match="No tokens"):
        importance_matrix(model, [])


@pytest.mark.parametrize("kind", QUANTIZATIONS[1:])
def test_quantised_file_is_smaller_and_reads_back_close(kind, tmp_path):
    model, _ = make_tiny_qwen3()
    path = quantize(float_file("qwen3", "F16"), tmp_path / "q.gguf", kind, threads=1)
    assert list(tmp_path.iterdir()) == [path]
    assert gguf_tensors(path)["blk.1.attn_k.weight"][1] == kind[:4]
    assert path.stat().st_size < 0.7 * float_file("qwen3", "F16").stat().st_size
    bits = int(kind[1])
    for name, value in read_gguf(path)[0].state_dict().items():
        error = (value - model.state_dict()[name]).square().mean() / model.state_dict()[name].var()
        assert error < 4.0 ** (3 - bits), name


def test_wrong_quantisations_are_refused(tmp_path):
    source, target = float_file("qwen3", "F16"), tmp_path / "q.gguf"
    for kind in ("F16", "Q3_K_S", "q8_0"):
        with pytest.raises(ValueError, match="is unknown"):
            quantize(source, target, kind)
    quantize(source, target, "Q8_0", threads=1)
    with pytest.raises(ValueError, match="already quantised"):
        quantize(target, tmp_path / "twice.gguf", "Q4_K_M")
    right = np.ones(256, dtype=np.float32)
    for importance, message in [
        ({"blk.0.attn_q.weight": np.ones(255, dtype=np.float32)}, r"\(255,\)"),
        ({"blk.9.attn_q.weight": right}, r"blk\.9"),
        ({"blk.0.attn_q.weight": right * np.nan}, "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            quantize(source, tmp_path / "twice.gguf", "Q4_K_M", importance=importance)
    assert list(tmp_path.iterdir()) == [target]
