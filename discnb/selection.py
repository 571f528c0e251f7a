"""Which tokens knowledge distillation dwells on: DISC's pivots and the field's rivals, as marks over per-token signals.

Every selection is a function of what is known of one sequence and answers which tokens it marks, or their weights
outright. `DiscObjective` gives marked and other tokens their weights, and every weight is constant to the gradient.
A share is of the sequence's valid tokens, rounded down, at least one; among ties the earlier token goes first.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class SequenceSignals(NamedTuple):
    """One sequence's per-token signals `[T]`, 0 or False at masked positions: nats, and which tokens are marked.

    `divergence` is what KD sums (`kl` itself unless the objective names another); the last two are None unless the
    objective's selection or temperature asks for them.
    """

    kl: Float[Tensor, " T"]
    ce: Float[Tensor, " T"]
    entropy: Float[Tensor, " T"]
    pivot: Bool[Tensor, " T"]
    singular: Bool[Tensor, " T"]
    divergence: Float[Tensor, " T"]
    teacher_ce: Float[Tensor, " T"] | None = None
    difficulty: Float[Tensor, " T"] | None = None


class Evidence(NamedTuple):
    """What a selection may look at: the signals, where they are valid, the labels and the proof weights c_t, `[T]`."""

    signals: SequenceSignals
    mask: Bool[Tensor, " T"]
    labels: Int[Tensor, " T"]
    share: Float[Tensor, " T"]
    fraction: float
    seed: int


Selection = Callable[[Evidence], Bool[Tensor, " T"] | Float[Tensor, " T"]]


def top(values: Float[Tensor, " T"], mask: Bool[Tensor, " T"], count: int) -> Bool[Tensor, " T"]:
    """The `count` valid tokens of the greatest values; all of them where there are no more."""
    order = values.detach().double().masked_fill(~mask, -torch.inf).sort(descending=True, stable=True).indices
    marked = torch.zeros_like(mask)
    marked[order[:count]] = True
    return marked & mask


def top_share(values: Float[Tensor, " T"], mask: Bool[Tensor, " T"], fraction: float) -> Bool[Tensor, " T"]:
    """The share `fraction` of the valid tokens with the greatest values."""
    return top(values, mask, max(1, int(fraction * int(mask.sum()) + 1e-9)))


def chance(labels: Int[Tensor, " T"], mask: Bool[Tensor, " T"], seed: int) -> Float[Tensor, " T"]:
    """A number in [0, 1) per token, from the seed and the sample's own labels: no global state, the same on resume."""
    text = labels[mask].to("cpu", torch.int64).numpy().tobytes()
    digest = hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    numbers = torch.rand(len(text) // 8, generator=generator, dtype=torch.float64)
    out = torch.zeros(len(mask), dtype=torch.float64, device=mask.device)
    out[mask] = numbers.to(mask.device)
    return out


def unit_range(values: Float[Tensor, " T"], mask: Bool[Tensor, " T"]) -> Float[Tensor, " T"]:
    """Values moved and scaled so that the sequence's least is 0 and its greatest 1; 0 where all are equal."""
    values = values.detach().double()
    if not mask.any():
        return torch.zeros_like(values)
    low = values.masked_fill(~mask, torch.inf).amin()
    span = values.masked_fill(~mask, -torch.inf).amax() - low
    return torch.where(mask & (span > 0), (values - low) / span, 0.0)


def inverse_difficulty_temperature(
    difficulty: Float[Tensor, " T"], mask: Bool[Tensor, " T"], fraction: float, temperature: float, spread: float
) -> Float[Tensor, " T"]:
    """AdaKD's temperature of each token, τ·exp(−spread·tanh(ln(s / median s))): low where the token is difficult.

    s is the difficulty, its median taken over the `fraction` most difficult tokens. Source: Xie et al. 2025,
    "LLM-Oriented Token-Adaptive Knowledge Distillation", inverse difficulty temperature scaling; their code weights a
    token by its own τ² and defaults to spreads of 0.3 to 0.6. Of an even number of tokens the lower middle one is the
    median.
    """
    s = difficulty.detach().double()
    hardest = top_share(s, mask, fraction)
    if not hardest.any():
        return torch.full_like(s, temperature)
    least = torch.finfo(torch.float32).tiny  # equal distributions have no difficulty, and no logarithm of it
    ratio = s.clamp(min=least) / s[hardest].median().clamp(min=least)
    return temperature * (-spread * ratio.log().tanh()).exp()


def _pivots(e: Evidence) -> Tensor:
    """DISC: the pivots of the discrepancy operator. Source: the `DISC v3` model card."""
    return e.signals.pivot


def _all(e: Evidence) -> Tensor:
    """Uniform KD: every valid token. Source: Hinton et al. 2015."""
    return e.mask


def _proof(e: Evidence) -> Tensor:
    """Proof-weighted KD: the proof weight inside the proof span, 1 elsewhere, as in CE. Source: the series' cards.

    The cards of the earlier models give no formula; that the schedule is CE's own is our reading.
    """
    return e.share


def _level(e: Evidence) -> Tensor:
    """The share with the greatest KL itself, not its change."""
    return top_share(e.signals.kl, e.mask, e.fraction)


def _level_as_pivots(e: Evidence) -> Tensor:
    """As many tokens as DISC has pivots, those of the greatest KL: what the discrepancy operator adds to the level."""
    return top(e.signals.kl, e.mask, int(e.signals.pivot.sum()))


def _random(e: Evidence) -> Tensor:
    """A share drawn at random, the same for a sample whenever it is seen."""
    return top_share(chance(e.labels, e.mask, e.seed), e.mask, e.fraction)


def _random_as_pivots(e: Evidence) -> Tensor:
    """As many tokens as DISC has pivots, drawn at random."""
    return top(chance(e.labels, e.mask, e.seed), e.mask, int(e.signals.pivot.sum()))


def _entropy(e: Evidence) -> Tensor:
    """SE-KD: the share with the greatest student entropy, its 20 %. Source: Tavor et al. 2026, arXiv 2602.01395.

    Simplified: the position axis alone, within each sequence; the paper also trains without CE.
    """
    return top_share(e.signals.entropy, e.mask, e.fraction)


def _entropy_or_divergence(e: Evidence) -> Tensor:
    """TIP: the share that is uncertain, or confident and far from the teacher. arXiv 2604.14084.

    The score is h + d − h·d of entropy and KL, each brought to [0, 1] within the sequence. Simplified: the paper
    distils on-policy, on the student's own text; its rule is stated here by its two regions, the soft or is ours.
    """
    h, d = (unit_range(values, e.mask) for values in (e.signals.entropy, e.signals.kl))
    return top_share(h + d - h * d, e.mask, e.fraction)


def _difficulty(e: Evidence) -> Tensor:
    """AdaKD: the share of the greatest Hellinger distance at temperature 1. Source: Xie et al. 2025, arXiv 2510.11615.

    Simplified: the share is constant, where the paper's rises and falls with a running mean of the loss, and it is
    taken of each sequence instead of the batch.
    """
    assert e.signals.difficulty is not None
    return top_share(e.signals.difficulty, e.mask, e.fraction)


def _excess(e: Evidence) -> Tensor:
    """Rho-1: the share of the greatest excess loss, student CE − teacher CE. Source: Lin et al. 2024, arXiv 2404.07965.

    Simplified: the teacher is the reference model, the share is of each sequence, and it decides KD instead of CE.
    """
    assert e.signals.teacher_ce is not None
    return top_share(e.signals.ce.detach() - e.signals.teacher_ce, e.mask, e.fraction)


SELECTIONS: dict[str, Selection] = {
    "pivots": _pivots,
    "all": _all,
    "proof": _proof,
    "level": _level,
    "level_as_pivots": _level_as_pivots,
    "random": _random,
    "random_as_pivots": _random_as_pivots,
    "entropy": _entropy,
    "entropy_or_divergence": _entropy_or_divergence,
    "difficulty": _difficulty,
    "excess": _excess,
}
"""Name -> the tokens it marks (or, for `proof`, their weights)."""
