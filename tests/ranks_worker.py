"""One rank's part in `test_parallel.py`: trains a small student in float64 and leaves its weights and metrics."""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file

from discnb import ranks
from discnb.data import Collator, tokenize_samples
from discnb.models import scratch_student, scratch_teacher, scratch_tokenizer
from discnb.objective import DiscObjective
from discnb.parallel import whole
from discnb.teacher import OnlineTeacher
from discnb.train import DiscTrainer, DistilledStudent, training_arguments

MAX_NORM = 0.5


def corpus(samples):
    rows = [
        {"question": f"What is {i} + {i}?", "cot": f"Twice {i}. " * (1 + i % 4), "response": f"{2 * i}"}
        for i in range(samples)
    ]
    tokenizer = scratch_tokenizer((text for row in rows for text in row.values()), 300)
    return tokenizer, tokenize_samples(Dataset.from_list(rows), tokenizer, 64)[0]


class OneByOne:
    """A teacher whose states do not depend on how its sequences are batched."""

    def __init__(self, model):
        self.online = OnlineTeacher(model)
        self.head = self.online.head

    def hidden(self, index, input_ids, attention_mask):
        rows = zip(input_ids, attention_mask, strict=True)
        return torch.cat([self.online.hidden(index, ids[None], mask[None]) for ids, mask in rows])

    def prefetch(self, index):
        pass


def train(folder, *, samples=9, batch=4, accumulation=1, sharded=False, stop_after=None):
    ranks.join()
    tokenizer, tokens = corpus(samples)
    teacher = OneByOne(scratch_teacher(tokenizer, seed=0))
    student = scratch_student(tokenizer, seed=1).double()
    model = DistilledStudent(student, DiscObjective(), teacher.head.to(student.dtype)).train()
    arguments = training_arguments(
        folder / "checkpoints",
        num_train_epochs=2,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=1e-3,
        weight_decay=0.01,
        max_grad_norm=MAX_NORM,
        save_steps=2,
        seed=3,
    )

    def stop(row, steps):
        if row["step"] == stop_after:
            raise SystemExit(3)

    trainer = DiscTrainer(
        model,
        arguments,
        teacher=teacher,
        metrics_path=folder / "metrics.jsonl",
        sharded=sharded,
        progress=stop,
        train_dataset=tokens,
        data_collator=Collator(tokenizer.pad_token_id),
    )
    trainer.train()
    state = whole(model.student.state_dict())
    if ranks.rank() == 0:
        save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "trained.safetensors")


if __name__ == "__main__":
    train(Path(sys.argv[1]), **json.loads(sys.argv[2]))
