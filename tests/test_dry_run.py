"""The full run's path, walked with its own architectures shrunken: every stage but the download."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig

from discnb.checkpoint import read_manifest
from discnb.presets import PRESETS, dry_run, preset
from discnb.run import open_run


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "stem_proof_1_7b-dry"
    run = open_run("stem_proof_1_7b", folder, dry_run(preset("stem_proof_1_7b")))
    run.report()
    return run


def test_the_teacher_is_the_cards_mixture_of_experts_made_small(dry):
    config = AutoConfig.from_pretrained(dry.folder / "teacher" / "model")
    assert config.architectures == ["Qwen3MoeForCausalLM"]
    assert (config.num_experts, config.num_experts_per_tok, config.vocab_size) == (128, 8, 151_936)
    teacher, tokenizer = dry.teacher_model()
    assert teacher.dtype == torch.bfloat16 and len(tokenizer) == 151_669
    assert dry.cache()["key"]["experts"] == "grouped_mm"
    assert dry.cache()["key"]["dtype"] == "bfloat16"


def test_the_head_is_cut_to_the_shared_vocabulary(dry):
    with safe_open(dry.folder / "teacher" / "head.safetensors", "pt") as file:
        assert file.get_slice("weight").get_shape() == [151_669, 64]
        assert file.get_tensor("weight").dtype == torch.bfloat16


def test_the_students_own_weights_stay_float32_under_autocast_and_checkpointing(dry):
    assert dry.config.train.bf16 and dry.config.train.activation_checkpointing
    student, _ = dry.student()
    assert student.config.architectures == ["Qwen3ForCausalLM"] and student.dtype == torch.float32
    with safe_open(dry.folder / "student" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float32}  # noqa: SIM118


def test_every_stage_ran_on_eight_samples_and_says_how_fast(dry):
    assert dry.data()["used"] == {"train": 8, "eval": 2}
    assert [row["step"] for row in dry.metrics()] == [1, 2]
    for stage in (dry.cache(), dry.train()):
        speed = stage["speed"]
        assert speed["tokens_per_second"] > 0 and speed["flops_per_second"] > 0 and speed["peak_bytes"] > 1e8
        assert 0 < speed["padding"] < 0.9
        assert speed["mfu"] is None or torch.cuda.is_available()
    results = json.loads((dry.folder / "results.json").read_text())
    assert all(facts["kl_to_torch"] < 1e-3 for facts in results["gguf"].values())
    assert read_manifest(dry.folder / "gguf")


@pytest.mark.parametrize("name", PRESETS)
def test_a_dry_run_asks_nothing_of_the_network(name):
    from discnb.config import override

    config = override(preset(name), dry_run(preset(name)))
    assert config.data.source == "mini" and config.data.train_samples == 8
    for model in (config.teacher.model, config.student.model):
        assert model in ("smollm2", "scratch", "prune") or model.startswith("shrunken:Qwen/")
    assert config.preset == name and config.objective == preset(name).objective
