import contextlib
import json
import math
import os
import pickle
import shutil
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainingArguments

from discnb.checkpoint import DamagedFile, newest_checkpoint, sha256
from discnb.curves import Curves
from discnb.data import Collator, tokenize_samples
from discnb.evaluate import evaluate_split
from discnb.interrupts import Stopped, signals_kept
from discnb.models import scratch_student, scratch_teacher, scratch_tokenizer
from discnb.objective import DiscObjective
from discnb.teacher import OnlineTeacher
from discnb.train import DiscTrainer, DistilledStudent, DriftWarning, DriftWatch, spikes, train_language_model

SAMPLES = 12


@pytest.fixture(scope="module")
def corpus():
    samples = Dataset.from_list(
        [
            {"question": f"What is {i} + {i}?", "cot": f"Twice {i}. " * (1 + i % 4), "response": f"{2 * i}"}
            for i in range(SAMPLES)
        ]
    )
    tokenizer = scratch_tokenizer((text for row in samples for text in row.values()), 300)
    tokens, _ = tokenize_samples(samples, tokenizer, 128)
    teacher = scratch_teacher(tokenizer, seed=0)
    train_language_model(
        teacher, tokens, Collator(tokenizer.pad_token_id), steps=20, batch_size=6, learning_rate=3e-3, seed=0
    )
    return tokenizer, tokens, OnlineTeacher(teacher)


def make_trainer(corpus, folder, *, batch=2, accumulation=2, rate=1e-3, save=2, epochs=2, teacher=None, **kwargs):
    tokenizer, tokens, online = corpus
    teacher = teacher or online
    folder.mkdir(exist_ok=True)
    model = DistilledStudent(scratch_student(tokenizer, seed=1), DiscObjective(), teacher.head).train()
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": rate / 10},
        warmup_steps=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=save,
        seed=3,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return DiscTrainer(
        model,
        arguments,
        teacher=teacher,
        metrics_path=folder / "metrics.jsonl",
        train_dataset=tokens,
        data_collator=Collator(tokenizer.pad_token_id),
        **kwargs,
    )


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def heard():
    """SIGINT and SIGTERM as a terminal's process has them; one in the background may have been told to ignore them."""
    before = {n: signal.signal(n, signal.default_int_handler) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    """Six optimizer steps without an interruption."""
    folder = tmp_path_factory.mktemp("straight")
    trainer = make_trainer(corpus, folder)
    trainer.train()
    return folder, trainer


def test_training_lowers_the_divergence(corpus, straight):
    tokenizer, tokens, teacher = corpus
    trained = straight[1].model
    before, after = (
        evaluate_split(OnlineTeacher(student), teacher, tokens, Collator(0), DiscObjective())[0]
        for student in (scratch_student(tokenizer, seed=1), trained.student)
    )
    assert after.kl < before.kl
    assert before.pivot_kl + before.smooth_kl == pytest.approx(before.kl)
    assert after.perplexity == pytest.approx(math.exp(after.ce))


def test_every_step_leaves_its_terms(straight):
    found = rows(straight[0])
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    names = {"loss", "ce", "kd", "energy", "kl", "pivot_fraction", "singular_fraction", "proof_weight", "learning_rate"}
    assert names | {"grad_norm", "step"} == set(found[0])
    for row in found:
        assert row["loss"] == pytest.approx(0.55 * row["ce"] + 0.45 * row["kd"] + 0.02 * row["energy"], rel=1e-5)


def test_the_proof_weight_is_linear_and_the_rate_ends_at_its_minimum(straight):
    found = rows(straight[0])
    assert [row["proof_weight"] for row in found] == pytest.approx([2.5, 2.3, 2.1, 1.9, 1.7, 1.5])
    rates = [row["learning_rate"] for row in found]
    assert rates[0] == 0 and rates[2] == pytest.approx(1e-3) and rates[2] > rates[3] > rates[4] > rates[5] > 1e-4
    assert straight[1].lr_scheduler.get_last_lr()[0] == pytest.approx(1e-4)


@pytest.mark.parametrize("interrupted_after", [2, 4])
def test_a_resumed_run_ends_in_the_same_bytes(corpus, straight, tmp_path, interrupted_after):
    class Killed(BaseException):
        pass

    def kill(row, steps):
        if row["step"] > interrupted_after:
            raise Killed

    with pytest.raises(Killed):
        make_trainer(corpus, tmp_path, progress=kill).train()
    assert newest_checkpoint(tmp_path / "checkpoints").name == f"checkpoint-{interrupted_after}"
    resumed = make_trainer(corpus, tmp_path)
    resumed.train()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (straight[0] / "metrics.jsonl").read_bytes()
    want = straight[1].model.student.state_dict()
    for name, tensor in resumed.model.student.state_dict().items():
        assert torch.equal(tensor, want[name]), name


def test_a_damaged_newest_checkpoint_is_passed_over_and_the_result_is_the_same(corpus, straight, tmp_path, caplog):
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    newest = newest_checkpoint(tmp_path / "checkpoints")
    weights = newest / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0xFF
    weights.write_bytes(data)
    make_trainer(corpus, tmp_path).train()
    assert f"{newest.name}/model.safetensors was altered" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes() == (straight[0] / "metrics.jsonl").read_bytes()


def test_checkpoints_hold_no_pickled_arguments_and_only_the_newest_are_kept(straight):
    folders = sorted((straight[0] / "checkpoints").iterdir())
    assert [f.name for f in folders] == ["checkpoint-4", "checkpoint-6"]
    assert not (folders[0] / "training_args.bin").exists()


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 8), (8, 1), (2, 4), (4, 2), (5, 2)])
def test_every_batching_of_a_step_has_the_same_loss_and_gradient(corpus, tmp_path, batch, accumulation):
    """Twelve samples: with 8 to a step the second is short, with 5 × 2 its micro-batches are uneven."""
    make_trainer(corpus, tmp_path, batch=batch, accumulation=accumulation, epochs=1, save=99).train()
    first, last = rows(tmp_path)[0], rows(tmp_path)[-1]
    make_trainer(corpus, tmp_path / "reference", batch=batch * accumulation, accumulation=1, epochs=1, save=99).train()
    want_first, want_last = rows(tmp_path / "reference")[0], rows(tmp_path / "reference")[-1]
    for name in ("loss", "ce", "kd", "energy", "grad_norm"):
        assert first[name] == pytest.approx(want_first[name], rel=1e-5)
        assert last[name] == pytest.approx(want_last[name], rel=1e-4)


def test_a_non_finite_loss_stops_before_the_step_and_names_the_samples(corpus, tmp_path):
    *_, teacher = corpus

    class Broken:
        head, prefetch = teacher.head, teacher.prefetch

        def hidden(self, index, input_ids, attention_mask):
            return torch.full_like(teacher.hidden(index, input_ids, attention_mask), torch.nan)

    trainer = make_trainer(corpus, tmp_path, teacher=Broken())
    start = {name: p.clone() for name, p in trainer.model.student.named_parameters()}
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan at step 1, samples \[\d+, \d+\]; nothing was updated"
    ):
        trainer.train()
    assert all(torch.equal(p, start[name]) for name, p in trainer.model.student.named_parameters())


def test_a_non_finite_gradient_stops_before_the_step(corpus, tmp_path):
    trainer = make_trainer(corpus, tmp_path)
    start = {name: p.clone() for name, p in trainer.model.student.named_parameters()}
    trainer.model.student.lm_head.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(
        FloatingPointError, match=r"norm is (nan|inf) at step 1, samples \[\d+, \d+, \d+, \d+\]; nothing was"
    ):
        trainer.train()
    assert all(torch.equal(p, start[name]) for name, p in trainer.model.student.named_parameters())


def test_training_again_after_the_end_changes_nothing(corpus, tmp_path):
    """As after a kill between the last checkpoint and the student's manifest, in the middle of an epoch."""
    ended = make_trainer(corpus, tmp_path, epochs=0.6)
    ended.train()
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    again = make_trainer(corpus, tmp_path, epochs=0.6)
    again.train()
    assert again.state.global_step == ended.state.global_step == 2
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    want = ended.model.student.state_dict()
    assert all(torch.equal(tensor, want[name]) for name, tensor in again.model.student.state_dict().items())


@pytest.mark.parametrize("damage", ["", '{"step": 1, "loss": 0.5}\n', "\xff{"])
def test_metrics_that_were_damaged_are_written_again_from_the_checkpoint(corpus, straight, tmp_path, damage):
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "metrics.jsonl").write_text(damage)
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-6")
    make_trainer(corpus, tmp_path).train()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (straight[0] / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves_it_and_the_resumed_run_ends_in_the_same_bytes(
    corpus, straight, tmp_path, number, capsys, heard
):
    handler = signal.getsignal(number)

    def send(row, steps):
        if row["step"] == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match="stopped after step 4 of 6, which is saved") as stopped:
        make_trainer(corpus, tmp_path, save=99, progress=send).train()
    assert stopped.value.stopped_by == number and signal.getsignal(number) is handler
    assert "stopping after this step" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-4"]
    resumed = make_trainer(corpus, tmp_path)
    resumed.train()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (straight[0] / "metrics.jsonl").read_bytes()
    want = straight[1].model.student.state_dict()
    assert all(torch.equal(tensor, want[name]) for name, tensor in resumed.model.student.state_dict().items())
    hashes = [sha256(folder / "checkpoints" / "checkpoint-6" / "optimizer.pt") for folder in (tmp_path, straight[0])]
    assert hashes[0] == hashes[1]


def test_a_signal_after_the_last_step_is_not_forgotten(corpus, tmp_path, monkeypatch, heard):
    def save(trainer, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        DiscTrainer._save_checkpoint.__wrapped__(trainer, *arguments)

    save.__wrapped__ = DiscTrainer._save_checkpoint
    monkeypatch.setattr(DiscTrainer, "_save_checkpoint", save)
    with pytest.raises(Stopped, match="after step 6 of 6"):
        make_trainer(corpus, tmp_path, save=99).train()
    assert newest_checkpoint(tmp_path / "checkpoints").name == "checkpoint-6"


def test_a_signal_that_is_ignored_stays_so_and_the_second_one_is_the_systems(heard):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with signals_kept(lambda: None) as kept:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert kept == [signal.SIGINT]


def test_errors_come_out_of_a_worker_process():
    for error in (Stopped(15, 4, 6), DamagedFile({Path("a"): "is missing"})):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_checkpoints_of_which_none_is_sound_are_not_thrown_away(corpus, straight, tmp_path):
    shutil.copytree(straight[0], tmp_path, dirs_exist_ok=True)
    for weights in (tmp_path / "checkpoints").glob("*/model.safetensors"):
        weights.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"no checkpoint in .* is sound; move the folder away to train from the start"):
        make_trainer(corpus, tmp_path).train()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_spike_is_a_norm_far_above_the_median_before():
    norms = [1.0, 2.0, 1.0, 1.5, 9.0, 1.0, 8.0]
    rows = [{"step": step, "grad_norm": norm} for step, norm in enumerate(norms, start=1)]
    assert spikes(rows, window=4, times=5) == [5, 7]
    assert spikes(rows, window=20) == [] and spikes([]) == []


def test_curves_hold_every_term_of_every_step_once_though_the_run_was_interrupted(corpus, tmp_path):
    class Killed(BaseException):
        pass

    def kill(row, steps):
        if row["step"] > 3:
            raise Killed

    for progress in (kill, lambda row, steps: None):
        trainer = make_trainer(corpus, tmp_path, progress=progress)
        trainer.add_callback(Curves(tmp_path / "curves"))
        with contextlib.suppress(Killed):
            trainer.train()
    found = EventAccumulator(str(tmp_path / "curves")).Reload()
    want = rows(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("train/kl")] == [
        (row["step"], pytest.approx(row["kl"], rel=1e-6)) for row in want
    ]
    assert {f"train/{name}" for name in want[0] if name != "step"} <= set(found.Tags()["scalars"])


def test_progress_hears_of_every_step_with_its_speed(corpus, tmp_path):
    heard = []
    make_trainer(corpus, tmp_path, epochs=1, progress=lambda row, steps: heard.append((row, steps))).train()
    assert [(row["step"], steps) for row, steps in heard] == [(1, 3), (2, 3), (3, 3)]
    assert all(row["tokens_per_second"] > 0 for row, _ in heard)


def drift(losses, energies, window=4):
    watch, history = DriftWatch(window), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, (loss, energy) in enumerate(zip(losses, energies, strict=True)):
            history.append({"loss": loss, "energy": energy})
            watch.on_log(None, SimpleNamespace(log_history=history, global_step=step), None)
    return [str(w.message) for w in caught if w.category is DriftWarning]


def noisy(first, last, n=24):
    return [first + (last - first) * i / n + 0.01 * (-1) ** i for i in range(n)]


def test_falling_loss_with_rising_energy_warns_once_with_figures():
    said = drift(noisy(3, 2), noisy(0.1, 0.9))
    assert len(said) == 1
    assert "loss fell from" in said[0] and "gap energy rose from" in said[0]


@pytest.mark.parametrize("course", [((3, 2), (0.9, 0.1)), ((2, 3), (0.1, 0.9)), ((3, 2), (0.5, 0.5))])
def test_other_courses_do_not_warn(course):
    (a, b), (c, d) = course
    assert drift(noisy(a, b), noisy(c, d)) == []


def test_a_scratch_teacher_learns_the_corpus(corpus):
    tokenizer, tokens, _ = corpus
    model, losses = scratch_teacher(tokenizer, seed=0), []
    train_language_model(
        model,
        tokens,
        Collator(tokenizer.pad_token_id),
        steps=8,
        batch_size=6,
        learning_rate=3e-3,
        seed=0,
        progress=lambda step, loss: losses.append(loss),
    )
    assert len(losses) == 8 and losses[-1] < 0.6 * losses[0]
    assert not model.training
