"""The memory model against the allocator's record of small models: within 15 % in every case."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from discnb.architectures import architecture, shrink
from discnb.footprint import (
    activation_bytes,
    engine_bytes,
    engine_flops,
    forward_flops,
    inference_bytes,
    meta_model,
    saved_bytes,
    shape_of,
    training_bytes,
)

DENSE, LLAMA = "Qwen/Qwen3-1.7B", "HuggingFaceTB/SmolLM2-135M-Instruct"
EXPERTS = "Qwen/Qwen3-30B-A3B-Instruct-2507"
TOLERANCE = 0.15


def training(model, width, layers, vocabulary, batch, length, **changed):
    return {
        "stage": "train", "model": model, "width": width, "layers": layers, "vocabulary": vocabulary, "batch": batch,
        "length": length, "teacher_hidden": 64, "padded": batch > 1, "bf16": False, "checkpointing": False,
        "accumulation": 1, **changed,
    }  # fmt: skip


def teaching(model, width, vocabulary, dtype, **changed):
    return {
        "stage": "teach", "model": model, "width": width, "layers": 2, "vocabulary": vocabulary, "batch": 4,
        "length": 128, "padded": True, "dtype": dtype, **changed,
    }  # fmt: skip


CASES = {
    "activations": training(DENSE, 256, 6, 512, 4, 256),
    "activations, checkpointed": training(DENSE, 256, 6, 512, 4, 256, checkpointing=True),
    "activations, autocast": training(DENSE, 256, 6, 512, 4, 256, bf16=True),
    "activations, autocast, checkpointed": training(DENSE, 256, 6, 512, 4, 256, bf16=True, checkpointing=True),
    "activations, accumulated": training(DENSE, 256, 6, 512, 4, 256, accumulation=2),
    "activations, accumulated, checkpointed": training(DENSE, 256, 6, 512, 4, 256, accumulation=2, checkpointing=True),
    "vocabulary": training(DENSE, 128, 2, 8192, 2, 64),
    "vocabulary, autocast, checkpointed": training(DENSE, 128, 2, 8192, 2, 64, bf16=True, checkpointing=True),
    "vocabulary, accumulated": training(DENSE, 128, 2, 8192, 2, 64, accumulation=2),
    "one sequence": training(DENSE, 512, 4, 2048, 1, 64),
    "one sequence, autocast, accumulated": training(DENSE, 512, 4, 2048, 1, 64, bf16=True, accumulation=2),
    "layers, checkpointed": training(DENSE, 256, 4, 512, 4, 128, checkpointing=True),
    "Llama": training(LLAMA, 192, 4, 2048, 4, 128),
    "Llama, checkpointed": training(LLAMA, 192, 4, 2048, 4, 128, checkpointing=True),
    "teacher, experts": teaching(EXPERTS, 64, 512, "float32"),
    "teacher, experts, bfloat16": teaching(EXPERTS, 128, 512, "bfloat16"),
    "teacher, experts, one sequence": teaching(EXPERTS, 64, 512, "bfloat16", batch=1, length=256, padded=False),
    "teacher, dense": teaching(DENSE, 256, 512, "float32"),
    "teacher, dense, bfloat16": teaching(DENSE, 256, 512, "bfloat16"),
    "teacher, Llama": teaching(LLAMA, 192, 512, "float32"),
}


def predicted(case):
    config = shrink(
        architecture(case["model"]), width=case["width"], layers=case["layers"], vocabulary=case["vocabulary"]
    )
    shape = shape_of(meta_model(config))
    sizes = {name: case[name] for name in ("batch", "length", "padded")}
    if case["stage"] == "teach":
        width = 2 if case["dtype"] == "bfloat16" else 4
        return width * shape.parameters + inference_bytes(shape, **sizes, width=width)
    moments = training_bytes(
        shape,
        case["teacher_hidden"],
        **sizes,
        bf16=case["bf16"],
        checkpointing=case["checkpointing"],
        accumulating=case["accumulation"] > 1,
        device="cpu",
    )
    return max(sum(memory.values()) for memory in moments.values())


@pytest.fixture(scope="module")
def measured():
    """Bytes by case, each measured in a process that does nothing else; -P, since tests/ has a `signal` of its own."""
    lines = "".join(json.dumps(case) + "\n" for case in CASES.values())
    script = Path(__file__).with_name("measured_memory.py")
    done = subprocess.run([sys.executable, "-P", script], input=lines, capture_output=True, text=True, check=True)
    values = [int(line) for line in done.stdout.splitlines() if line.isdigit()]  # the profiler speaks, too
    return dict(zip(CASES, values, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_within_15_percent_of_the_measured(measured, name):
    ratio = predicted(CASES[name]) / measured[name]
    print(f"{name}: measured {measured[name]:,} bytes, predicted {ratio:.3f} of it")
    assert abs(ratio - 1) < TOLERANCE


def test_checkpointing_saves_what_the_layers_keep_and_redoes_one(measured):
    assert measured["activations, checkpointed"] < 0.5 * measured["activations"]
    shape, sizes = shape_of(meta_model(architecture(DENSE))), dict(batch=8, length=1024, padded=True, bf16=True)
    kept, redone = (activation_bytes(shape, **sizes, checkpointing=on) for on in (False, True))
    assert redone["layers"] == 28 * 8 * 1024 * 4 * 2048
    assert (
        kept["layers"] == 28 * saved_bytes(shape, **sizes) == 28 * (redone["one layer again"] + redone["layers"] // 28)
    )


def test_active_parameters_leave_out_the_experts_not_chosen():
    shape = shape_of(meta_model(architecture(EXPERTS)))
    assert shape.parameters - shape.active == 48 * 120 * 3 * 2048 * 768
    dense = shape_of(meta_model(architecture(DENSE)))
    assert (dense.active, dense.chosen, dense.tied, shape.tied) == (dense.parameters, 0, True, False)


def test_flops_are_two_a_parameter_and_the_square_of_a_sequence():
    shape = shape_of(meta_model(architecture(DENSE)))
    flops = forward_flops(shape, 1024)
    assert flops["matrices"] == 2 * (shape.parameters - shape.embedding - 28 * (2 * 2048 + 2 * 128) - 2048)
    assert flops["attention"] == 4 * 28 * 2048 * 1024
    head = 151_936 * 2048
    assert engine_flops(shape.head, shape.head, kept=True) == 8 * head
    assert engine_flops(shape.head, shape.head, kept=False) == 12 * head


def test_the_engine_keeps_what_a_gpu_has_to_spare():
    shape = shape_of(meta_model(architecture(DENSE)))
    every = 8 * 1024 * 151_936
    assert engine_bytes(shape, 2048, length=1024, device="cuda", free=80e9)["kept logits"] == every
    assert engine_bytes(shape, 2048, length=1024, device="cuda", free=2e9)["kept logits"] == 0.5e9
    assert engine_bytes(shape, 2048, length=1024, device="cuda", free=-1)["kept logits"] == 0
    assert engine_bytes(shape, 2048, length=4096, device="cpu")["kept logits"] == 2 << 30


def test_more_ranks_add_buckets_and_sharding_takes_a_share():
    shape = shape_of(meta_model(architecture(DENSE)))
    sizes = dict(
        batch=1,
        length=1024,
        padded=False,
        bf16=True,
        checkpointing=True,
        accumulating=False,
        device="cuda",
        memory=80e9,
    )
    one, ddp, fsdp = (
        training_bytes(shape, 2048, **sizes, **ranks) for ranks in ({}, {"share": 8}, {"share": 8, "sharded": True})
    )
    assert ddp["step"]["DDP's buckets"] == 4 * shape.parameters
    assert one["step"]["moments"] == ddp["step"]["moments"] == 8 * fsdp["step"]["moments"]
    assert sum(fsdp["step"].values()) < sum(one["step"].values()) < sum(ddp["step"].values())
