import dataclasses
import json

import pytest
from typer.testing import CliRunner

from discnb import presets
from discnb.cache import SHARD_SAMPLES
from discnb.cli import app
from discnb.config import override
from discnb.data import load_stem
from discnb.devices import GPUS
from discnb.models import SMOLLM2, load_model, prune_depth, scratch_student, scratch_teacher
from discnb.plan import plan, sample_counts, shapes
from discnb.presets import PRESETS, mini, preset, stem_proof_1_7b, tiny
from discnb.scale import scale

runner = CliRunner()


@pytest.fixture(scope="module")
def card():
    return plan(stem_proof_1_7b())


def test_the_card_s_run(card):
    assert (card.teacher.parameters, card.student.parameters) == (30_532_122_624, 1_720_574_976)
    assert round(card.stage("cache").moments["a forward"]["weights"] / 1e9, 1) == 61.1
    assert card.cache_bytes_per_token == 4096
    assert (card.samples, card.steps) == ({"train": 5815, "eval": 307}, 727)
    assert card.tokens == {"train": 5815 * 1024, "eval": 307 * 1024}
    head = 2 * 151_936 * 2048
    assert card.stage("cache").disk["states and head"] == 4096 * 6122 * 1024 + head
    assert card.stage("train").disk["one checkpoint"] == 12 * 1_720_574_976
    step = card.stage("train").moments["step"]
    assert (step["weights"], step["moments"], step["gradients"]) == tuple(n * 1_720_574_976 for n in (4, 8, 4))


def test_stage_two_fits_48_gb_and_stage_one_80(card):
    cache, train = card.stage("cache"), card.stage("train")
    assert train.peak < 48e9 and "L40S" in train.held_by
    assert cache.peak < 80e9 and "L40S" not in cache.held_by
    assert cache.fits and train.fits
    held = plan(stem_proof_1_7b(), gpu="L40S")
    assert held.stage("train").fits
    assert held.stage("cache").advice == "one H100-80"


def test_the_card_s_own_batch_fits_48_gb_too():
    own = override(stem_proof_1_7b(), {"train.batch_size": 1, "train.accumulation": 8})
    assert plan(own, gpu="L40S").stage("train").fits
    assert plan(own).steps == 727


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_planned_and_written_as_json(name):
    planned = plan(preset(name), gpu="H100-80")
    written = json.loads(json.dumps({**planned.to_dict(), "scale": scale(planned).to_dict()}))
    assert written["preset"] == name
    assert [stage["name"] for stage in written["stages"]] == ["cache", "train", "export"]
    assert all(stage.minutes > 0 and stage.peak > 0 for stage in planned.stages[:2])


def test_a_small_run_s_models_are_those_that_would_be_made():
    class Tokenizer:
        eos_token_id, pad_token_id = 1, 0

        def __len__(self):
            return 1024

    teacher, student = shapes(tiny())
    assert teacher.parameters == scratch_teacher(Tokenizer(), 0).num_parameters()
    assert student.parameters == scratch_student(Tokenizer(), 0).num_parameters()
    teacher, student = shapes(mini())
    real = load_model(SMOLLM2)[0]
    assert teacher.parameters == real.num_parameters()
    assert student.parameters == prune_depth(real, 20).num_parameters()
    with pytest.raises(ValueError, match=r"student\.layers is 31; expected 2 to 30"):
        shapes(override(mini(), {"student.layers": 31}))


def test_samples_are_split_as_the_run_splits_them():
    loaded = load_stem("mini", size=90)
    config = override(mini(), {"data.size": 90, "data.train_samples": None})
    assert sample_counts(config) == {name: len(loaded[name]) for name in ("train", "eval")}
    assert sample_counts(presets.book()) == {"train": 128, "eval": 16}
    assert sample_counts(mini(), 1000) == {"train": 950, "eval": 50}


@pytest.mark.parametrize(
    ("gpu", "changes", "stage", "advice"),
    [
        ("L40S", {"train.activation_checkpointing": False}, "train", "train.activation_checkpointing=true"),
        ("H100-80", {"data.max_length": 65_536, "teacher.batch_size": 8}, "cache", "teacher.batch_size="),
        ("H100-80", {"data.max_length": 32_768}, "train", "train.batch_size="),
        ("L4", {}, "train", "train.parallel=fsdp over"),
        ("H100-80", {"teacher.dtype": "float32"}, "cache", "teacher.dtype=bfloat16"),
    ],
)
def test_what_does_not_fit_names_the_nearest_change_and_that_change_fits(gpu, changes, stage, advice):
    config = override(stem_proof_1_7b(), changes)
    planned = plan(config, gpu=gpu).stage(stage)
    assert not planned.fits
    assert planned.advice.startswith(advice), planned.advice
    settings, _, ranks = planned.advice.partition(" over ")
    changed = override(config, dict(part.split("=") for part in settings.split()))
    assert plan(changed, gpu=gpu, gpus=int(ranks.split()[0]) if ranks else 1).stage(stage).fits


def test_checkpointing_trades_memory_for_a_third_more_work(card):
    kept = plan(override(stem_proof_1_7b(), {"train.activation_checkpointing": False}))
    a, b = kept.stage("train"), card.stage("train")
    assert b.checkpointing == a.checkpointing
    assert b.peak == b.checkpointing["peak"]["with"] < a.peak == b.checkpointing["peak"]["without"]
    assert b.flops["matrices"] == pytest.approx(a.flops["matrices"] * 4 / 3)
    assert b.flops["signals in float32"] == a.flops["signals in float32"]


def test_minutes_follow_samples_speed_and_the_devices_that_are_busy(card):
    many = plan(stem_proof_1_7b(), gpus=16)
    assert many.stage("cache").minutes == pytest.approx(card.stage("cache").minutes / 16)
    assert many.stage("train").devices == 8
    assert many.stage("train").minutes == pytest.approx(card.stage("train").minutes / 8)
    assert plan(stem_proof_1_7b(), mfu=0.2).stage("train").minutes == pytest.approx(2 * card.stage("train").minutes)
    half = plan(stem_proof_1_7b(), tokens_per_sample=512).stage("cache")
    assert half.flops["matrices"] == pytest.approx(card.stage("cache").flops["matrices"] / 2)


def test_what_is_assumed_and_what_is_not_pinned_is_said(card):
    said = "\n".join(card.assumptions)
    assert "nothing of this was measured on a GPU" in said and "40% of the peak" in said
    assert "every text has 1,024 tokens" in said and "data.revision is not pinned" in said
    loose = override(stem_proof_1_7b(), {"teacher.revision": None})
    assert "teacher.revision is not pinned" in "\n".join(plan(loose, gpus=1024).assumptions)
    assert "8 of 1,024 GPUs busy" in "\n".join(plan(loose, gpus=1024).assumptions)
    assert "every text has" not in "\n".join(plan(loose, tokens_per_sample=600).assumptions)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gpu": "H100"}, "no GPU 'H100'; did you mean 'H100-80'"),
        ({"gpu": "l40s-48"}, "did you mean 'L40S'"),
        ({"gpus": 0}, "gpus is 0"),
        ({"samples": 1}, "samples 1"),
        ({"mfu": 1.5}, "mfu 1.5"),
        ({"tokens_per_sample": 2000}, "expected up to 1024"),
    ],
)
def test_what_cannot_be_planned_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        plan(stem_proof_1_7b(), **wrong)


def test_an_unknown_architecture_lists_the_known():
    with pytest.raises(ValueError, match=r"'Qwen/Qwen9'.*Qwen/Qwen3-1\.7B"):
        plan(override(stem_proof_1_7b(), {"student.model": "Qwen/Qwen9"}))


def test_the_table_of_gpus_is_in_bytes_and_flops():
    assert GPUS["H100-80"].memory == 80e9 and GPUS["H100-80"].bf16 == 989e12
    assert all(g.float32 < g.bf16 and g.memory >= 24e9 for g in GPUS.values())


def test_at_a_billion_samples():
    planned = plan(stem_proof_1_7b(), samples=10**9, gpus=1024)
    big = scale(planned)
    assert big.cache_bytes == 4096 * 1024 * 10**9
    assert (big.shards, big.shard_bytes) == (15_625_000, SHARD_SAMPLES * 1024 * 4096)
    assert 10**9 / big.wise_shard_samples <= 1_000_000 < 2 * 10**9 / big.wise_shard_samples
    assert big.train_hours_on_all == pytest.approx(big.train_hours * 8 / 1024)
    assert big.read_bytes_per_step == pytest.approx(8 * 1024 * 4096, rel=1e-3)
    reached = [limit.samples for limit in big.limits]
    assert reached == sorted(reached) and reached[-1] < 10**9
    small = scale(plan(stem_proof_1_7b()))
    assert small.wise_shard_samples == SHARD_SAMPLES
    assert all(limit.samples > 6122 for limit in small.limits)


def test_the_command_shows_the_card_s_run():
    shown = runner.invoke(app, ["plan", "--preset", "stem_proof_1_7b"], env={"COLUMNS": "120"}).output
    for figure in ("30,532,122,624", "1,720,574,976", "61.06", "4,096 bytes a token", "L40S", "nothing of this was"):
        assert figure in shown
    assert "breaks" not in shown


def test_the_command_with_samples_says_where_it_breaks():
    arguments = ["plan", "--samples", "1e9", "--gpus", "1024"]
    shown = runner.invoke(app, arguments, env={"COLUMNS": "120"}).output
    assert "At 1,000,000,000 samples" in shown and "15,625,000 shards" in shown and "Where it breaks" in shown


def test_the_command_prints_json_of_changed_settings():
    arguments = ["plan", "--preset", "mini", "--gpu", "L4", "--set", "student.layers=10", "--json"]
    written = json.loads(runner.invoke(app, arguments).output)
    assert written["gpu"] == "L4"
    assert written["student"]["parameters"] < dataclasses.asdict(plan(mini(), gpu="L4"))["student"]["parameters"]


def test_the_help_lists_every_preset_and_gpu():
    shown = "".join(runner.invoke(app, ["plan", "--help"], env={"COLUMNS": "300"}).output.split())
    assert all(name in shown for name in GPUS)
    shown = "".join(runner.invoke(app, ["run", "--help"], env={"COLUMNS": "300"}).output.split())
    assert all(name in shown for name in PRESETS)


def test_a_stream_is_planned_by_the_number_it_is_given():
    streamed = override(preset("stem_proof_1_7b"), {"data.source": "stream:owner/corpus"})
    with pytest.raises(ValueError, match="how many samples stream:owner/corpus has is not known"):
        plan(streamed)
    assert sum(plan(streamed, samples=1000).samples.values()) == 1000
    some = override(streamed, {"data.train_samples": 30, "data.eval_samples": 2})
    assert plan(some).samples == {"train": 30, "eval": 2}
