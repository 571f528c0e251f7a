"""One optimizer step of the preset `mini`, ours against TRL's GKDTrainer on the same pair and the same batches.

    python benchmarks/step.py [--rounds 3]

GKDTrainer distils plain KL from the model run at every batch (lmbda=0, beta=0); ours computes the whole DISC objective,
with the teacher run at every batch (`online`) or read from its cache (`cached`). Every variant takes the preset's
micro-batches and optimizer; the second step of a fresh trainer is timed.
"""

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch
from measure import paired_seconds, ratio, save
from transformers import TrainerCallback

from discnb.run import open_run
from discnb.teacher import OnlineTeacher
from discnb.train import DiscTrainer, DistilledStudent, training_arguments

STEPS = 2


class Clock(TrainerCallback):
    """Seconds of every optimizer step."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), rounds)


def measure(folder, rounds):
    samples = 8 * STEPS
    run = open_run("mini", folder / "run", {"data.train_samples": samples, "data.eval_samples": 1})
    cached, model = run.teacher("train"), run.teacher_model()[0]
    student, tokens, c = run.initial_student(), run.tokens("train"), run.config.train
    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": c.batch_size,
        "gradient_accumulation_steps": c.accumulation,
        "learning_rate": c.learning_rate,
        "weight_decay": c.weight_decay,
        "max_grad_norm": c.max_grad_norm,
        "save_strategy": "no",
        "seed": c.seed,
    }

    def ours(teacher):
        module = DistilledStudent(copy.deepcopy(student), run.config.objective, cached.head).train()
        clock = Clock()
        trainer = DiscTrainer(
            module,
            training_arguments(folder / "ours", **settings),
            teacher=teacher,
            metrics_path=folder / "ours.jsonl",
            train_dataset=tokens,
            data_collator=run.collator,
        )
        trainer.add_callback(clock)
        trainer.train()
        return clock.seconds[-1]

    def gkd():
        from trl.experimental.gkd import GKDConfig, GKDTrainer

        def collate(rows):
            batch = run.collator(rows)
            labels = batch["input_ids"].where(batch["attention_mask"].bool(), -100)  # GKDTrainer shifts them itself
            return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}

        clock = Clock()
        trainer = GKDTrainer(
            copy.deepcopy(student).train(),
            teacher_model=model,
            args=GKDConfig(
                output_dir=str(folder / "gkd"),
                lmbda=0.0,
                beta=0.0,
                temperature=run.config.objective.temperature,
                gradient_checkpointing=False,
                bf16=False,
                disable_tqdm=True,
                report_to=[],
                **settings,
            ),
            train_dataset=tokens,
            data_collator=collate,
            processing_class=run.tokenizer,
            callbacks=[clock],
        )
        trainer.train()
        return clock.seconds[-1]

    online = OnlineTeacher(model, len(cached.head))
    variants = {"gkd": gkd, "online": lambda: ours(online), "cached": lambda: ours(cached)}
    seconds = paired_seconds(variants, rounds)
    per_step = sum(len(ids) for ids in tokens["input_ids"]) / STEPS
    figures = {
        name: {
            "tokens_per_second": per_step / statistics.median(seconds[name]),
            "speed_over_gkd": 1 / ratio(seconds, name, "gkd"),
        }
        for name in variants
    }
    for name, f in figures.items():
        print(f"{name:7} {f['tokens_per_second']:6.1f} tokens/s   {f['speed_over_gkd']:.2f} x GKDTrainer")
    save("step", {"rounds": rounds, "tokens_per_step": per_step, "variants": figures})


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
