import functools
import unicodedata

import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from discnb.data.tokens import Collator, tokenize_samples
from discnb.prompt import format_sample

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = ["Proof:\n\nBy the  definition,   $x^2 = 4$.\n\nFinal Answer:\n 2 or -2.\n", "∇·E = ρ/ε₀ é 𝔘 ∇·E"]

# text that BPE, NFC, the template or the special tokens could cut in awkward places
TEMPLATE = ["<|im_end|>", "<|im_start|>", "\n\nFinal Answer:\n", "Proof:\n", "definition"]
BLANKS = [" ", "\n", "  \n", ".\n\n", "\u200b", "\r\n"]
UNICODE = ["é", "e\u0301", "\u0301", "\u0958", "\u0344", "\u1112\u1161", "∇·E", "𝔘", "a\u200d𝔘"]
piece = st.sampled_from(TEMPLATE + BLANKS + UNICODE)
field = st.lists(st.one_of(piece, st.text(max_size=4)), max_size=8).map("".join)


@functools.cache
def qwen_like(trim_offsets=False):
    """A small byte-level BPE with Qwen's normaliser, pre-tokenisation and special tokens."""
    bpe = Tokenizer(BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(CORPUS * 9, trainer)
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    bpe.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def samples(*rows):
    columns = map(list, zip(*rows, strict=True))
    return Dataset.from_dict(dict(zip(("question", "cot", "response"), columns, strict=True)))


def tokenize_one(row, tokenizer=None, max_length=100_000):
    """The one row's input_ids and proof marks, and the report."""
    tokens, report = tokenize_samples(samples(row), tokenizer or qwen_like(), max_length)
    return tokens[0]["input_ids"], tokens[0]["proof"], report


def proof_by_bytes(tokenizer, ids, row):
    """The reference: every byte-level token is so many bytes of the text; walk them beside the span's."""
    text, (start, end) = format_sample(*row)
    before, proof, after = (
        unicodedata.normalize("NFC", part).encode() for part in (text[:start], text[start:end], text[end:])
    )
    inside = [False] * len(before) + [True] * len(proof) + [False] * len(after)
    marks = []
    for token in tokenizer.convert_ids_to_tokens(ids):
        marks.append(any(inside[: len(token)]))  # one character of a byte-level token stands for one byte
        del inside[: len(token)]
    assert inside == []
    return marks


@settings(max_examples=60)
@given(field, field, field)
def test_proof_marks_agree_with_the_bytes_of_the_tokens(question, cot, response):
    row = (question, cot, response)
    for tokenizer in qwen_like(), qwen_like(trim_offsets=True):
        ids, proof, _ = tokenize_one(row, tokenizer)
        assert ids[-1] == tokenizer.eos_token_id
        assert proof == [*proof_by_bytes(tokenizer, ids[:-1], row), False]


@settings(max_examples=60)
@given(field, field, field)
def test_the_tokens_are_the_tokenizer_s_own_and_spell_the_text(question, cot, response):
    tokenizer = qwen_like()
    ids, _, _ = tokenize_one((question, cot, response), tokenizer)
    text = format_sample(question, cot, response).text
    assert ids[:-1] == tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids[:-1]) == unicodedata.normalize("NFC", text)


@settings(max_examples=60)
@given(field, field, field, st.integers(2, 120))
def test_truncation_cuts_the_right_end_and_nothing_else(question, cot, response, max_length):
    row = (question, cot, response)
    ids, proof, whole = tokenize_one(row)
    cut_ids, cut_proof, report = tokenize_one(row, max_length=max_length)
    assert (cut_ids, cut_proof) == (ids[:max_length], proof[:max_length])
    assert report.truncated == (len(ids) > max_length)
    assert report.longest == whole.longest == len(ids)


def test_a_proof_cut_by_truncation_runs_to_the_end():
    _, proof, _ = tokenize_one(("q", "x = 1. " * 50, "1"))
    start = proof.index(True)
    cut_ids, cut, report = tokenize_one(("q", "x = 1. " * 50, "1"), max_length=start + 20)
    assert cut == [False] * start + [True] * 20
    assert report.proof_tokens == 20
    assert cut_ids[-1] != qwen_like().eos_token_id


@pytest.mark.parametrize("token", SPECIAL)
def test_a_special_token_spelled_out_stays_text(token):
    tokenizer = qwen_like()
    id = tokenizer.convert_tokens_to_ids(token)
    row = (f"What is {token}?", f"It is {token} and{token}.", token)
    text = format_sample(*row).text
    assert tokenizer(text).input_ids.count(id) == 4  # a plain call does make control tokens of it
    ids, proof, _ = tokenize_one(row)
    assert id not in ids[:-1]
    assert tokenizer.decode(ids[:-1]) == text
    assert tokenizer.decode([i for i, inside in zip(ids, proof, strict=True) if inside]).strip() == row[1]


def test_an_added_token_that_is_not_special_keeps_its_id_and_its_place():
    ids, proof, _ = tokenize_one(("q", "<think>x", "r"))
    place = ids.index(qwen_like().convert_tokens_to_ids("<think>"))
    assert proof[place]
    assert not proof[place - 1]


def test_blank_tokens_count_where_the_tokenizer_trims_its_offsets():
    row = ("q", "a \n \n  b", "r")
    trimming = qwen_like(trim_offsets=True)
    offsets = trimming("a \n \n  b", return_offsets_mapping=True).offset_mapping
    assert any(first == last for first, last in offsets)  # it does lose the characters of a blank
    _, proof, report = tokenize_one(row, trimming)
    assert report.proof_tokens == sum(proof) == sum(tokenize_one(row)[1])
    first = proof.index(True)
    assert all(proof[first : first + sum(proof)])


def test_tokenising_leaves_the_tokenizer_as_it_was():
    tokenizer = qwen_like()
    before = tokenizer.backend_tokenizer.to_str()
    tokenize_one(("q", "<|im_end|>", "r"), tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before
    assert tokenizer("<|im_end|>").input_ids == [tokenizer.eos_token_id]


def test_a_tokenizer_s_own_truncation_and_padding_play_no_part():
    row = ("q", "x = 1. " * 50, "1")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(qwen_like().backend_tokenizer.to_str()),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=16,
    )
    tokenizer(["a", "b b b"], padding=True, truncation=True, max_length=2)
    assert tokenize_one(row, tokenizer) == tokenize_one(row)


def test_a_tokenizer_of_class_qwen2_read_from_a_folder_does_the_same(tmp_path):
    saved = qwen_like()
    saved.save_pretrained(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"TokenizersBackend"', '"Qwen2Tokenizer"'))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert type(tokenizer).__name__ == "Qwen2Tokenizer"
    row = ("What does <|im_end|> do?", "  It ends\n\n<|im_end|>, é∇𝔘.", "∎")
    assert tokenize_one(row, tokenizer) == tokenize_one(row)


def test_the_report_adds_up():
    rows = [("q", "short", "r"), ("q", "x = 1. " * 40, "r"), ("q", "y", "r" * 200)]
    tokens, report = tokenize_samples(samples(*rows), qwen_like(), 200)
    assert tokens.column_names == ["input_ids", "proof", "index"]
    assert tokens["index"] == [0, 1, 2]
    whole = [len(tokenize_one(row)[0]) for row in rows]
    assert report.to_dict() == {
        "samples": 3,
        "tokens": sum(min(length, 200) for length in whole),
        "truncated": sum(length > 200 for length in whole),
        "longest": max(whole),
        "proof_tokens": sum(map(sum, tokens["proof"])),
    }
    assert report.truncated == 2


def test_a_split_longer_than_one_batch_keeps_its_order():
    rows = [(f"question {i}", f"proof {i}", f"answer {i}") for i in range(600)]
    tokens, report = tokenize_samples(samples(*rows), qwen_like(), 1024)
    assert report.samples == len(tokens) == 600
    assert tokens["index"] == list(range(600))
    for i in (0, 255, 256, 599):
        assert qwen_like().decode(tokens[i]["input_ids"][:-1]) == format_sample(*rows[i]).text


def test_an_empty_split_gives_empty_features():
    tokens, report = tokenize_samples(samples(("q", "c", "r")).select([]), qwen_like(), 8)
    assert len(tokens) == 0
    assert set(tokens.column_names) == {"input_ids", "proof", "index"}
    assert set(report.to_dict().values()) == {0}


def test_what_cannot_be_tokenised_is_an_error():
    rows = samples(("q", "c", "r"))
    no_eos = PreTrainedTokenizerFast(tokenizer_object=qwen_like().backend_tokenizer)
    with pytest.raises(ValueError, match="no EOS token"):
        tokenize_samples(rows, no_eos, 8)
    with pytest.raises(ValueError, match="ByT5Tokenizer is a slow tokenizer"):
        tokenize_samples(rows, ByT5Tokenizer(), 8)
    with pytest.raises(ValueError, match="max_length is 1"):
        tokenize_samples(rows, qwen_like(), 1)
    with pytest.raises(ValueError, match=r"lacks \['cot'\]; .* found \['question', 'response', 'CoT'\]"):
        tokenize_samples(rows.add_column("CoT", ["c"]).remove_columns("cot"), qwen_like(), 8)
    with pytest.raises(TypeError, match="response is None"):
        tokenize_samples(samples(("q", "c", "r"), ("q", "c", None)), qwen_like(), 8)


# batches

EOS, PAD = 7, 9
feature = st.lists(st.tuples(st.sampled_from([1, 2, EOS, PAD]), st.booleans()), min_size=1, max_size=6)


@given(st.lists(feature, min_size=1, max_size=4), st.sampled_from([EOS, PAD, 1]))
def test_a_batch_agrees_with_a_walk_over_its_positions(sequences, pad):
    features = [
        {"input_ids": [i for i, _ in sequence], "proof": [p for _, p in sequence], "index": 10 + b}
        for b, sequence in enumerate(sequences)
    ]
    batch = Collator(pad)(features)
    longest = max(map(len, sequences))
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "input_ids": torch.long,
        "attention_mask": torch.long,
        "labels": torch.long,
        "mask": torch.bool,
        "proof_mask": torch.bool,
        "index": torch.long,
    }
    for b, sequence in enumerate(sequences):
        want = {"input_ids": [], "attention_mask": [], "labels": [], "mask": [], "proof_mask": []}
        for t in range(longest):
            real, labelled = t < len(sequence), t + 1 < len(sequence)
            want["input_ids"].append(sequence[t][0] if real else pad)
            want["attention_mask"].append(int(real))
            want["labels"].append(sequence[t + 1][0] if labelled else -100)
            want["mask"].append(labelled)
            want["proof_mask"].append(labelled and sequence[t + 1][1])
        assert {name: batch[name][b].tolist() for name in want} == want
        assert batch["index"][b] == 10 + b


def test_eos_is_a_label_even_where_it_is_also_the_padding():
    rows = samples(("q", "a longer proof", "r"), ("q", "c", "r"))
    tokens, _ = tokenize_samples(rows, qwen_like(), 1024)
    eos = qwen_like().eos_token_id
    batch = Collator(pad_token_id=eos)(list(tokens))
    for b, ids in enumerate(tokens["input_ids"]):
        n = len(ids)
        assert batch["labels"][b, n - 2] == eos
        assert batch["mask"][b].tolist() == [True] * (n - 1) + [False] * (batch["mask"].shape[1] - n + 1)
        assert batch["attention_mask"][b].sum() == n
    assert batch["proof_mask"].sum() == sum(map(sum, tokens["proof"]))


def test_a_batch_is_the_same_from_rows_formatted_as_tensors():
    tokens, _ = tokenize_samples(samples(("q", "c", "r"), ("q", "cc", "r")), qwen_like(), 64)
    plain, formatted = (Collator(0)(list(rows)) for rows in (tokens, tokens.with_format("torch")))
    assert all(torch.equal(plain[name], formatted[name]) for name in plain)


def test_what_makes_no_batch_is_an_error():
    with pytest.raises(ValueError, match="list of features is empty"):
        Collator(0)([])
    with pytest.raises(ValueError, match=r"pad_token_id is None; expected a token id"):
        Collator(None)
    with pytest.raises(ValueError, match="sample 4 has 2 input_ids and 1 proof marks"):
        Collator(0)([{"input_ids": [1, 2], "proof": [True], "index": 4}])
