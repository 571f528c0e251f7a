"""discnb.llama: llama.cpp on our files against PyTorch on the same weights."""

import unicodedata

import numpy as np
import pytest
import torch

from discnb.gguf import write_gguf
from discnb.llama import LlamaModel, final_hidden, parity
from discnb.quantize import importance_matrix, quantize
from tests.conftest_gguf import (
    CALIBRATION_TEXT,
    EVALUATION_TEXT,
    MAKERS,
    NASTY_TEXTS,
    family,  # noqa: F401 (a fixture)
    float_file,
    make_smollm2,
    make_tiny_qwen3,
    token_ids,
    workspace,
)


@pytest.fixture(scope="module")
def smollm2_hidden():
    """Two sequences of English text and SmolLM2's final hidden states on them."""
    model, _ = make_smollm2()
    ids = token_ids(EVALUATION_TEXT)
    sequences = [ids[:200], ids[200:]]
    return sequences, final_hidden(model, sequences)


@pytest.fixture(scope="module")
def qwen3():
    """The tiny Qwen3's F32 file, opened with a float32 cache."""
    with LlamaModel(float_file("qwen3", "F32"), context=128, threads=1, exact=True) as model:
        yield model


def test_every_logit_of_the_f32_file_is_within_a_thousandth_of_pytorch(family):  # noqa: F811
    model, _ = MAKERS[family]()
    ids = token_ids(EVALUATION_TEXT, family)[:300]  # more than one batch
    with torch.no_grad():
        expected = model(ids[None]).logits[0].numpy()
    with LlamaModel(float_file(family, "F32"), threads=1, exact=True) as llama:
        logits = llama.logits(ids.tolist())
        again = llama.logits(ids[:5].tolist())
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 1e-3
    assert expected.std() > 0.5  # a flat head would agree with anything
    assert np.abs(again - expected[:5]).max() < 1e-3  # nothing of the first call is left in the cache


def test_f16_and_q8_0_files_stay_within_their_divergence(smollm2_hidden):
    sequences, hidden = smollm2_hidden
    head = make_smollm2()[0].lm_head.weight
    f16 = parity(float_file("smollm2", "F16"), sequences, hidden, head, threads=1)
    assert f16.kl_to_torch <= 1e-4
    assert f16.top1_agreement >= 0.995
    q8_0 = parity(
        quantize(float_file("smollm2", "F16"), workspace() / "q8_0.gguf", "Q8_0"), sequences, hidden, head, threads=1
    )
    assert 1e-4 < q8_0.kl_to_torch <= 1e-2
    assert q8_0.bytes < 0.6 * f16.bytes
    assert min(f16.tokens_per_second, f16.prompt_tokens_per_second) > 1


@pytest.fixture(scope="module")
def smollm2_importance():
    ids = token_ids(CALIBRATION_TEXT)
    return importance_matrix(make_smollm2()[0], ids.split(192))


@pytest.mark.parametrize("kind", ["Q5_K_M", "Q4_K_M"])
def test_importance_from_one_text_lowers_the_divergence_on_another(kind, smollm2_hidden, smollm2_importance):
    sequences, hidden = smollm2_hidden
    head = make_smollm2()[0].lm_head.weight
    kl = {}
    for importance in (None, smollm2_importance):
        path = quantize(float_file("smollm2", "F16"), workspace() / "k.gguf", kind, importance=importance)
        kl[importance is not None] = parity(path, sequences, hidden, head, threads=1).kl_to_torch
    assert kl[True] < 0.8 * kl[False]


def test_parity_is_the_plain_formula_over_pytorchs_rows():
    model, _ = make_tiny_qwen3()
    ids = token_ids(EVALUATION_TEXT, "qwen3")
    sequences = [ids[:100], ids[100:103], ids[103:180]]
    path = quantize(float_file("qwen3", "F16"), workspace() / "qwen3-q4.gguf", "Q4_K_M", threads=1)
    rows = 500  # a head without the padding rows that the file has
    got = parity(path, sequences, final_hidden(model, sequences), model.lm_head.weight[:rows], threads=1)

    kl, same, worst = [], [], 0.0
    with LlamaModel(path, threads=1) as llama, torch.no_grad():
        for sequence in sequences:
            ours = torch.from_numpy(llama.logits(sequence.tolist()))[:, :rows]
            reference = model(sequence[None]).logits[0][:, :rows]
            p, q = reference.double().softmax(-1), ours.double().softmax(-1)
            kl += (p * (p / q).log()).sum(-1).tolist()
            same += (reference.argmax(-1) == ours.argmax(-1)).tolist()
            worst = max(worst, (reference - ours).abs().max().item())
    assert got.kl_to_torch == pytest.approx(np.mean(kl), rel=1e-3)
    assert got.top1_agreement == np.mean(same)
    assert got.max_logit_error == pytest.approx(worst, rel=1e-3)
    assert got.bytes == path.stat().st_size


def test_parity_sees_a_wrong_model():
    model, _ = make_tiny_qwen3()
    sequences = [token_ids(EVALUATION_TEXT, "qwen3")[:50]]
    hidden = final_hidden(model, sequences)
    right = parity(float_file("qwen3", "F32"), sequences, hidden, model.lm_head.weight, threads=1, exact=True)
    wrong = parity(float_file("qwen3", "F32"), sequences, hidden, model.lm_head.weight.flip(0), threads=1, exact=True)
    assert abs(right.kl_to_torch) < 1e-10 and right.top1_agreement == 1.0
    assert wrong.kl_to_torch > 0.1 and wrong.top1_agreement < 0.5
    with pytest.raises(ValueError, match="has 512 tokens, the head 1024"):
        parity(float_file("qwen3", "F32"), sequences, hidden, model.lm_head.weight.repeat(2, 1))


def test_llama_cpp_and_transformers_tokenize_alike(family):  # noqa: F811
    _, tokenizer = MAKERS[family]()
    texts = [*NASTY_TEXTS, EVALUATION_TEXT, CALIBRATION_TEXT, ""]
    if family == "qwen3":  # Qwen's tokenizer composes characters (NFC), llama.cpp does not
        texts = [text for text in texts if unicodedata.is_normalized("NFC", text)]
        assert len(texts) >= 12
    with LlamaModel(float_file(family, "F16"), threads=1) as llama:
        for text in texts:
            assert llama.tokenize(text) == tokenizer(text, split_special_tokens=True).input_ids, text
        assert tokenizer.eos_token_id not in llama.tokenize("<|im_end|>")


def test_greedy_generation_equals_pytorchs(family):  # noqa: F811
    model, tokenizer = MAKERS[family]()
    prompt = "A pendulum of length L hangs from a fixed point. When it is pulled"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False)
    expected = expected[0, ids.shape[1] :].tolist()
    with LlamaModel(float_file(family, "F32"), threads=1, exact=True) as llama:
        assert list(llama.generate_ids(prompt, max_new_tokens=16)) == expected
        pieces = list(llama.generate(prompt, max_new_tokens=16))
        assert list(llama.generate(ids[0].tolist(), max_new_tokens=16)) == pieces
        whole = b"".join(llama.piece(token) for token in expected)
    assert "".join(pieces) == whole.decode("utf-8", "replace").removesuffix("\ufffd")


def test_generated_emoji_come_whole_though_their_bytes_are_spread_over_tokens():
    with LlamaModel(float_file("smollm2", "F32"), threads=1, exact=True) as llama:
        prompt = "🦙🚀" * 8
        ids = list(llama.generate_ids(prompt, max_new_tokens=9))
        pieces = list(llama.generate(prompt, max_new_tokens=9))
    assert len(pieces) < len(ids)  # some token held only a part of a character
    assert "".join(pieces).startswith("🚀")
    assert "\ufffd" not in "".join(pieces)


@pytest.mark.parametrize("text", [text for text in NASTY_TEXTS if "<|" not in text])
def test_streamed_pieces_concatenate_to_the_text_and_show_no_half_character(text, qwen3, monkeypatch):
    ids = qwen3.tokenize(text)
    for count in range(len(ids) + 1):
        monkeypatch.setattr(qwen3, "generate_ids", lambda *_, count=count, **__: iter(ids[:count]))
        streamed = "".join(qwen3.generate("any"))
        assert text.startswith(streamed)
        assert len(streamed.encode()) > len(b"".join(map(qwen3.piece, ids[:count]))) - 4
    assert streamed == text


def test_generation_stops_at_end_of_text(tmp_path):
    model, tokenizer = make_tiny_qwen3()
    prompt = token_ids("It is a truth", "qwen3")
    head = model.lm_head.weight
    kept = head[tokenizer.eos_token_id].detach().clone()
    with torch.no_grad():
        head[tokenizer.eos_token_id] = 10 * final_hidden(model, [prompt])[0][-1]
        try:
            path = write_gguf(model, tokenizer, tmp_path / "eos.gguf", "F32")
        finally:
            head[tokenizer.eos_token_id] = kept
    with LlamaModel(path, threads=1) as ending, LlamaModel(float_file("qwen3", "F32"), threads=1) as going_on:
        assert list(ending.generate(prompt.tolist())) == []
        assert len(list(going_on.generate_ids(prompt.tolist(), max_new_tokens=5))) == 5


def test_generation_stops_at_the_contexts_end(qwen3):
    prompt = token_ids(EVALUATION_TEXT, "qwen3")[: qwen3.context - 6].tolist()
    assert len(list(qwen3.generate_ids(prompt, max_new_tokens=100))) == 6


def test_tokens_that_do_not_fit_or_do_not_exist_are_refused(qwen3):
    for ids, message in [([], "0 tokens"), ([1] * 129, "129 tokens"), ([1, 512], "512"), ([-1], "-1")]:
        with pytest.raises(ValueError, match=message):
            qwen3.logits(ids)
        with pytest.raises(ValueError, match=message):
            next(qwen3.generate(ids))


def test_a_second_use_during_generation_is_an_error_not_a_mixture(qwen3):
    stream = qwen3.generate_ids([1, 2, 3])
    next(stream)
    qwen3.logits([4, 5])
    with pytest.raises(RuntimeError, match="Another call"):
        next(stream)


def test_a_closed_model_says_so():
    with LlamaModel(float_file("qwen3", "F16"), threads=1) as model:
        pass
    model.close()
    for use in (lambda: model.logits([1]), lambda: model.tokenize("a"), lambda: model.piece(1)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_broken_files_are_refused_before_llama_cpp_sees_them(tmp_path):
    (tmp_path / "notes.gguf").write_text("no model")
    with pytest.raises(ValueError, match=r"notes\.gguf is not a GGUF file"):
        LlamaModel(tmp_path / "notes.gguf")
    (tmp_path / "cut.gguf").write_bytes(float_file("qwen3", "F16").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut\.gguf is truncated"):
        LlamaModel(tmp_path / "cut.gguf")


def test_llama_cpp_is_silent_but_its_errors_reach_the_exception(tmp_path, capfd):
    with LlamaModel(float_file("qwen3", "F16"), threads=1) as model:
        model.logits([1, 2])
    assert capfd.readouterr() == ("", "")
    data = float_file("qwen3", "F16").read_bytes()
    assert data.count(b"qwen2") == 1
    (tmp_path / "other.gguf").write_bytes(data.replace(b"qwen2", b"qwen9"))
    with pytest.raises(ValueError, match=r"cannot open .*other\.gguf.*unknown pre-tokenizer type: 'qwen9'"):
        LlamaModel(tmp_path / "other.gguf")
