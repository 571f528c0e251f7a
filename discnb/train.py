"""Training: the student with its objective as one module, and a Trainer that feeds it a teacher.

transformers' Trainer does the optimisation; what is here is the method's: terms, schedules, metrics, a watch for
drift, and checkpoints that are complete or not there.
"""

import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerState

from . import ranks
from .checkpoint import MANIFEST, keep_newest, newest_checkpoint, step_of, write_manifest, write_text, writing
from .data import Collator
from .data.batches import StepBatches, StepLoader
from .interrupts import Stopped, signals_kept
from .models import head_weight
from .objective import DiscLoss, DiscObjective
from .parallel import like, shard, share_optimizer_state, whole
from .teacher import Teacher


class DriftWarning(UserWarning):
    """The loss falls while the gap energy rises: the student fits the text and leaves the teacher."""


def training_arguments(folder: Path, **settings: Any) -> TrainingArguments:
    """Arguments of a Trainer that writes to `folder`, logs every step, hides no NaN and shows nothing itself."""
    return TrainingArguments(
        output_dir=str(folder),
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # the teacher's head is a buffer, and constant
        **settings,
    )


class DistilledStudent(nn.Module):
    """The student and its objective as one module, so that any wrapper (DDP, FSDP) sees a single forward."""

    def __init__(self, student: PreTrainedModel, objective: DiscObjective, teacher_head: Float[Tensor, "V G"]) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        self.teacher_head: Tensor
        self.register_buffer("teacher_head", teacher_head, persistent=False)

    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Int[Tensor, "B T"],
        labels: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        proof_mask: Bool[Tensor, "B T"],
        teacher_hidden: Float[Tensor, "B T G"],
        proof_weight: float = 1.0,
    ) -> DiscLoss:
        """The batch's loss and its terms."""
        output = self.student.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        head = head_weight(self.student, len(self.teacher_head))  # the rows it shares with the teacher
        return self.objective(
            output.last_hidden_state,
            head,
            teacher_hidden,
            self.teacher_head,
            labels,
            mask,
            proof_mask,
            proof_weight,
        )


class DiscTrainer(Trainer):
    """A Trainer for `DistilledStudent`: every optimizer step leaves a row of terms in `metrics.jsonl`.

    `proof_weight` is (first, last), linear over the optimizer steps. `progress` is told each row and the number of
    steps, with `tokens_per_second` added; the file holds no times, so that a resumed run writes the same bytes. A
    non-finite loss stops the run before the step, naming the samples.

    An optimizer step has `per_device_train_batch_size` × `gradient_accumulation_steps` sequences in all: several ranks
    share them, whole students (DDP) or, with `sharded`, one student between them (FSDP2). The result is the same but
    for the order of sums, and so is a checkpoint, from which any number of ranks goes on.
    """

    model: DistilledStudent

    def __init__(
        self,
        model: DistilledStudent,
        args: TrainingArguments,
        *,
        teacher: Teacher,
        metrics_path: Path,
        proof_weight: tuple[float, float] = (2.5, 1.5),
        keep_checkpoints: int = 2,
        drift_window: int = 20,
        sharded: bool = False,
        progress: Callable[[dict[str, float], int], None] = lambda row, steps: None,
        train_dataset: Dataset,
        **kwargs: Any,
    ) -> None:
        self.batches = StepBatches(
            len(train_dataset),
            args.per_device_train_batch_size * args.gradient_accumulation_steps,
            args.per_device_train_batch_size,
            args.seed,
            rank=ranks.rank(),
            world=ranks.world(),
        )
        args.gradient_accumulation_steps = self.batches.batches_in(self.batches.per_step)
        super().__init__(model, args, callbacks=[DriftWatch(drift_window)], train_dataset=train_dataset, **kwargs)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        assert args.output_dir is not None
        self.checkpoints = Path(args.output_dir)
        self.teacher = teacher
        self.metrics_path = metrics_path
        self.proof_weight = proof_weight
        self.keep_checkpoints = keep_checkpoints
        self.progress = progress
        self.sharded = sharded and ranks.world() > 1
        if self.sharded:
            shard(model, list(model.student.base_model.get_submodule("layers").children()))
            # what is sharded already, the Trainer leaves alone (on a CPU its own FSDP would silently be DDP)
            self.is_distributed_loading_by_transformers = True
        # compute_loss divides by the sequences of the whole optimizer step: the mean over them is exact even where
        # the last micro-batch is short
        self.loss_is_scaled_for_ga = True
        self.stopped_by: int | None = None
        self._signals: list[int] = []
        self._samples: list[int] = []
        self._terms: list[tuple[int, DiscLoss]] = []
        self._tokens, self._padded, self._clock = 0, 0, time.monotonic()

    def train(self) -> Any:  # type: ignore[override]
        """Train from the newest complete checkpoint in `output_dir`, or from the start where there is none."""
        resume, ended = ranks.share(self._resume_from() if ranks.rank() == 0 else (None, False))
        if resume and ended:
            # the Trainer would look for the end only after one step too many
            self._load_from_checkpoint(str(resume))
            self.state.global_step = step_of(resume)
            return None
        self._tokens, self._padded, self._clock = 0, 0, time.monotonic()
        with signals_kept(_say_that_it_stops) as self._signals:
            result = super().train(resume_from_checkpoint=str(resume) if resume else None)
        self._hear(ranks.gather(list(self._signals)))  # one may have come after the last step's
        if self.stopped_by:
            raise Stopped(self.stopped_by, self.state.global_step, self.state.max_steps)
        return result

    def _resume_from(self) -> tuple[Path | None, bool]:
        """The checkpoint to go on from, and whether it is the last; what came after it is removed."""
        resume = newest_checkpoint(self.checkpoints)
        if resume is None and any((path / MANIFEST).exists() for path in self.checkpoints.glob("checkpoint-*")):
            raise ValueError(
                f"no checkpoint in {self.checkpoints} is sound; move the folder away to train from the start"
            )
        done = step_of(resume) if resume else 0
        for rejected in self.checkpoints.glob("checkpoint-*"):
            if step_of(rejected) > done:
                shutil.rmtree(rejected)
        state = TrainerState.load_from_json(str(resume / TRAINER_STATE_NAME)) if resume else TrainerState()
        # the checkpoint's own rows: those of steps after it are written again when the steps are taken again, and
        # whatever befell the file meanwhile is mended
        rows = [row for row in state.log_history if "kl" in row]
        write_text(self.metrics_path, "".join(_line(row["step"], row) for row in rows))
        return resume, resume is not None and done >= state.max_steps

    def speed(self, flops_per_token: float) -> dict[str, float | None]:
        """Since this process began to train: `ranks.speed` and the share of padding. All ranks must call it."""
        tokens, padded = (sum(counts) for counts in zip(*ranks.gather((self._tokens, self._padded)), strict=True))
        found = ranks.speed(tokens, time.monotonic() - self._clock, flops_per_token, bf16=self.args.bf16)
        return {**found, "padding": 1 - tokens / padded if padded else 0.0}

    def get_train_dataloader(self) -> StepLoader:
        assert isinstance(self.train_dataset, Dataset)
        return StepLoader(
            self.train_dataset, self.batches, self.data_collator, pin_memory=self.args.dataloader_pin_memory
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if new and self.sharded:
            share_optimizer_state(optimizer)
        return optimizer

    def proof_weight_at(self, step: int) -> float:
        """The proof weight of optimizer step 0 .. max_steps − 1."""
        first, last = self.proof_weight
        return first + (last - first) * step / max(1, self.state.max_steps - 1)

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager:  # type: ignore[override]
        """Nothing is deferred: waiting for the last micro-batch would hold every rank's gradients whole."""
        return nullcontext()

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The micro-batch's share of the optimizer step's mean over sequences."""
        inputs = dict(inputs)
        index = inputs.pop("index")
        sequences = int((index >= 0).sum())  # none for NOTHING
        inputs["teacher_hidden"] = (
            self.teacher.hidden(index, inputs["input_ids"], inputs["attention_mask"])
            if sequences
            else self.teacher.head.new_zeros(1, 1, self.teacher.head.shape[1])
        ).to(index.device)
        outputs: DiscLoss = model(**inputs, proof_weight=self.proof_weight_at(self.state.global_step))
        if not torch.isfinite(outputs.loss):
            raise FloatingPointError(
                f"the loss is {outputs.loss.item()} at step {self.state.global_step + 1}, samples {index.tolist()}; "
                "nothing was updated. Lower train.learning_rate, or look at these samples"
            )
        if model.training:
            self._terms.append((sequences, DiscLoss(*(term.detach() for term in outputs))))
            self._tokens += int(inputs["attention_mask"].sum()) if sequences else 0
            self._padded += inputs["attention_mask"].numel() if sequences else 0
        # DDP and FSDP average the ranks' gradients; the step's mean is over the sequences of all of them
        share = sequences * ranks.world() / num_items_in_batch if num_items_in_batch is not None else 1.0
        loss = outputs.loss * share
        return (loss, outputs) if return_outputs else loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = whole(super()._get_grad_norm(model, grad_norm=grad_norm))
        if norm is not None and not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient's norm is {float(norm)} at step {self.state.global_step + 1}, samples {self._samples}; "
                "nothing was updated. Lower train.learning_rate, or look at these samples"
            )
        return norm

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> Any:
        """The micro-batches of an optimizer step, of which the teacher hears at once."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._samples = [sample for batch in batches for sample in batch["index"].tolist() if sample >= 0]
        self.teacher.prefetch(self._samples)
        return batches, items

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> int:
        """Sequences of all ranks, not tokens: the objective is a mean over them."""
        return sum(ranks.gather(sum(int((batch["index"] >= 0).sum()) for batch in batch_samples)))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's terms of the step just taken, and write the row."""
        if self._terms and "loss" in logs:
            mine = [(sequences, [term.item() for term in terms]) for sequences, terms in self._terms]
            self._terms.clear()
            shares, tokens, signals = zip(*ranks.gather((mine, self._tokens, list(self._signals))), strict=True)
            self._hear(signals)
            every = [share for of_rank in shares for share in of_rank]
            total = sum(sequences for sequences, _ in every)
            means = {
                name: math.fsum(sequences * terms[i] for sequences, terms in every) / total
                for i, name in enumerate(DiscLoss._fields)
            }
            step = self.state.global_step
            logs = {
                **means,
                "proof_weight": self.proof_weight_at(step - 1),
                **{k: v for k, v in logs.items() if k not in means},
            }
            speed = sum(tokens) / max(time.monotonic() - self._clock, 1e-9)
            if self.is_world_process_zero():
                with writing(self.metrics_path), self.metrics_path.open("a", encoding="utf-8") as file:
                    file.write(_line(step, logs))
                    file.flush()
                    os.fsync(file.fileno())  # a checkpoint must never outlive its rows
                self.progress({"step": step, **logs, "tokens_per_second": speed}, self.state.max_steps)
        super().log(logs, start_time)
        if self.stopped_by:
            self.control.should_save = self.control.should_training_stop = True

    def _hear(self, signals: Sequence[list[int]]) -> None:
        """Take note of the first signal that any rank was sent."""
        self.stopped_by = self.stopped_by or next((number for of_rank in signals for number in of_rank), None)

    def save_student(self, folder: Path) -> None:
        """Write the student as transformers does, whole, from rank 0. All ranks must call it."""
        state = whole(self.model.student.state_dict()) if self.sharded else None
        if self.args.should_save:
            self.model.student.save_pretrained(folder, state_dict=state)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        self.save_student(Path(output_dir or self.checkpoints))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.sharded and self.optimizer and not self.args.should_save:
            self.optimizer.state_dict()  # to send this rank's part to rank 0, which writes all
        super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        student = self.model.student
        state = student.state_dict()
        weights: dict[str, Tensor] = {}
        for file in sorted(Path(resume_from_checkpoint).glob("*.safetensors")):
            weights |= {name: like(tensor, state.get(name, tensor)) for name, tensor in load_file(file).items()}
        missing, unexpected = student.load_state_dict(weights, strict=False)
        tied = set(student.all_tied_weights_keys or ())
        if unexpected or set(missing) - tied:
            raise ValueError(f"{resume_from_checkpoint} is not of this student: {missing=} {unexpected=}")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write the checkpoint, declare it complete last, and only then let older ones go."""
        folder = self.checkpoints / f"checkpoint-{self.state.global_step}"
        with writing(folder):
            super()._save_checkpoint(model, trial)
        ranks.wait()
        if self.args.should_save:
            write_manifest(folder, step=self.state.global_step)
            keep_newest(folder.parent, self.keep_checkpoints)
        ranks.wait()  # a rank that was told to stop must not end before this is whole


def _say_that_it_stops() -> None:
    print("stopping after this step, which is saved; once more stops at once", file=sys.stderr, flush=True)


def _line(step: float, row: dict[str, Any]) -> str:
    """A step's row in `metrics.jsonl`, of what was logged or of what a checkpoint, which sorts it, remembers."""
    terms = {name: row[name] for name in sorted(row.keys() - {"step", "epoch"})}
    return json.dumps({"step": step, **terms}) + "\n"


def spikes(rows: Sequence[dict[str, float]], window: int = 20, times: float = 5.0) -> list[int]:
    """Steps whose gradient norm is over `times` the median of the `window` steps before, once there are as many."""
    return [
        rows[i]["step"]  # type: ignore[misc]
        for i in range(window, len(rows))
        if rows[i]["grad_norm"] > times * statistics.median(row["grad_norm"] for row in rows[i - window : i])
    ]


class Drift(NamedTuple):
    """What the watch saw: means over two windows of steps, before and after."""

    loss: tuple[float, float]
    energy: tuple[float, float]


def drift(rows: Sequence[dict[str, float]], window: int) -> Drift | None:
    """Whether over the last two windows of steps the loss fell while the gap energy rose, each by two standard errors.

    That is the failure mode the method's card describes: the student fits the text and leaves the teacher.
    """
    if len(rows) < 2 * window:
        return None
    before, after = rows[-2 * window : -window], rows[-window:]
    loss_was, loss_is, loss_z = _change(before, after, "loss")
    energy_was, energy_is, energy_z = _change(before, after, "energy")
    return Drift((loss_was, loss_is), (energy_was, energy_is)) if loss_z < -2 and energy_z > 2 else None


def first_drift(rows: Sequence[dict[str, float]], window: int) -> dict[str, Any] | None:
    """The first drift of a whole training: its `step`, `loss` and `energy`."""
    for step in range(1, len(rows) + 1):
        if seen := drift(rows[max(0, step - 2 * window) : step], window):  # it looks no further back
            return {"step": step, **seen._asdict()}
    return None


class DriftWatch(TrainerCallback):
    """Warns once, when a training of these `window` steps first drifts."""

    def __init__(self, window: int = 20) -> None:
        self.window = window
        self.warned = False

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        rows = [row for row in state.log_history if "energy" in row][-2 * self.window :]
        if self.warned or ranks.rank() != 0 or not (seen := drift(rows, self.window)):
            return
        self.warned = True
        (loss_was, loss_is), (energy_was, energy_is) = seen.loss, seen.energy
        warnings.warn(
            f"step {state.global_step}: over the last {self.window} steps the loss fell from {loss_was:.3f} to "
            f"{loss_is:.3f} while the gap energy rose from {energy_was:.3f} to {energy_is:.3f} nats²: the student "
            "fits the text and drifts from the teacher. Consider a larger objective.kd_weight or energy_weight",
            DriftWarning,
            stacklevel=2,
        )


def _change(before: Sequence[dict], after: Sequence[dict], name: str) -> tuple[float, float, float]:
    """Mean before, mean after, and their difference in standard errors."""
    a, b = ([row[name] for row in rows] for rows in (before, after))
    error = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(a))
    difference = statistics.fmean(b) - statistics.fmean(a)
    return (
        statistics.fmean(a),
        statistics.fmean(b),
        difference / error if error else math.copysign(math.inf, difference),
    )


def train_language_model(
    model: PreTrainedModel,
    tokens: Dataset,
    collator: Collator,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train `model` in place on plain next-token prediction; `progress` is told each step and its loss in nats."""

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any) -> Tensor:
        return nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten(), ignore_index=-100)

    class Report(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                progress(state.global_step, logs["loss"])

    class Collate:
        def __call__(self, rows: list[dict]) -> dict[str, Tensor]:
            batch = collator(rows)
            return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}

    with tempfile.TemporaryDirectory() as nowhere:
        arguments = training_arguments(
            Path(nowhere),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 20),
            seed=seed,
            save_strategy="no",
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=tokens,
            data_collator=Collate(),
            compute_loss_func=loss,
            callbacks=[Report()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval()
