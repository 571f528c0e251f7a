"""Peak bytes of small models as torch's CPU allocator counts them, a line for each JSON case on standard input."""

import json
import sys

import torch
from transformers import AutoModelForCausalLM

from discnb.architectures import architecture, shrink
from discnb.footprint import measured_peak
from discnb.objective import DiscObjective
from discnb.teacher import OnlineTeacher
from discnb.train import DistilledStudent


def small_model(case):
    dtype = torch.bfloat16 if case.get("dtype") == "bfloat16" else torch.float32
    config = shrink(
        architecture(case["model"]), width=case["width"], layers=case["layers"], vocabulary=case["vocabulary"]
    )
    return AutoModelForCausalLM.from_config(config, dtype=dtype)


def token_batch(case):
    shape = case["batch"], case["length"]
    ids, attention = torch.randint(0, case["vocabulary"], shape), torch.ones(shape, dtype=torch.long)
    if case["padded"]:
        attention[0, shape[1] // 2 :] = 0
    return ids, attention


def train(case):
    model = small_model(case).train()
    if case["checkpointing"]:
        model.activation_checkpointing_enable()
    head = torch.randn(case["vocabulary"], case["teacher_hidden"]).bfloat16()
    student = DistilledStudent(model, DiscObjective(), head)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)  # as the Trainer's
    for _ in range(2):
        for _ in range(case["accumulation"]):
            ids, attention = token_batch(case)
            mask = attention.bool() & attention.bool().roll(-1, 1)
            mask[:, -1] = False
            states = torch.randn(*ids.shape, case["teacher_hidden"]).bfloat16()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=case["bf16"]):
                terms = student(ids, attention, ids.roll(-1, 1).where(mask, -100), mask, mask, states)
            (terms.loss / case["accumulation"]).backward()
            del terms
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def teach(case):
    teacher = OnlineTeacher(small_model(case).eval())
    ids, attention = token_batch(case)
    teacher.hidden(torch.arange(len(ids)), ids, attention)


torch.manual_seed(0)
for line in sys.stdin:
    case = json.loads(line)
    work = train if case["stage"] == "train" else teach
    print(measured_peak(lambda: work(case)), flush=True)  # noqa: B023 (called at once)
