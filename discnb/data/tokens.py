"""From samples to token features, and from features to batches."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets
from jaxtyping import Shaped
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from discnb.prompt import format_sample, proof_token_mask

FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "proof": List(Value("bool")),
        "index": Value("int64"),
    }
)

FIELDS = ("question", "cot", "response")

BATCH_SIZE = 256
"""Samples encoded at a time: enough for the tokenizer's threads, few enough to hold their offsets."""

IGNORED = -100
"""The label of a position that predicts nothing."""


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What tokenisation made of a split; every count is after truncation but `longest`."""

    samples: int
    tokens: int
    truncated: int
    """Samples longer than `max_length`, which lost their end and with it their EOS."""
    longest: int
    """Tokens of the longest sample before truncation, its EOS included."""
    proof_tokens: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def tokenize_samples(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Dataset, TokenReport]:
    """Features and their report: `input_ids`, `proof` (per token, is it in the proof), `index` (row number).

    EOS is appended, then the right end cut at `max_length`. Special tokens spelled out in a sample stay text;
    other added tokens of the tokenizer (Qwen3's `<think>`) keep their own id.
    """
    missing = [field for field in FIELDS if field not in dataset.column_names]
    if missing:
        raise ValueError(
            f"the dataset lacks {missing}; expected {list(FIELDS)}, found {dataset.column_names}: "
            "rename its columns, or read it with load_stem"
        )
    if max_length < 2:
        raise ValueError(f"max_length is {max_length}; expected at least 2: a token and the one it predicts")
    encoder = text_encoder(tokenizer)
    eos = tokenizer.eos_token_id
    if eos is None:
        raise ValueError("the tokenizer has no EOS token to end a text with; set tokenizer.eos_token")

    parts = [Dataset.from_dict({name: [] for name in FEATURES}, features=FEATURES)]
    tokens = proof_tokens = truncated = longest = 0
    for first in range(0, len(dataset), BATCH_SIZE):
        rows = dataset[first : first + BATCH_SIZE]
        samples = [format_sample(*fields) for fields in zip(*(rows[field] for field in FIELDS), strict=True)]
        encodings = encoder.encode_batch([sample.text for sample in samples], add_special_tokens=False)
        input_ids: list[list[int]] = []
        proof: list[list[bool]] = []
        for sample, encoding in zip(samples, encodings, strict=True):
            length = len(encoding) + 1
            encoding.truncate(max_length)  # in Rust: as Python lists the offsets of a very long text take a minute
            inside = proof_token_mask(encoding.offsets, sample.proof_span)
            longest = max(longest, length)
            truncated += length > max_length
            input_ids.append([*encoding.ids, eos][:max_length])
            proof.append([*inside, False][:max_length])

        tokens += sum(map(len, input_ids))
        proof_tokens += sum(map(sum, proof))
        # a part at a time: as Python lists the whole corpus would take nine times the memory
        columns = {"input_ids": input_ids, "proof": proof, "index": list(range(first, first + len(samples)))}
        parts.append(Dataset.from_dict(columns, features=FEATURES))

    report = TokenReport(
        samples=len(dataset), tokens=tokens, truncated=truncated, longest=longest, proof_tokens=proof_tokens
    )
    return concatenate_datasets(parts), report


def text_encoder(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the tokenizer's backend that reads special tokens as text, and trims no token's offsets."""
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} is a slow tokenizer without character offsets, which the proof span "
            "needs; expected a fast one: load it with AutoTokenizer from a folder that has a tokenizer.json"
        )
    encoder = copy.deepcopy(tokenizer.backend_tokenizer)
    encoder.encode_special_tokens = True  # what `split_special_tokens=True` sets for one call
    # without special tokens to add, all that a post-processor can still do is trim the blanks off the offsets
    encoder.post_processor = None
    encoder.no_truncation()
    encoder.no_padding()
    return encoder


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes a batch of features: called with a list of them, it returns the tensors a training step takes."""

    pad_token_id: int
    """Fills `input_ids` at the right. It may equal EOS: padding is known by position, never by this id."""

    def __post_init__(self) -> None:
        if not isinstance(self.pad_token_id, int):
            raise ValueError(
                f"pad_token_id is {self.pad_token_id!r}; expected a token id: a tokenizer without a padding "
                "token can lend its eos_token_id"
            )

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Shaped[Tensor, "B ..."]]:
        """The batch, by name; position t of `labels`, `mask` and `proof_mask` speaks of token t+1.

        input_ids, attention_mask [B, T] long; labels [B, T] long, -100 where there is nothing to predict;
        mask [B, T] bool, a label is there; proof_mask [B, T] bool, it lies in the proof; index [B] long.
        """
        if not features:
            raise ValueError("the list of features is empty; expected at least one to make a batch of")
        for feature in features:
            if len(feature["input_ids"]) != len(feature["proof"]):
                raise ValueError(
                    f"sample {feature['index']} has {len(feature['input_ids'])} input_ids and "
                    f"{len(feature['proof'])} proof marks; expected one mark per token, from tokenize_samples"
                )
        ids = [torch.as_tensor(feature["input_ids"], dtype=torch.long) for feature in features]
        marks = [torch.as_tensor(feature["proof"], dtype=torch.bool) for feature in features]
        input_ids = pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id)  # [B, T]
        proof = pad_sequence(marks, batch_first=True, padding_value=False)  # [B, T]
        length = torch.tensor([len(sequence) for sequence in ids])[:, None]  # [B, 1]
        position = torch.arange(input_ids.shape[1])  # [T]
        mask = position < length - 1  # roll brings token 0 to the last position, which the mask leaves out
        return {
            "input_ids": input_ids,
            "attention_mask": (position < length).long(),
            "labels": input_ids.roll(-1, dims=1).where(mask, IGNORED),
            "mask": mask,
            "proof_mask": proof.roll(-1, dims=1) & mask,
            "index": torch.tensor([int(feature["index"]) for feature in features]),
        }
