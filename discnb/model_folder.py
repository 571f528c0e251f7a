"""What a model's folder says of itself, checked before transformers opens it.

Weights come as safetensors alone: a pickle is a program. A configuration is numbers and names: one that asks for code
of its own, for files elsewhere, or for a size that no model has, is refused by name.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import DamagedFile, is_inner_path, read_json

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000
"""Bytes of a safetensors header, as its own library has it."""
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
LARGEST = {
    "vocab_size": 1 << 24, "hidden_size": 1 << 20, "intermediate_size": 1 << 22, "moe_intermediate_size": 1 << 22,
    "num_hidden_layers": 1024, "num_attention_heads": 1 << 14, "num_key_value_heads": 1 << 14, "head_dim": 1 << 14,
    "max_position_embeddings": 1 << 31, "num_experts": 1 << 14, "num_experts_per_tok": 1 << 14,
}  # fmt: skip
"""Sizes that a configuration may give: from 1 to these, each far beyond any model's."""
ATTENTIONS = (None, "eager", "sdpa", "flash_attention_2")


def check_model_folder(folder: Path, *, weights: bool = True) -> None:
    """Nothing; ValueError for a folder that holds no model, or one that is not only numbers."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"the folder {folder} holds no config.json; expected one written by save_pretrained")
    check_config(_object(folder / "config.json"), str(folder / "config.json"))
    check_tokenizer_folder(folder)
    if (folder / "adapter_config.json").exists():
        raise ValueError(f"{folder} holds an adapter, which names another model; expected a model: merge it first")
    if not weights:
        return
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        found = f"; {', '.join(pickles[:3])} is not read, since loading a pickle runs it" if pickles else ""
        raise ValueError(f"{folder} holds no model.safetensors{found}: save the model with save_pretrained")
    for path in files:
        if not path.resolve().is_file():
            raise ValueError(f"{path} is no file; expected weights")
        check_safetensors(path)
    if (folder / INDEX).exists():
        index = _object(folder / INDEX)
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ValueError(f"{folder / INDEX} has no weight_map; expected the file of every tensor")
        for name in names.values():
            if not isinstance(name, str) or "/" in name or not is_inner_path(name) or folder / name not in files:
                raise ValueError(f"{folder / INDEX} names the file {name!r}; expected a safetensors file beside it")


def check_tokenizer_folder(folder: Path) -> None:
    """Nothing; ValueError where a tokenizer's settings ask for code, or for a file that is not beside them."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return
    settings = _object(path)
    _refuse_code(settings, str(path))
    named = [value for key, value in settings.items() if key.endswith("_file") and value is not None]
    listed = settings.get("fast_tokenizer_files") or []
    for name in [*named, *(listed if isinstance(listed, list) else [listed])]:
        if not isinstance(name, str) or "/" in name or not is_inner_path(name):
            raise ValueError(f"{path} names the file {name!r}; expected a name without a path")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Nothing; ValueError for a model's configuration that asks for code, or has sizes that no model has."""
    _refuse_code(config, where)
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"{where} has the model_type {config.get('model_type')!r}; expected a name such as 'qwen3'")
    for key in ("attn_implementation", "_attn_implementation"):
        if (value := config.get(key)) not in ATTENTIONS:  # a name with a slash would be fetched from the hub, as code
            raise ValueError(f"{where} asks for {key}={value!r:.80}; expected none: student.attention sets it")
    for name, largest in LARGEST.items():
        value = config.get(name)
        if value is not None and (type(value) is not int or not 1 <= value <= largest):
            raise ValueError(f"{where}: {name} is {value!r:.80}; expected a whole number from 1 to {largest:,}")
    heads, kv_heads = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if heads and kv_heads and heads % kv_heads:
        raise ValueError(f"{where}: {heads} attention heads are not divisible by {kv_heads} key-value heads")


def check_safetensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensor name -> (type, shape) of a safetensors file; ValueError for one whose header and bytes do not agree."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if start[:1] == b"\x80" or start[:4] == b"PK\3\4":
            raise ValueError(f"{path} is a pickle by its first bytes, whatever its name; expected safetensors")
        (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError(f"{path} is no safetensors file: it is {size} bytes long, its header {length}")
        text = file.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_each_once)
        if not isinstance(header, dict):
            raise ValueError("the header is no object")
        header.pop("__metadata__", None)
        return _tensors(header, size - 8 - length)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no safetensors file, or damaged ({error}); get it again") from error


def _tensors(header: dict[str, Any], data_bytes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    tensors, places = {}, []
    for name, facts in header.items():
        if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r} is no tensor")
        kind, shape, place = facts["dtype"], facts["shape"], facts["data_offsets"]
        if not isinstance(kind, str) or kind not in BITS:
            raise ValueError(f"{name!r} is of the unknown type {kind!r}")
        if not _whole(shape) or not _whole(place) or len(place) != 2:
            raise ValueError(f"{name!r} has the shape {shape!r:.80} at {place!r:.80}")
        if math.prod(shape) * BITS[kind] // 8 != place[1] - place[0]:
            raise ValueError(f"{name!r} of shape {shape} and type {kind} lies from {place[0]} to {place[1]}")
        tensors[name] = (kind, tuple(shape))
        places.append(tuple(place))
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise ValueError(f"a tensor begins at {first}, expected {end}: tensors overlap or leave a gap")
        end = last
    if end != data_bytes:
        raise ValueError(f"the tensors take {end} bytes, the file has {data_bytes} for them")
    return tensors


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**63 for n in numbers)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise DamagedFile({path: "holds no object; expected one written by save_pretrained"})
    return value


def _refuse_code(settings: Mapping[str, Any], where: str) -> None:
    """A ValueError where the settings, at any depth, name code of their own to load."""
    pending: list[Any] = [settings]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            for key in ("auto_map", "custom_pipelines"):
                if value.get(key):
                    raise ValueError(
                        f"{where} asks for code of its own ({key}), which is never run; choose a model that "
                        "transformers knows by itself"
                    )
            pending += value.values()
        elif isinstance(value, list):
            pending += value
