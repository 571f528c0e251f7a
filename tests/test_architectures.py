import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from discnb.architectures import REVISIONS, architecture, shrink
from discnb.models import SMOLLM2, load_model

SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PARAMETERS = {
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 30_532_122_624,
    "Qwen/Qwen3-30B-A3B-Thinking-2507": 30_532_122_624,
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": 30_532_122_624,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-0.6B": 596_049_920,
    SMALL: 134_515_008,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_carried_architecture_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        assert AutoModelForCausalLM.from_config(architecture(name)).num_parameters() == PARAMETERS[name]


def test_every_carried_architecture_has_a_pinned_commit():
    assert REVISIONS.keys() == PARAMETERS.keys()
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in REVISIONS.values())


def test_the_families_own_values():
    teacher, coder, student = (
        architecture(f"Qwen/Qwen3-{name}") for name in ("30B-A3B-Instruct-2507", "Coder-30B-A3B-Instruct", "1.7B")
    )
    for config in (teacher, coder):
        assert config.rope_parameters["rope_theta"] == 10_000_000
        assert config.max_position_embeddings == 262_144
        assert (config.num_experts, config.num_experts_per_tok, config.norm_topk_prob) == (128, 8, True)
    assert student.rope_parameters["rope_theta"] == 1_000_000
    assert student.max_position_embeddings == 40_960
    assert {config.eos_token_id for config in (teacher, coder, student)} == {151_645}
    assert {config.head_dim for config in (teacher, coder, student)} == {128}


def test_the_carried_smollm2_is_the_wheels():
    real = load_model(SMOLLM2)[0].config
    carried = architecture(SMALL)
    for name in (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings", "eos_token_id", "bos_token_id",
    ):  # fmt: skip
        assert getattr(carried, name) == getattr(real, name), name
    assert carried.rope_parameters["rope_theta"] == real.rope_parameters["rope_theta"]
    assert carried.rms_norm_eps == pytest.approx(real.rms_norm_eps)


def test_a_folder_is_read_and_an_unknown_source_lists_the_known(tmp_path):
    shrink(architecture("Qwen/Qwen3-1.7B"), width=32).save_pretrained(tmp_path)
    assert architecture(str(tmp_path)).hidden_size == 32
    with pytest.raises(ValueError, match=r"'Qwen/Qwen3-2B'; expected a folder.*Qwen/Qwen3-1\.7B"):
        architecture("Qwen/Qwen3-2B")


def test_two_calls_share_nothing():
    architecture("Qwen/Qwen3-1.7B").rope_parameters["rope_theta"] = 1
    assert architecture("Qwen/Qwen3-1.7B").rope_parameters["rope_theta"] == 1_000_000


@pytest.mark.parametrize(
    ("name", "width"),
    [*((name, width) for name in PARAMETERS if "Qwen" in name for width in (32, 64, 256)), (SMALL, 96), (SMALL, 192)],
)
def test_a_shrunken_model_is_of_its_family_and_fits_the_quantisers_blocks(name, width):
    config = architecture(name)
    small = shrink(config, width=width, layers=3, vocabulary=512)
    assert type(small) is type(config)
    assert (small.hidden_size, small.num_hidden_layers, small.vocab_size) == (width, 3, 512)
    assert small.num_attention_heads / small.num_key_value_heads == (
        config.num_attention_heads / config.num_key_value_heads
    )
    assert getattr(small, "num_experts", 0) == getattr(config, "num_experts", 0)
    model = AutoModelForCausalLM.from_config(small)
    model(torch.tensor([[1, 2, 3]]))
    blocks = 256 if width == 256 else 32
    for parameter, weight in model.named_parameters():
        if weight.ndim >= 2 and not parameter.endswith("mlp.gate.weight"):
            assert weight.shape[-1] % blocks == 0, parameter


def test_a_shrunken_model_keeps_the_vocabulary_unless_told_otherwise():
    small = shrink(architecture("Qwen/Qwen3-30B-A3B-Instruct-2507"))
    assert (small.vocab_size, small.hidden_size, small.num_hidden_layers) == (151_936, 64, 2)
    assert small.eos_token_id == 151_645
    assert shrink(small, vocabulary=100).eos_token_id is None


@pytest.mark.parametrize("wrong", [{"width": 40}, {"width": 0}, {"layers": 0}, {"vocabulary": 0}])
def test_a_size_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        shrink(architecture("Qwen/Qwen3-0.6B"), **wrong)


def test_three_query_heads_to_a_group_need_a_width_they_divide():
    with pytest.raises(ValueError, match="width is 64; expected a multiple of 96"):
        shrink(architecture(SMALL), width=64)
