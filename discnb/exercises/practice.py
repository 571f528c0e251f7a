"""Exercises of the chapters on training, runs, evaluation, GGUF and llama.cpp."""

import inspect
import math
import warnings
from types import SimpleNamespace
from typing import Any

import gguf
import torch

from ..cache import cache_bytes
from ..config import TrainConfig
from ..data.domains import CARD_COUNTS
from ..llama import LlamaModel
from ..objective import DiscObjective
from ..prompt import prompt_for
from ..train import DiscTrainer, DriftWarning, DriftWatch
from . import exercise

HELD_OUT = 307  # of the ten published sets, `train_test_split(test_size=0.05, seed=42)`


@exercise("training-proof-weight", "What is the proof weight of the third of five optimizer steps, from 2.5 to 1.5?")
def proof_weight(answer: Any) -> str | None:
    trainer = SimpleNamespace(proof_weight=(2.5, 1.5), state=SimpleNamespace(max_steps=5))
    if math.isclose(float(answer), DiscTrainer.proof_weight_at(trainer, 2), abs_tol=1e-9):  # type: ignore[arg-type]
        return None
    return "five steps have four intervals, and the third step lies after two of them"


@exercise("training-drift", "Losses and energies of four steps that make `DriftWatch(window=2)` warn.")
def drift(answer: Any) -> str | None:
    loss, energy = ([float(value) for value in values] for values in answer)
    if len(loss) != 4 or len(energy) != 4:
        return "give two lists of four numbers, the losses and the energies"
    history = [{"loss": a, "energy": b} for a, b in zip(loss, energy, strict=True)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state: Any = SimpleNamespace(log_history=history, global_step=4)
        DriftWatch(window=2).on_log(None, state, None)  # type: ignore[arg-type]
    if any(issubclass(warning.category, DriftWarning) for warning in caught):
        return None
    if not sum(loss[2:]) < sum(loss[:2]):
        return "drift is a falling loss: the last two must be lower than the first two"
    if not sum(energy[2:]) > sum(energy[:2]):
        return "drift is a rising energy: the last two must be higher than the first two"
    return "right directions, but a change must exceed two standard errors: less scatter inside each pair"


@exercise("full-run-cache", "How many GB (1e9 bytes) does the full run's teacher cache take at most, head included?")
def full_cache(answer: Any) -> str | None:
    head = torch.empty(151_936, 2_048, dtype=torch.bfloat16, device="meta")
    tokens = sum(CARD_COUNTS.values()) * 1024
    if math.isclose(float(answer), cache_bytes(tokens, head) / 1e9, abs_tol=0.06):
        return None
    if math.isclose(float(answer), (cache_bytes(tokens, head) - head.nbytes) / 1e9, abs_tol=0.06):
        return "those are the states; the head is kept too"
    return (
        "every sample at the full 1,024 tokens, 2,048 bfloat16 values a token, and the head; `cache_bytes` adds it up"
    )


@exercise("full-run-steps", "How many optimizer steps are one epoch of the card's training split?")
def full_steps(answer: Any) -> str | None:
    settings = TrainConfig()
    samples = sum(CARD_COUNTS.values()) - HELD_OUT
    if answer == math.ceil(samples / (settings.batch_size * settings.accumulation)):
        return None
    return f"{samples:,} samples, {settings.batch_size} × {settings.accumulation} to a step, the last step is not full"


@exercise(
    "help-mass", "Pivots are a share of 0.05 and carry a share of 0.1 of the KL. What constant weight has DISC's KD?"
)
def mass(answer: Any) -> str | None:
    # 20 tokens, one pivot; its KL is such that it carries a tenth
    kl = torch.full((20,), 0.9 / 19, dtype=torch.float64)
    kl[0] = 0.1
    pivot = torch.arange(20) == 0
    weights = DiscObjective().kd_weights(pivot)
    if math.isclose(float(answer), ((weights * kl).sum() / kl.sum()).item(), abs_tol=1e-6):
        return None
    if math.isclose(float(answer), weights.mean().item(), abs_tol=1e-6):
        return "that is the mean weight of a token; KD sums weight × KL, so a pivot counts by the KL it carries"
    return "weight the two parts of the KL: the share at pivots by the amplifier, the rest by 1"


@exercise(
    "help-seeds", "Without any effect, how probable is it that one of two methods wins on all of five paired seeds?"
)
def seeds(answer: Any) -> str | None:
    outcomes = [bin(wins).count("1") for wins in range(2**5)]  # every pattern of five fair coins
    if math.isclose(float(answer), outcomes.count(5) / len(outcomes), abs_tol=1e-6):
        return None
    if math.isclose(float(answer), (outcomes.count(5) + outcomes.count(0)) / len(outcomes), abs_tol=1e-6):
        return "that counts a clean sweep by either method; the question names one of them"
    return "five fair coins, all of which show the same named side"


@exercise("evaluation-mean", "100 tokens have a KL of 20 nats in sum and 10 others 10 nats: what is the split's KL?")
def split_mean(answer: Any) -> str | None:
    records = [{"tokens": 100, "kl": 20.0}, {"tokens": 10, "kl": 10.0}]
    if math.isclose(float(answer), sum(r["kl"] for r in records) / sum(r["tokens"] for r in records), abs_tol=0.001):
        return None
    if math.isclose(float(answer), sum(r["kl"] / r["tokens"] for r in records) / len(records), abs_tol=0.001):
        return "that is the mean of the samples' means, in which a short sample counts as much as a long one"
    return "the sum of the KL over the sum of the tokens"


@exercise("evaluation-perplexity", "Cross-entropy falls by 0.5 nats. By what factor is the perplexity multiplied?")
def perplexity_factor(answer: Any) -> str | None:
    if math.isclose(float(answer), math.exp(1.5) / math.exp(2.0), abs_tol=0.001):
        return None
    return "perplexity is exp(cross-entropy), so a difference becomes a factor below 1"


@exercise("gguf-q8-bits", "How many bits does a weight cost in Q8_0?")
def q8_bits(answer: Any) -> str | None:
    weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0]
    if math.isclose(float(answer), 8 * size / weights, abs_tol=1e-9):
        return None
    return "the block's scale is paid for by its weights too: 16 bits over 32 of them"


@exercise("gguf-width", "What is the next width above 576 at which K-quants apply without falling back?")
def width(answer: Any) -> str | None:
    block, _ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q4_K]
    if answer == next(n for n in range(577, 10_000) if n % block == 0):
        return None
    return f"a row is cut into blocks of {block} weights, and none may be left over"


@exercise("gguf-weighted-error", "`error(w, q, a)`: what the quantiser minimises for a row and its importance.")
def weighted_error(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    w, q = torch.randn(2, 64, dtype=torch.float64, generator=generator)
    a = torch.rand(64, dtype=torch.float64, generator=generator) + 0.1
    right = torch.dot(a, (w - q).square())
    got = torch.as_tensor(answer(w, q, a), dtype=torch.float64)
    if got.shape == () and any(torch.isclose(got, right / count) for count in (1, 64)):
        return None
    if got.shape == () and any(torch.isclose(got, torch.dot(a, (w - q).abs()) / count) for count in (1, 64)):
        return "the error is squared, as its importance is a mean square"
    return "square each channel's rounding error, weigh it by the channel's importance, add them up"


@exercise(
    "llama-prompt", "The exact text of which the model writes the continuation, for the question `What is 2 + 2?`."
)
def prompt(answer: Any) -> str | None:
    right = prompt_for("What is 2 + 2?")
    if answer == right:
        return None
    if isinstance(answer, str) and answer.strip() == right.strip():
        return "only white space is wrong; the prompt ends with one newline after `Proof:` and begins with a letter"
    return "`discnb.prompt` builds it from the question"


@exercise("llama-context", "How many tokens can a `LlamaModel` opened with its defaults add to a prompt of 1,000?")
def context(answer: Any) -> str | None:
    room = inspect.signature(LlamaModel).parameters["context"].default - 1000
    if answer == room:
        return None
    return "prompt and answer share the context, whatever `max_new_tokens` says"
