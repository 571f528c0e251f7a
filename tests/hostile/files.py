"""Files that lie, built byte by byte; and the same files when they do not."""

import json
import struct
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType
from tokenizers import pre_tokenizers

from discnb.checkpoint import seal

V, Q = GGUFValueType, GGMLQuantizationType
PACK = {V.UINT32: "I", V.INT32: "i", V.FLOAT32: "f", V.BOOL: "?", V.UINT64: "Q", V.UINT8: "B"}
TOKENS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "<|endoftext|>"]
WIDTH, MIDDLE, HEADS, KV_HEADS, KEY = 32, 64, 2, 1, 16


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def sealed(content):
    """A manifest's bytes with the seal of what they say, where they are an object; else as they are."""
    try:
        return json.dumps(seal(json.loads(content))).encode()
    except (ValueError, RecursionError, TypeError, AttributeError):
        return content


class Model:
    """A one-layer Llama as GGUF; change `values`, `tensors` or `head`, then take `bytes()`."""

    def __init__(self, family="llama"):
        self.head = (b"GGUF", 3, None, None)
        self.values = [
            ("general.architecture", V.STRING, family),
            (f"{family}.context_length", V.UINT32, 64),
            (f"{family}.embedding_length", V.UINT32, WIDTH),
            (f"{family}.feed_forward_length", V.UINT32, MIDDLE),
            (f"{family}.block_count", V.UINT32, 1),
            (f"{family}.attention.head_count", V.UINT32, HEADS),
            (f"{family}.attention.head_count_kv", V.UINT32, KV_HEADS),
            (f"{family}.attention.layer_norm_rms_epsilon", V.FLOAT32, 1e-5),
            ("tokenizer.ggml.model", V.STRING, "gpt2"),
            ("tokenizer.ggml.pre", V.STRING, "smollm"),
            ("tokenizer.ggml.tokens", (V.STRING,), TOKENS),
            ("tokenizer.ggml.token_type", (V.INT32,), [1] * (len(TOKENS) - 1) + [3]),
            ("tokenizer.ggml.merges", (V.STRING,), ["a b"]),
            ("tokenizer.ggml.eos_token_id", V.UINT32, len(TOKENS) - 1),
        ]
        self.tensors = [
            ("token_embd.weight", (WIDTH, len(TOKENS)), Q.F32, None),
            ("output_norm.weight", (WIDTH,), Q.F32, None),
            ("blk.0.attn_norm.weight", (WIDTH,), Q.F32, None),
            ("blk.0.attn_q.weight", (WIDTH, HEADS * KEY), Q.F32, None),
            ("blk.0.attn_k.weight", (WIDTH, KV_HEADS * KEY), Q.F32, None),
            ("blk.0.attn_v.weight", (WIDTH, KV_HEADS * KEY), Q.F32, None),
            ("blk.0.attn_output.weight", (HEADS * KEY, WIDTH), Q.F32, None),
            ("blk.0.ffn_norm.weight", (WIDTH,), Q.F32, None),
            ("blk.0.ffn_gate.weight", (WIDTH, MIDDLE), Q.F32, None),
            ("blk.0.ffn_up.weight", (WIDTH, MIDDLE), Q.F32, None),
            ("blk.0.ffn_down.weight", (MIDDLE, WIDTH), Q.F32, None),
        ]
        self.marks = {}

    def set(self, key, value, kind=None):
        """The model with another value under a key that it has, or with one more."""
        for i, (known, known_kind, _) in enumerate(self.values):
            if known == key:
                self.values[i] = (key, kind or known_kind, value)
                return self
        self.values.append((key, kind or V.UINT32, value))
        return self

    def drop(self, name):
        self.values = [entry for entry in self.values if entry[0] != name]
        self.tensors = [entry for entry in self.tensors if entry[0] != name]
        return self

    def add(self, key, kind, value):
        """One more value, though its key may be there."""
        self.values.append((key, kind, value))
        return self

    def tensor(self, name, shape=None, kind=None, offset=None):
        for i, (known, known_shape, known_kind, known_offset) in enumerate(self.tensors):
            if known == name:
                self.tensors[i] = (
                    name,
                    known_shape if shape is None else shape,
                    known_kind if kind is None else kind,
                    known_offset if offset is None else offset,
                )
                return self
        self.tensors.append((name, shape, kind or Q.F32, offset))
        return self

    def with_head(self, magic=b"GGUF", version=3, tensors=None, values=None):
        self.head = (magic, version, tensors, values)
        return self

    def bytes(self):
        magic, version, tensors, values = self.head
        out = bytearray()

        def put(mark, data):
            self.marks.setdefault(mark, len(out))
            out.extend(data)

        put("magic", magic)
        put("version", struct.pack("<I", version))
        put("tensor count", struct.pack("<Q", len(self.tensors) if tensors is None else tensors))
        put("value count", struct.pack("<Q", len(self.values) if values is None else values))
        for key, kind, value in self.values:
            name = text(key)
            put("key length", name[:8])
            put("key", name[8:])
            if isinstance(value, bytes):  # raw: type number and all
                put("raw value", value)
            elif isinstance(kind, tuple):
                put("list type", struct.pack("<I", V.ARRAY))
                put("item type", struct.pack("<I", kind[0]))
                put("item count", struct.pack("<Q", len(value)))
                if kind[0] == V.STRING:
                    put("items", b"".join(map(text, value)))
                else:
                    put("numbers", struct.pack(f"<{len(value)}{PACK[kind[0]]}", *value))
            elif kind == V.STRING:
                put("type", struct.pack("<I", kind))
                data = text(value)
                put("string length", data[:8])
                put("string", data[8:])
            else:
                put("type", struct.pack("<I", kind))
                put("number", struct.pack("<" + PACK[kind], value))
        place, data = 0, bytearray()
        for name, shape, kind, offset in self.tensors:
            label = text(name)
            put("name length", label[:8])
            put("name", label[8:])
            put("dimensions", struct.pack("<I", len(shape)))
            put("shape", struct.pack(f"<{len(shape)}Q", *shape))
            put("tensor type", struct.pack("<I", kind))
            put("offset", struct.pack("<Q", place if offset is None else offset))
            count = int(np.prod([min(size, 4096) for size in shape]))
            values = np.random.default_rng(0).normal(0, 0.02, count).astype(np.float32).tobytes()
            data += values + bytes(-len(values) % 32)
            place = len(data)
        self.marks["end of header"] = len(out)
        out += bytes(-len(out) % 32)
        return bytes(out + data)

    def write(self, path):
        Path(path).write_bytes(self.bytes())
        return Path(path)


def raw(kind, *parts):
    """A value's bytes: its type number, then numbers packed by the letters given."""
    return struct.pack("<I", kind) + b"".join(struct.pack("<" + letter, number) for letter, number in parts)


def safetensors(header, data=b"", length=None):
    """A safetensors file with this header, a dict or raw bytes, whatever it says."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data
