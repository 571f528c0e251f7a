import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from discnb.models import (
    dither,
    head_weight,
    load_model,
    load_tokenizer,
    prune_depth,
    scratch_student,
    scratch_teacher,
    scratch_tokenizer,
    shared_vocabulary,
    shrunken,
)

TEXTS = ["The speed is v = 12 m/s.", "Let x = 3; then x^2 = 9.\n\nHence the claim."] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return scratch_tokenizer(TEXTS, 300)


@pytest.fixture(scope="module")
def student(tokenizer):
    return scratch_student(tokenizer, seed=1)


def test_the_scratch_tokenizer_splits_digits_and_loses_nothing(tokenizer):
    text = "v = 1234 m/s — naïve ≤ 日本\n\n  <|im_end|>"
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.convert_ids_to_tokens(tokenizer("1234")["input_ids"]) == list("1234")
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.eos_token_id]


def test_a_scratch_model_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone(tokenizer, student):
    state = torch.get_rng_state()
    again, other = scratch_student(tokenizer, seed=1), scratch_student(tokenizer, seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(again.lm_head.weight, student.lm_head.weight)
    assert not torch.equal(other.lm_head.weight, student.lm_head.weight)


def test_the_scratch_teacher_is_a_mixture_of_experts_of_a_few_million_parameters(tokenizer):
    teacher = scratch_teacher(tokenizer, seed=0)
    assert teacher.config.num_local_experts == 8
    assert 2e6 < teacher.num_parameters() < 2e7
    assert head_weight(teacher).shape == (len(tokenizer), 256)


def test_pruning_to_full_depth_changes_no_logit(tokenizer):
    model = scratch_student(tokenizer, seed=0)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(prune_depth(model, 2)(ids).logits, model(ids).logits, rtol=0, atol=0)


def test_pruning_keeps_both_ends_and_shares_no_memory(tokenizer):
    teacher = scratch_teacher(tokenizer, seed=0)
    student = prune_depth(teacher, 3)
    assert student.config.num_hidden_layers == 3
    for mine, theirs in ((0, 0), (2, 3)):
        assert torch.equal(
            student.model.layers[mine].self_attn.q_proj.weight, teacher.model.layers[theirs].self_attn.q_proj.weight
        )
    with torch.no_grad():
        student.lm_head.weight.zero_()
    assert teacher.lm_head.weight.abs().sum() > 0


@pytest.mark.parametrize("layers", [1, 5])
def test_an_impossible_depth_is_refused(tokenizer, layers):
    with pytest.raises(ValueError, match=f"layers is {layers}; expected 2 to 4"):
        prune_depth(scratch_teacher(tokenizer, seed=0), layers)


def test_dither_moves_a_weight_by_at_most_its_share_of_a_step_and_is_the_same_every_time(tokenizer):
    plain, noisy, again = (scratch_student(tokenizer, seed=0) for _ in range(3))
    for model in (noisy, again):
        dither(model, 0.25, seed=3)
    for name, was in plain.state_dict().items():
        now = noisy.state_dict()[name]
        assert torch.equal(now, again.state_dict()[name])
        if "layers" in name and was.ndim == 2:
            blocks, moved = was.reshape(-1, 32), (now - was).reshape(-1, 32).abs()
            step = (blocks.amax(1) - blocks.amin(1)) / 15
            assert (moved.amax(1) <= 0.25 * step * 1.01).all() and moved.mean() > 0.1 * step.mean()
        else:
            assert torch.equal(now, was)


def test_a_folder_loads_what_was_saved(tokenizer, student, tmp_path):
    student.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, loaded = load_model(str(tmp_path))
    assert torch.equal(model.lm_head.weight, student.lm_head.weight)
    assert loaded.get_vocab() == tokenizer.get_vocab() and loaded.eos_token_id == tokenizer.eos_token_id
    assert not model.training


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such-model", "no model at 'no-such-model'; expected 'smollm2', a .gguf file"),
        ("./missing/folder", "no model at"),
    ],
)
def test_an_unknown_source_says_what_is_possible(source, message):
    with pytest.raises(ValueError, match=message):
        load_model(source)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_model(str(tmp_path))


def test_a_pickle_is_never_loaded_as_weights(tokenizer, student, tmp_path):
    student.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(student.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model\.safetensors; pytorch_model\.bin is not read"):
        load_model(str(tmp_path))


def test_equal_vocabularies_are_shared_and_padded_rows_left_out(tokenizer):
    assert shared_vocabulary(tokenizer, tokenizer, len(tokenizer) + 9, len(tokenizer) + 100) == len(tokenizer)


def test_different_vocabularies_are_refused_with_where_they_differ(tokenizer):
    other = scratch_tokenizer(["zebra zebra zebra quagga quagga"] * 5, 280)
    with pytest.raises(ValueError, match=r"different vocabularies: .* only in the teacher, .* only in the student"):
        shared_vocabulary(tokenizer, other, 300, 280)


def test_a_head_with_fewer_rows_than_tokens_is_refused(tokenizer):
    with pytest.raises(ValueError, match=f"{len(tokenizer)} tokens, but the teacher's head has 7 rows"):
        shared_vocabulary(tokenizer, tokenizer, 7, 300)


def test_a_head_that_is_not_linear_is_refused(student):
    import copy

    biased = copy.deepcopy(student)
    biased.set_output_embeddings(nn.Linear(256, 300))
    with pytest.raises(ValueError, match="Linear with bias; expected a linear map without bias"):
        head_weight(biased)
    capped = copy.deepcopy(student)
    capped.config.final_logit_softcapping = 30.0
    with pytest.raises(ValueError, match="final_logit_softcapping"):
        head_weight(capped)


def test_smollm2_is_the_real_model():
    model, tokenizer = load_model("smollm2")
    assert model.num_parameters() == 134_515_008
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
    student = prune_depth(model, 15)
    assert (student.config.num_hidden_layers, student.num_parameters()) == (15, 81_413_568)


def test_a_pruned_model_can_be_saved_and_loaded(tokenizer, tmp_path):
    student = prune_depth(scratch_teacher(tokenizer, seed=0), 2)
    student.save_pretrained(tmp_path)
    ids = torch.arange(9)[None]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(ids).logits, student(ids).logits)


def test_experts_that_are_not_computed_in_groups_are_refused(tmp_path, monkeypatch):
    tokenizer = scratch_tokenizer(["two and two are four"], 300)
    scratch_teacher(tokenizer, seed=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    teacher, _ = load_model(str(tmp_path), dtype=torch.bfloat16)
    assert teacher.get_experts_implementation()[""] == "grouped_mm" and teacher.dtype == torch.bfloat16
    monkeypatch.setattr(type(teacher), "_grouped_mm_can_dispatch", lambda self: (_ for _ in ()).throw(ImportError))
    with pytest.raises(ValueError, match="computes its experts by 'eager'; expected 'grouped_mm'"):
        load_model(str(tmp_path))


def test_a_tokenizer_is_read_without_its_models_weights(tmp_path):
    tokenizer = scratch_tokenizer(["two and two are four"], 300, size=400)
    assert (
        len(tokenizer) == 400
        and tokenizer("two").input_ids == scratch_tokenizer(["two and two are four"], 300)("two").input_ids
    )
    scratch_teacher(tokenizer, seed=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    found, rows = load_tokenizer(str(tmp_path))
    assert found.get_vocab() == tokenizer.get_vocab() and rows == 400


def test_a_shrunken_model_is_its_family_with_all_rows():
    tokenizer = scratch_tokenizer(["two and two are four"], 300)
    model = shrunken("Qwen/Qwen3-30B-A3B-Instruct-2507", tokenizer, seed=0)
    assert type(model).__name__ == "Qwen3MoeForCausalLM" and model.dtype == torch.float32
    assert head_weight(model).shape == (151_936, 64)
    again = shrunken("Qwen/Qwen3-30B-A3B-Instruct-2507", tokenizer, seed=0)
    assert torch.equal(head_weight(model), head_weight(again))


def test_a_model_is_the_same_wherever_it_is_spread(tmp_path):
    tokenizer = scratch_tokenizer(["two and two are four"], 300)
    scratch_student(tokenizer, seed=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (one, _), (spread, _) = (load_model(str(tmp_path), device=device) for device in ("cpu", "auto"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), spread.parameters(), strict=True))
