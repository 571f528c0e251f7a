from dataclasses import replace

import pytest

from discnb.architectures import REVISIONS, architecture
from discnb.config import DataConfig, TrainConfig
from discnb.data.domains import CARD_COUNTS
from discnb.objective import DiscObjective
from discnb.presets import PRESETS, preset, stem_proof_1_7b

CARD = ("stem_proof_1_7b", "sft_1_7b", "thinking_0_6b", "thinking_1_7b", "coder_1_7b")

PAIRS = {
    "stem_proof_1_7b": ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-1.7B"),
    "sft_1_7b": ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-1.7B"),
    "cpu_fp32": ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-1.7B"),
    "thinking_1_7b": ("Qwen/Qwen3-30B-A3B-Thinking-2507", "Qwen/Qwen3-1.7B"),
    "thinking_0_6b": ("Qwen/Qwen3-30B-A3B-Thinking-2507", "Qwen/Qwen3-0.6B"),
    "coder_1_7b": ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "Qwen/Qwen3-1.7B"),
}


@pytest.mark.parametrize("name", [*CARD, "cpu_fp32"])
def test_every_hyperparameter_of_the_card(name):
    config = preset(name)
    train, data = config.train, config.data
    assert train.epochs == 1
    assert train.batch_size * train.accumulation == 8
    assert (train.learning_rate, train.min_learning_rate, train.warmup_steps) == (1.5e-5, 1e-6, 30)
    assert (train.weight_decay, train.max_grad_norm, train.seed) == (0.01, 1.0, 42)
    assert (train.proof_weight_first, train.proof_weight_last) == (2.5, 1.5)
    assert (data.source, data.max_length, data.seed) == ("hub", 1024, 42)
    assert (data.train_samples, data.eval_samples) == (None, None)
    assert sum(CARD_COUNTS.values()) == 6122


def test_the_card_s_objective():
    objective = preset("stem_proof_1_7b").objective
    assert (objective.temperature, objective.window, objective.pivot_sigma, objective.align) == (2.0, 1, 2.0, "forward")
    assert (objective.amplifier, objective.singular_sigma) == (3.0, 1.0)
    assert (objective.smoothing_window, objective.causal) == (3, False)
    assert (objective.ce_weight, objective.kd_weight, objective.energy_weight) == (0.55, 0.45, 0.02)


def test_plain_distillation_lacks_the_method_s_three_parts_and_nothing_else():
    plain, full = preset("sft_1_7b"), preset("stem_proof_1_7b")
    assert (plain.objective.amplifier, plain.objective.smoothing_window, plain.objective.energy_weight) == (1, 1, 0)
    assert replace(plain, preset=full.preset, objective=DiscObjective()) == full


@pytest.mark.parametrize("name", PAIRS)
def test_the_pair_is_as_named_and_pinned(name):
    config = preset(name)
    assert (config.teacher.model, config.student.model) == PAIRS[name]
    assert (config.teacher.revision, config.student.revision) == tuple(REVISIONS[model] for model in PAIRS[name])
    rows = [architecture(model).vocab_size for model in PAIRS[name]]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("name", CARD)
def test_a_full_preset_runs_in_bfloat16_over_float32_master_weights(name):
    config = preset(name)
    assert (config.teacher.dtype, config.teacher.storage) == ("bfloat16", "bfloat16")
    assert config.teacher.batch_size >= 8
    assert config.train.bf16 and config.train.activation_checkpointing


def test_on_a_cpu_all_is_float32_and_the_rest_the_card_s():
    cpu, full = preset("cpu_fp32"), preset("stem_proof_1_7b")
    assert (cpu.teacher.dtype, cpu.train.bf16) == ("float32", False)
    back = replace(
        cpu, preset=full.preset, teacher=replace(cpu.teacher, dtype="bfloat16"), train=replace(cpu.train, bf16=True)
    )
    assert back == full


def test_the_defaults_are_the_card_s():
    config = stem_proof_1_7b()
    assert config.data == DataConfig(source="hub")
    ours = dict(batch_size=8, accumulation=1, bf16=True, activation_checkpointing=True)
    assert config.train == replace(TrainConfig(), **ours)
    assert (TrainConfig().batch_size, TrainConfig().accumulation) == (1, 8)


def test_a_preset_is_called_what_its_function_is():
    assert all(make().preset == name == make.__name__ for name, make in PRESETS.items())
    assert list(PRESETS)[:3] == ["tiny", "mini", "book"]
