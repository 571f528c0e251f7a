"""What a GGUF file says of itself, checked before anything opens it.

llama.cpp ends the whole process where an assertion of its own fails, and a header decides most of them. So a file goes
to it, or to PyTorch, only after its header was read here: every length against the file's, every tensor against the
metadata, and no key of a model that this package does not know.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gguf
from gguf import GGMLQuantizationType, GGUFValueType

FAMILIES = ("llama", "qwen3")
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""How a metadata value is packed, by its type number; strings (8) and arrays (9) carry their length."""
MAX_DIMENSIONS = 4
MAX_LAYERS = 512
"""llama.cpp's LLAMA_MAX_LAYERS."""
MAX_NAME = 63
"""Bytes of a tensor's name, one fewer than llama.cpp's GGML_MAX_NAME."""
MATRIX_TYPES = frozenset(
    GGMLQuantizationType[name]
    for name in (
        "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
        "IQ4_NL", "IQ4_XS",
    )
)  # fmt: skip
"""What a weight matrix may be stored as; llama.cpp aborts in the middle of a product of some others."""
SIZES = ("context_length", "embedding_length", "feed_forward_length", "block_count", "attention.head_count")
OPTIONAL_SIZES = (
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count", "vocab_size",
)  # fmt: skip
NUMBERS = ("attention.layer_norm_rms_epsilon", "rope.freq_base")
LISTS = {
    "tokenizer.ggml.tokens": GGUFValueType.STRING,
    "tokenizer.ggml.token_type": GGUFValueType.INT32,
    "tokenizer.ggml.merges": GGUFValueType.STRING,
}
NEEDED = {
    "general.architecture": GGUFValueType.STRING,
    "tokenizer.ggml.model": GGUFValueType.STRING,
    **LISTS,
}
TYPES = {
    **NEEDED,
    "general.alignment": GGUFValueType.UINT32,
    "general.name": GGUFValueType.STRING,
    "general.file_type": GGUFValueType.UINT32,
    "general.quantization_version": GGUFValueType.UINT32,
    "tokenizer.ggml.pre": GGUFValueType.STRING,
    "tokenizer.chat_template": GGUFValueType.STRING,
    "tokenizer.ggml.add_bos_token": GGUFValueType.BOOL,
    "tokenizer.ggml.add_eos_token": GGUFValueType.BOOL,
    "tokenizer.ggml.add_space_prefix": GGUFValueType.BOOL,
    "discnb.tokenizer.normalizer": GGUFValueType.STRING,
}


class Field(NamedTuple):
    """A metadata value; of a list of strings all of them, of another list only how many."""

    kind: int
    """Type number of the value, or of a list's items."""
    items: int | None
    """Items of a list, None for a single value."""
    value: Any


class StoredTensor(NamedTuple):
    shape: tuple[int, ...]
    """The input channels first."""
    kind: GGMLQuantizationType


@dataclass(frozen=True, slots=True)
class Header:
    """All that stands before a file's tensors."""

    fields: dict[str, Field]
    tensors: dict[str, StoredTensor]


def gguf_tensors(path: str | Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Tensor name -> (shape with the input channels first, type such as "F16"), from the header alone.

    ValueError if the file is not GGUF, not whole, or no model that llama.cpp and this package can run. GGUFReader makes
    an array of every token and merge, which takes seconds; this takes a tenth of one, so every opening can afford it.
    """
    header = read_header(path)
    check_model(header, path)
    return {name: (tensor.shape, tensor.kind.name) for name, tensor in header.tensors.items()}


def read_header(path: str | Path) -> Header:
    """The header of a GGUF file of version 2 or 3, little-endian, whose tensors all lie in the file.

    ValueError for any other: nothing is taken from a length before it was compared with the bytes that are left.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file; expected a GGUF model file.")
    with path.open("rb") as file:
        if (magic := file.read(4)) != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file: it begins with {magic!r}, expected b'GGUF'.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Reader(data).header()
            except ValueError as error:
                raise ValueError(f"{path} is truncated or damaged ({error}); copy or write it again.") from error


class _Reader:
    """Reads a header from its bytes, never past their end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.position = data, 4

    def header(self) -> Header:
        version = self.number("I")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}, expected 2 or 3 in little-endian order")
        # the fewest bytes a tensor's entry and a value's can take
        tensor_count, value_count = self.count("tensors", 33), self.count("metadata values", 14)
        fields: dict[str, Field] = {}
        for _ in range(value_count):
            key = self.string("a key")
            if not key:
                raise ValueError("an empty key in the metadata")
            if key in fields:
                raise ValueError(f"the key {key!r} twice")
            fields[key] = self.field(key)
        alignment = fields.get("general.alignment", Field(GGUFValueType.UINT32, None, gguf.GGUF_DEFAULT_ALIGNMENT))
        if alignment[:2] != (GGUFValueType.UINT32, None) or alignment.value.bit_count() != 1:
            raise ValueError(f"general.alignment is {alignment.value!r}, expected a power of two")
        return Header(fields, self.tensors(tensor_count, alignment.value))

    def tensors(self, count: int, alignment: int) -> dict[str, StoredTensor]:
        tensors: dict[str, StoredTensor] = {}
        due = end = 0  # where the next tensor must lie, and where the last one ends, from the first byte of data
        for _ in range(count):
            name = self.string("a tensor's name")
            if not 0 < len(name.encode()) <= MAX_NAME:
                raise ValueError(f"a tensor's name of {len(name.encode())} bytes, expected 1 to {MAX_NAME}")
            if name in tensors:
                raise ValueError(f"the tensor {name!r} twice")
            dimensions = self.number("I")
            if not 1 <= dimensions <= MAX_DIMENSIONS:
                raise ValueError(f"tensor {name!r} of {dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}")
            shape = tuple(self.number("Q") for _ in range(dimensions))
            number, offset = self.number("I"), self.number("Q")
            if number not in gguf.GGML_QUANT_SIZES:
                raise ValueError(f"tensor {name!r} of the unknown type {number}")
            kind = GGMLQuantizationType(number)
            block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            if min(shape) < 1 or shape[0] % block:
                raise ValueError(
                    f"tensor {name!r} of shape {shape}, expected sizes >= 1, the first a multiple of {block}"
                )
            if offset != due:
                raise ValueError(f"tensor {name!r} lies at {offset}, expected {due}: tensors overlap or leave a gap")
            end = offset + math.prod(shape) // block * block_bytes
            due = end + -end % alignment
            if end > len(self.data):
                raise ValueError(f"{len(self.data)} bytes, tensor {name!r} needs {end}")
            tensors[name] = StoredTensor(shape, kind)
        needed = self.position + -self.position % alignment + end
        if needed > len(self.data):
            raise ValueError(f"{len(self.data)} bytes, its tensors need {needed}")
        return tensors

    def field(self, key: str) -> Field:
        kind = self.number("I")
        if kind == GGUFValueType.STRING:
            return Field(kind, None, self.string(key))
        if kind != GGUFValueType.ARRAY:
            return Field(kind, None, self.number(self.packing(kind, key)))
        item = self.number("I")
        if item == GGUFValueType.STRING:
            count = self.count(f"strings in {key}", 8)
            return Field(item, count, [self.string(key) for _ in range(count)])
        size = struct.calcsize(self.packing(item, key))
        count = self.count(f"values in {key}", size)
        self.position += count * size
        return Field(item, count, None)

    def packing(self, kind: int, key: str) -> str:
        if kind not in SCALARS:
            raise ValueError(f"{key!r} of the type {kind}, expected 0 to 12 and no list of lists")
        return SCALARS[kind]

    def number(self, packing: str) -> Any:
        size = struct.calcsize("<" + packing)
        if size > len(self.data) - self.position:
            raise ValueError("the file ends inside its header")
        (value,) = struct.unpack_from("<" + packing, self.data, self.position)
        self.position += size
        return value

    def count(self, what: str, size: int) -> int:
        """A number of things that take at least `size` bytes each."""
        count, left = self.number("Q"), len(self.data) - self.position
        if count > left // size:
            raise ValueError(f"{count} {what}, but {left} bytes are left")
        return count

    def string(self, what: str) -> str:
        length = self.count("bytes of a string", 1)
        start, self.position = self.position, self.position + length
        try:
            return self.data[start : self.position].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{what} is not UTF-8 (byte {error.start}: {error.reason})") from None


def check_model(header: Header, path: str | Path) -> None:
    """Nothing; ValueError where the header is not of a Llama or Qwen3 that llama.cpp runs without an assertion."""
    family = _get(header, path, "general.architecture")
    if family not in FAMILIES:
        raise ValueError(f"{path} is of architecture {family!r}; expected one of {list(FAMILIES)}.")
    types = {
        **TYPES,
        **dict.fromkeys((f"{family}.{name}" for name in SIZES + OPTIONAL_SIZES), GGUFValueType.UINT32),
        **dict.fromkeys((f"{family}.{name}" for name in NUMBERS), GGUFValueType.FLOAT32),
    }
    for key, field in header.fields.items():
        wanted = GGUFValueType.UINT32 if key.startswith("tokenizer.ggml.") and key.endswith("_token_id") else None
        wanted = types.get(key, wanted)
        if wanted is None and key.startswith((f"{family}.", "split.")):
            raise ValueError(
                f"{path} has the metadata {key!r}; expected a plain {family} in one file: experts, scaled rotary "
                "embedding, sliding windows and splits are not supported."
            )
        many = key in LISTS
        if wanted is not None and (field.kind, field.items is not None) != (wanted, many):
            raise ValueError(f"{path}: {key!r} has another type; expected {'a list of ' if many else ''}{wanted.name}.")
    for key in (*NEEDED, *(f"{family}.{name}" for name in (*SIZES, NUMBERS[0]))):
        _get(header, path, key)
    tokens = _check_tokens(header, path)
    expected = _expected_tensors(header, path, family, tokens)
    if "token_embd.weight" not in header.tensors:
        raise ValueError(f"{path} has no tensor token_embd.weight; expected a whole language model, not a part.")
    optional = {"output.weight": expected.pop("output.weight")}
    for name, shape in expected.items():
        if name not in header.tensors:
            raise ValueError(f"{path} has no tensor {name}; expected shape {shape}.")
    for name, (shape, kind) in header.tensors.items():
        if name not in (known := expected | optional):
            raise ValueError(
                f"{path} holds the tensor {name!r}, which a plain {family} of its metadata has not; biases and scaled "
                "rotary frequencies are not supported."
            )
        if shape != known[name]:
            raise ValueError(f"{path}: tensor {name} has shape {shape}, but its metadata ask for {known[name]}.")
        if kind not in MATRIX_TYPES or (len(shape) == 1 and kind != GGMLQuantizationType.F32):
            raise ValueError(f"{path}: tensor {name} is {kind.name}; expected F32 for a norm, a float or K-quant else.")


def _check_tokens(header: Header, path: str | Path) -> int:
    """How many tokens there are; ValueError for lists that do not fit one another."""
    tokens: list[str] = header.fields["tokenizer.ggml.tokens"].value
    count = len(tokens)
    if len(set(tokens)) != count:
        raise ValueError(f"{path} lists {count - len(set(tokens))} tokens twice; expected each once.")
    if "" in tokens:
        raise ValueError(f"{path} lists an empty token; expected text in each.")
    if (types := header.fields["tokenizer.ggml.token_type"].items) != count:
        raise ValueError(f"{path} has {types} token types for {count} tokens; expected one each.")
    for merge in header.fields["tokenizer.ggml.merges"].value:
        if merge.count(" ") != 1 or merge[0] == " " or merge[-1] == " ":
            raise ValueError(f"{path} has the merge {merge[:40]!r}; expected two tokens with a space between.")
    for key, field in header.fields.items():
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id") and field.value >= count:
            raise ValueError(f"{path}: {key} is {field.value}, but there are {count} tokens.")
    return count


def _expected_tensors(header: Header, path: str | Path, family: str, tokens: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors that the metadata ask for; ValueError for sizes that no model can have."""

    def value(name: str, default: Any = None) -> Any:
        field = header.fields.get(f"{family}.{name}")
        return default if field is None else field.value

    for name in SIZES + OPTIONAL_SIZES:
        if value(name, 1) < 1:
            raise ValueError(f"{path}: {family}.{name} is {value(name)}; expected at least 1.")
    for name in NUMBERS:
        if not 0 < value(name, 1.0) < math.inf:
            raise ValueError(f"{path}: {family}.{name} is {value(name)}; expected a number > 0.")
    width, middle, layers, heads = (value(name) for name in SIZES[1:])
    kv_heads = value("attention.head_count_kv", heads)
    key = value("attention.key_length", width // heads)
    if layers > min(MAX_LAYERS, len(header.tensors)):
        raise ValueError(
            f"{path}: {family}.block_count is {layers} with {len(header.tensors)} tensors; expected at most "
            f"{MAX_LAYERS}, each with its own."
        )
    if heads % kv_heads:
        raise ValueError(
            f"{path}: {heads} attention heads are not divisible by {kv_heads} key-value heads; the file is of no "
            "model that works."
        )
    other, turned = value("attention.value_length", width // heads), value("rope.dimension_count", key)
    if key % 2 or key < 2 or (other, turned) != (key, key):
        raise ValueError(
            f"{path}: attention.key_length is {key}, attention.value_length {other}, rope.dimension_count {turned}; "
            "expected one even number for all."
        )
    if value("vocab_size", tokens) != tokens:
        raise ValueError(f"{path}: {family}.vocab_size is {value('vocab_size')}, but there are {tokens} tokens.")
    layer: Mapping[str, tuple[int, ...]] = {
        "attn_norm": (width,), "attn_q": (width, heads * key), "attn_k": (width, kv_heads * key),
        "attn_v": (width, kv_heads * key), "attn_output": (heads * key, width), "ffn_norm": (width,),
        "ffn_gate": (width, middle), "ffn_up": (width, middle), "ffn_down": (middle, width),
        **({"attn_q_norm": (key,), "attn_k_norm": (key,)} if family == "qwen3" else {}),
    }  # fmt: skip
    return {
        "token_embd.weight": (width, tokens),
        "output_norm.weight": (width,),
        "output.weight": (width, tokens),
        **{f"blk.{i}.{name}.weight": shape for i in range(layers) for name, shape in layer.items()},
    }


def _get(header: Header, path: str | Path, key: str) -> Any:
    if key not in header.fields:
        raise ValueError(f"{path} lacks the metadata {key!r}; expected a complete language model with its tokenizer.")
    return header.fields[key].value
