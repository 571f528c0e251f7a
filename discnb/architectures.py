"""The published configurations of the models of the full run, carried here so that a plan needs no network.

Values are those of each repository's `config.json` at the commit in `REVISIONS`, which is also what the presets pin.
"""

import copy
import math
from pathlib import Path
from typing import Any

from transformers import AutoConfig, LlamaConfig, PretrainedConfig, Qwen3Config, Qwen3MoeConfig

from .model_folder import check_model_folder

REVISIONS = {
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "0d7cf23991f47feeb3a57ecb4c9cee8ea4a17bfe",
    "Qwen/Qwen3-30B-A3B-Thinking-2507": "144afc2f379b542fdd4e85a1fcd5e1f79112d95d",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "b2cff646eb4bb1d68355c01b18ae02e7cf42d120",
    "Qwen/Qwen3-1.7B": "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e",
    "Qwen/Qwen3-0.6B": "c1899de289a04d12100db370d81485cdf75e47ca",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
}
"""Commits of the hub's repositories, as those who pinned them write them; the presets load no other."""

_QWEN3: dict[str, Any] = dict(
    vocab_size=151_936,
    head_dim=128,
    hidden_act="silu",
    rms_norm_eps=1e-6,
    initializer_range=0.02,
    attention_bias=False,
    use_sliding_window=False,
    sliding_window=None,
    eos_token_id=151_645,
    dtype="bfloat16",
)

_QWEN3_30B_A3B: dict[str, Any] = dict(
    **_QWEN3,
    architectures=["Qwen3MoeForCausalLM"],
    hidden_size=2048,
    num_hidden_layers=48,
    num_attention_heads=32,
    num_key_value_heads=4,
    num_experts=128,
    num_experts_per_tok=8,
    moe_intermediate_size=768,
    decoder_sparse_step=1,
    mlp_only_layers=[],
    norm_topk_prob=True,
    max_position_embeddings=262_144,
    rope_parameters={"rope_theta": 10_000_000, "rope_type": "default"},
    tie_word_embeddings=False,
)

_QWEN3_2507: dict[str, Any] = dict(
    **_QWEN3_30B_A3B, intermediate_size=6144, router_aux_loss_coef=0.001, bos_token_id=151_643
)

_QWEN3_DENSE: dict[str, Any] = dict(
    **_QWEN3,
    architectures=["Qwen3ForCausalLM"],
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    max_position_embeddings=40_960,
    rope_parameters={"rope_theta": 1_000_000, "rope_type": "default"},
    tie_word_embeddings=True,
    bos_token_id=151_643,
)

_KNOWN: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "Qwen/Qwen3-30B-A3B-Instruct-2507": (Qwen3MoeConfig, _QWEN3_2507),
    "Qwen/Qwen3-30B-A3B-Thinking-2507": (Qwen3MoeConfig, _QWEN3_2507),
    # of its own: the width of dense layers, of which it has none, and the router's loss, which nothing here uses
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": (
        Qwen3MoeConfig,
        dict(**_QWEN3_30B_A3B, intermediate_size=5472, router_aux_loss_coef=0.0),
    ),
    "Qwen/Qwen3-1.7B": (Qwen3Config, dict(**_QWEN3_DENSE, hidden_size=2048, intermediate_size=6144)),
    "Qwen/Qwen3-0.6B": (Qwen3Config, dict(**_QWEN3_DENSE, hidden_size=1024, intermediate_size=3072)),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        LlamaConfig,
        dict(
            architectures=["LlamaForCausalLM"],
            vocab_size=49_152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            head_dim=64,
            hidden_act="silu",
            rms_norm_eps=1e-5,
            initializer_range=1 / 24,
            max_position_embeddings=8192,
            rope_parameters={"rope_theta": 100_000, "rope_type": "default"},
            attention_bias=False,
            mlp_bias=False,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            dtype="bfloat16",
        ),
    ),
}

SHRUNKEN_HEAD = 32
"""Units of an attention head of a shrunken model: one block of llama.cpp's coarsest kinds."""


def architecture(source: str) -> PretrainedConfig:
    """A fresh configuration of the model at a hub id or in a folder, without its weights; nothing is downloaded.

    An id that is not carried here is a ValueError that lists those that are.
    """
    if source in _KNOWN:
        kind, values = _KNOWN[source]
        return kind(**copy.deepcopy(values))
    if (Path(source) / "config.json").is_file():
        check_model_folder(Path(source), weights=False)
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    raise ValueError(
        f"no architecture is known of {source!r}; expected a folder with config.json, or one of {', '.join(_KNOWN)}"
    )


def shrink(
    config: PretrainedConfig, *, width: int = 64, layers: int = 2, vocabulary: int | None = None
) -> PretrainedConfig:
    """The same family at hidden size `width` and `layers` layers; its experts and vocabulary stay as they are.

    So does the number of query heads to a key-value head. Every matrix is a multiple of the quantisers' blocks wide: of
    32, and of 256 (K-quants) where `width` is. Token ids beyond a smaller `vocabulary` are dropped.
    """
    if width < 32 or width % 32:
        raise ValueError(f"width is {width}; expected a multiple of 32, the width of the quantisers' blocks")
    if layers < 1 or (vocabulary is not None and vocabulary < 1):
        raise ValueError(f"layers is {layers}, vocabulary {vocabulary}; expected at least 1")
    block, values = math.gcd(width, 256), config.to_dict()
    scale = width / config.hidden_size
    group = config.num_attention_heads // config.num_key_value_heads
    queries = scale * config.num_attention_heads * config.head_dim
    heads = max(1, round(queries / (group * SHRUNKEN_HEAD)))
    if width % (heads * group):
        raise ValueError(
            f"width is {width}; expected a multiple of {group * SHRUNKEN_HEAD} for {group} query heads of "
            f"{SHRUNKEN_HEAD} units to a key-value head"
        )
    for name in ("intermediate_size", "moe_intermediate_size"):
        if name in values:
            values[name] = block * math.ceil(scale * values[name] / block)
    rows = vocabulary or config.vocab_size
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if isinstance(values.get(name), int) and values[name] >= rows:
            values[name] = None
    values |= dict(
        hidden_size=width,
        num_hidden_layers=layers,
        layer_types=None,
        num_key_value_heads=heads,
        num_attention_heads=heads * group,
        head_dim=SHRUNKEN_HEAD,
        vocab_size=rows,
    )
    return type(config)(**values)
