"""GGUF, the model file of llama.cpp: read it into PyTorch, write it from PyTorch.

Two families, Llama (SmolLM2) and dense Qwen3. llama.cpp ends the whole process on a model it cannot take, so
everything it asserts is checked here first.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from gguf.quants import quantize as to_gguf_type
from jaxtyping import Float
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from .checkpoint import atomic_path
from .gguf_header import gguf_tensors

# PyTorch's `model_type` and GGUF's `general.architecture` happen to be the same two words.
ARCHITECTURES: dict[str, tuple[gguf.MODEL_ARCH, Any, Any]] = {
    "llama": (gguf.MODEL_ARCH.LLAMA, LlamaConfig, LlamaForCausalLM),
    "qwen3": (gguf.MODEL_ARCH.QWEN3, Qwen3Config, Qwen3ForCausalLM),
}
FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
}
FLOAT16_MAX = 65504.0
QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# GGUF has no field for a Unicode normalizer, and llama.cpp applies none; ours remembers it for `read_gguf`.
NORMALIZER_KEY = "discnb.tokenizer.normalizer"


def read_gguf(path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Float32 PyTorch model in eval mode and its tokenizer, from a GGUF file of any quantisation.

    The model carries no `quantization_config`, so `save_pretrained` works. Token offsets are not trimmed: the space
    before a word, and a token of spaces alone, have their own characters.
    """
    gguf_tensors(path)
    reader = gguf.GGUFReader(path)
    config = _read_config(reader, path)
    family, _, model_class = ARCHITECTURES[config.model_type]
    names = gguf.get_tensor_name_map(family, config.num_hidden_layers)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in model_class(config).state_dict().items()}
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]

    state = {}
    for name, shape in shapes.items():
        stored = tensors[gguf_name(names, name)]
        value = torch.from_numpy(np.array(dequantize(stored.data, stored.tensor_type), dtype=np.float32))
        assert value.shape == shape, f"{name} {tuple(value.shape)} {tuple(shape)}"  # the header was checked
        state[name] = _rotary_rows(value, name, config, to_gguf=False)
    model = model_class.from_pretrained(None, config=config, state_dict=state, dtype=torch.float32)
    return model.eval(), _read_tokenizer(reader, path)


def _read_config(reader: gguf.GGUFReader, path: str | Path) -> PreTrainedConfig:
    """The transformers config that the file's metadata describe."""
    family = _value(reader, "general.architecture", path)

    def value(key, *default):
        return _value(reader, f"{family}.{key}", path, *default)

    tensors = {tensor.name: tensor for tensor in reader.tensors}
    heads, width = value("attention.head_count"), value("embedding_length")
    # Stored as float32; the shortest decimal of that float32 is the number the config was written with.
    epsilon = float(str(np.float32(value("attention.layer_norm_rms_epsilon"))))
    return ARCHITECTURES[family][1](
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=width,
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=value("attention.head_count_kv", heads),
        head_dim=value("attention.key_length", width // heads),
        max_position_embeddings=value("context_length"),
        rms_norm_eps=epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base", 10000.0)},
        tie_word_embeddings="output.weight" not in tensors,
        bos_token_id=_value(reader, "tokenizer.ggml.bos_token_id", path, None),
        eos_token_id=_value(reader, "tokenizer.ggml.eos_token_id", path, None),
        pad_token_id=_value(reader, "tokenizer.ggml.padding_token_id", path, None),
    )


def _read_tokenizer(reader: gguf.GGUFReader, path: str | Path) -> PreTrainedTokenizerBase:
    """The byte-level BPE tokenizer the file's metadata describe; padding tokens of the embedding are left out."""
    kind, pre = _value(reader, "tokenizer.ggml.model", path), _value(reader, "tokenizer.ggml.pre", path, None)
    if kind != "gpt2" or pre not in ("smollm", "qwen2"):
        raise ValueError(
            f"{path} has a {kind!r} tokenizer with pre-tokenizer {pre!r}; expected byte-level BPE ('gpt2') with "
            "'smollm' or 'qwen2'."
        )
    tokens = _value(reader, "tokenizer.ggml.tokens", path)
    types = _value(reader, "tokenizer.ggml.token_type", path)
    merges = [tuple(merge.split(" ", 1)) for merge in _value(reader, "tokenizer.ggml.merges", path)]
    vocabulary = {
        token: i for i, (token, type_) in enumerate(zip(tokens, types, strict=True)) if type_ != gguf.TokenType.UNUSED
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    normalizer = _value(reader, NORMALIZER_KEY, path, "NFC" if pre == "qwen2" else "none")
    if normalizer == "NFC":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizer(pre)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=type_ == gguf.TokenType.CONTROL, normalized=False)
            for token, type_ in zip(tokens, types, strict=True)
            if type_ in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)
        ]
    )
    special = {}
    for key, name in (("bos", "bos"), ("eos", "eos"), ("padding", "pad"), ("unknown", "unk")):
        token_id = _value(reader, f"tokenizer.ggml.{key}_token_id", path, None)
        if token_id is not None:
            special[f"{name}_token"] = tokens[token_id]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_max_length=_value(reader, f"{_value(reader, 'general.architecture', path)}.context_length", path),
        chat_template=_value(reader, "tokenizer.chat_template", path, None),
        **special,
    )


_REQUIRED = object()


def _value(reader: gguf.GGUFReader, key: str, path: str | Path, default=_REQUIRED):
    """The metadata value under `key`, as a Python object."""
    field = reader.get_field(key)
    if field is not None:
        return field.contents()
    if default is _REQUIRED:
        raise ValueError(f"{path} lacks the metadata {key!r}; expected a complete language model with its tokenizer.")
    return default


def pre_tokenizer(pre: str) -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer that llama.cpp applies for `tokenizer.ggml.pre`: `smollm` or `qwen2`."""
    if pre == "smollm":
        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        parts = [
            pre_tokenizers.Split(Regex(QWEN2_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    return pre_tokenizers.Sequence(parts)


def write_gguf(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path, dtype: str = "F16"
) -> Path:
    """Path of the GGUF file written, atomically, with matrices in `dtype` (F32, F16 or BF16) and norms in F32."""
    if dtype not in FILE_TYPES:
        raise ValueError(f"dtype {dtype!r} is unknown; expected one of {sorted(FILE_TYPES)}, or see `quantize`.")
    config = model.config
    check_exportable(config, tokenizer)
    family = ARCHITECTURES[config.model_type][0]
    names = gguf.get_tensor_name_map(family, config.num_hidden_layers)
    state = model.state_dict()
    if model.lm_head.weight is model.get_input_embeddings().weight:
        del state["lm_head.weight"]  # llama.cpp falls back on token_embd.weight

    with atomic_path(Path(path)) as temporary, closing(gguf.GGUFWriter(temporary, config.model_type)) as writer:
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(Path(path).stem)
        _write_config(writer, config, dtype)
        _write_tokenizer(writer, tokenizer, len(state["model.embed_tokens.weight"]))
        types = {}
        for name, value in state.items():
            types[name] = gguf.GGMLQuantizationType[dtype if value.ndim > 1 else "F32"]
            row = gguf.quant_shape_to_byte_shape(tuple(value.shape), types[name])
            writer.add_tensor_info(
                gguf_name(names, name), row, np.dtype(np.uint8), int(np.prod(row)), raw_dtype=types[name]
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, value in state.items():  # one tensor at a time: a whole model need not fit twice
            value = _rotary_rows(value.detach().cpu().float(), name, config, to_gguf=True)
            writer.write_tensor_data(_encode(value.contiguous().numpy(), name, types[name]))
    return Path(path)


def check_exportable(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Nothing; ValueError for a model or tokenizer that llama.cpp would treat differently or abort on."""
    _llama_cpp_names(json.loads(tokenizer.backend_tokenizer.to_str()))
    if config.model_type not in ARCHITECTURES:
        raise ValueError(
            f"Model type {config.model_type!r} cannot be written to GGUF; expected one of {sorted(ARCHITECTURES)}."
        )
    heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    if heads % kv_heads:
        raise ValueError(f"{heads} attention heads are not divisible by {kv_heads} key-value heads; choose a divisor.")
    if head_dim % 2:
        raise ValueError(f"head_dim {head_dim} is odd; rotary embedding turns pairs of channels, choose an even one.")
    widths = {"hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size}
    for name, width in {**widths, "num_attention_heads * head_dim": heads * head_dim}.items():
        if width % 32:
            raise ValueError(f"{name} is {width}; expected a multiple of 32, the block of llama.cpp's quantisations.")
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"Rotary embedding {rope} is scaled or partial; expected plain 'default' over whole heads.")
    if config.hidden_act != "silu":
        raise ValueError(f"hidden_act is {config.hidden_act!r}; llama.cpp computes 'silu' for {config.model_type}.")
    for name in ("attention_bias", "mlp_bias", "use_sliding_window"):
        if getattr(config, name, False):
            raise ValueError(f"{name}=True is not supported in GGUF export; expected False.")


def _write_config(writer: gguf.GGUFWriter, config: PreTrainedConfig, dtype: str) -> None:
    """Nothing; adds the model's metadata to the writer."""
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.model_type == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Nothing; adds the tokenizer's metadata, its token list padded to the embedding's `rows`."""
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    pre, normalizer = _llama_cpp_names(description)
    by_id = {i: token for token, i in tokenizer.get_vocab().items()}
    if max(by_id) >= rows:
        raise ValueError(
            f"The tokenizer has ids up to {max(by_id)}, the embedding only {rows} rows; resize the embedding."
        )
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for i in range(rows):
        token = by_id.get(i)
        tokens.append(f"[PAD{i}]" if token is None else token)
        if token is None:
            types.append(gguf.TokenType.UNUSED)
        elif i not in added:
            types.append(gguf.TokenType.NORMAL)
        # llama.cpp's converter takes <|...|> for control tokens even where transformers does not call them special.
        elif added[i].special or (token.startswith("<|") and token.endswith("|>")):
            types.append(gguf.TokenType.CONTROL)
        else:
            types.append(gguf.TokenType.USER_DEFINED)

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_string(NORMALIZER_KEY, normalizer)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in description["model"]["merges"]])
    if tokenizer.eos_token_id is None:
        raise ValueError("The tokenizer has no EOS token, so generation would not end; set tokenizer.eos_token.")
    # Without a BOS id llama.cpp assumes token 11.
    bos = tokenizer.bos_token_id
    if bos is None:
        bos = tokenizer.get_vocab().get("<|endoftext|>", tokenizer.eos_token_id)
    writer.add_bos_token_id(bos)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if isinstance(tokenizer.chat_template, dict):
        raise ValueError("The tokenizer has several chat templates; set tokenizer.chat_template to the one to write.")
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _llama_cpp_names(description: Mapping) -> tuple[str, str]:
    """llama.cpp's name of the pre-tokenizer in a tokenizer.json, and its normalizer: "NFC" or "none"."""
    model, normalizer = description["model"], description["normalizer"]
    if model["type"] != "BPE" or model.get("ignore_merges") or model.get("byte_fallback"):
        raise ValueError(f"The tokenizer's model is {model['type']}; expected plain byte-level BPE.")
    if normalizer not in (None, {"type": "NFC"}):
        raise ValueError(f"The tokenizer normalizes with {normalizer}; expected NFC or nothing, as llama.cpp has none.")
    stripped = _without_offsets(description["pre_tokenizer"])
    for pre in ("smollm", "qwen2"):
        probe = Tokenizer(models.BPE())
        probe.pre_tokenizer = pre_tokenizer(pre)
        if stripped == _without_offsets(json.loads(probe.to_str())["pre_tokenizer"]):
            return pre, "none" if normalizer is None else "NFC"
    raise ValueError(
        f"The tokenizer's pre-tokenizer is {description['pre_tokenizer']}; expected Qwen's regex ('qwen2') or single "
        "digits then GPT-2's ('smollm'), the two this writer knows llama.cpp's names for."
    )


def _without_offsets(pre_tokenizer: Mapping | None) -> list[dict]:
    """The steps of a pre-tokenizer without `trim_offsets`, which moves offsets but never a token."""
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer or {}])
    return [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps]


def _encode(value: np.ndarray, name: str, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """The tensor's bytes in a GGUF file; ValueError where they would hold inf or NaN."""
    largest = float(np.abs(value).max())
    if not np.isfinite(largest):
        raise ValueError(f"{name} holds inf or NaN; the model is broken and must be trained or loaded again.")
    if kind == gguf.GGMLQuantizationType.F16 and largest > FLOAT16_MAX:
        raise ValueError(
            f"{name} holds {largest:g}, beyond float16's {FLOAT16_MAX:g}, and would become inf; write BF16 or F32."
        )
    return to_gguf_type(value, kind)


def gguf_name(names: gguf.TensorNameMap, name: str) -> str:
    """A parameter's name in a GGUF file, e.g. `blk.0.attn_q.weight`."""
    mapped = names.get_name(name, try_suffixes=(".weight",))
    if mapped is None:
        raise ValueError(f"Parameter {name} has no place in a GGUF file; expected a plain Llama or Qwen3 model.")
    return mapped


def _rotary_rows(
    weight: Float[Tensor, "..."], name: str, config: PreTrainedConfig, *, to_gguf: bool
) -> Float[Tensor, "..."]:
    """The weight with the rows of Llama's q and k in the order of the other side; any other weight unchanged.

    transformers turns channel i with i + d/2 of a head, llama.cpp's Llama 2i with 2i + 1; its Qwen3 as transformers.
    """
    if config.model_type != "llama" or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    heads = config.num_attention_heads if name.endswith("q_proj.weight") else config.num_key_value_heads
    half = weight.shape[0] // heads // 2
    pair = (2, half) if to_gguf else (half, 2)
    return weight.reshape(heads, *pair, -1).transpose(1, 2).reshape(weight.shape)
