"""The training objective: how per-token signals become one loss.

`DiscObjective` is the published method (`DISC v3`); its formulae are normative in `design.md`, section 1. Its rivals
are the same composition with another selection of tokens or another divergence: `discnb.arms` names them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .selection import SELECTIONS, Evidence, SequenceSignals, inverse_difficulty_temperature
from .signal import (
    DIVERGENCES,
    Average,
    gap_energy,
    pivots,
    singular_tokens,
    smooth_hidden,
    token_cross_entropy,
    token_divergence,
    token_signals,
    window_average,
)
from .signal.discrepancy import ALIGNMENTS
from .signal.sequences import sequence_mean

NORMALISATIONS = ("none", "mass")


class DiscLoss(NamedTuple):
    """The loss and its terms, each a scalar averaged over the batch's sequences; all but `loss` are for reading.

    `kl` is the mean KL per token in nats after smoothing, without τ² or weights; the fractions are of valid tokens.
    """

    loss: Float[Tensor, ""]
    ce: Float[Tensor, ""]
    kd: Float[Tensor, ""]
    energy: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    pivot_fraction: Float[Tensor, ""]
    singular_fraction: Float[Tensor, ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscObjective:
    """Discrepancy-informed distillation: L = ce_weight·CE + kd_weight·KD + energy_weight·E, a mean over sequences.

    CE = Σ c_t·ce_t / Σ c_t, with c_t the proof weight where label t lies in the proof span and 1 elsewhere;
    KD = τ²·Σ w_t·d_t / Σ 1, with w_t the amplifier at pivots and d_t the forward KL kl_t, unless told otherwise;
    E = ½·mean D². Sums run over valid positions.
    """

    temperature: float = 2.0
    """τ of both softmaxes in the KL."""
    window: int = 1
    """n, the reach of the discrepancy operator in tokens."""
    pivot_sigma: float = 2.0
    """A pivot's D exceeds the sequence's mean by more than this many standard deviations."""
    align: str = "forward"
    """The token a jump marks: `forward` the last before it, `backward` its landing, `rise` that only if KL rises."""
    amplifier: float = 3.0
    """KD weight of a marked token, a pivot; 1 switches amplification off."""
    rest: float = 1.0
    """KD weight of a token that is not marked; 0 distils on the marked ones alone."""
    selection: str = "pivots"
    """Which tokens are marked: a name in `discnb.selection.SELECTIONS`, `pivots` for DISC, `all` for uniform KD."""
    fraction: float = 0.2
    """Share of a sequence's tokens marked by a selection that ranks them; pivots have their own threshold."""
    seed: int = 0
    """Of the random selections; with a sample's labels it decides them, so a sample always has the same."""
    normalise: str = "none"
    """Of the KD weights: `mass` scales each sequence's to a mean of 1, so amplification is no larger kd_weight."""
    divergence: str = "forward"
    """What KD sums: `forward` KL, `reverse` KL, `jsd`, `skew` KL, or squared `hellinger` distance."""
    skew: float = 0.1
    """Teacher's share of the mixture that the skew KL compares the teacher with."""
    temperature_spread: float = 0.0
    """AdaKD's strength of lower temperatures at difficult tokens, for KD alone; 0 leaves all at the temperature."""
    singular_sigma: float = 1.0
    """A singular token's entropy exceeds the sequence's mean by more than this many standard deviations."""
    smoothing_window: int = 3
    """Tokens averaged at a singular position; 1 switches smoothing off."""
    causal: bool = False
    """Average over t−w+1..t instead of the centred window, which has seen the label."""
    ce_weight: float = 0.55
    """Of CE in the loss."""
    kd_weight: float = 0.45
    """Of KD in the loss."""
    energy_weight: float = 0.02
    """Of the gap energy in the loss."""

    def __post_init__(self) -> None:
        for name in ("temperature", "amplifier"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number > 0")
        for name in (
            "pivot_sigma", "singular_sigma", "rest", "temperature_spread", "ce_weight", "kd_weight", "energy_weight",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number >= 0")
        if self.window < 1:
            raise ValueError(f"window is {self.window}; expected at least 1")
        if self.smoothing_window < 1 or (self.smoothing_window % 2 == 0 and not self.causal):
            raise ValueError(
                f"smoothing_window is {self.smoothing_window}; expected an odd number >= 1, or causal=True"
            )
        for name, allowed in (
            ("align", ALIGNMENTS),
            ("selection", SELECTIONS),
            ("normalise", NORMALISATIONS),
            ("divergence", DIVERGENCES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; expected a share of the tokens, 0 < fraction <= 1")
        if not 0 <= self.skew < 1:
            raise ValueError(f"skew is {self.skew}; expected 0 <= skew < 1")

    def __call__(
        self,
        student_hidden: Float[Tensor, "B T H"],
        student_head: Float[Tensor, "V H"],
        teacher_hidden: Float[Tensor, "B T G"],
        teacher_head: Float[Tensor, "V G"],
        labels: Int[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
        proof_mask: Bool[Tensor, "B T"],
        proof_weight: float | Float[Tensor, ""],
    ) -> DiscLoss:
        """The batch's loss: each sequence on its own, then the mean, so batching never changes the result.

        `mask` and `proof_mask` speak of the labels: position t predicts label t. A sequence without a valid label
        contributes 0.
        """
        if len(labels) == 0:
            raise ValueError("the batch has no sequences; expected at least one")

        def terms(b: int, hidden: Tensor, head: Tensor, head_gradient: Tensor | None) -> DiscLoss:
            signals = self.signals(
                hidden, head, teacher_hidden[b], teacher_head, labels[b], mask[b], head_gradient=head_gradient
            )
            return self._sequence_loss(signals, labels[b], mask[b], proof_mask[b], proof_weight)

        return sequence_mean(terms, student_hidden, student_head)

    def signals(
        self,
        student_hidden: Float[Tensor, "T H"],
        student_head: Float[Tensor, "V H"],
        teacher_hidden: Float[Tensor, "T G"],
        teacher_head: Float[Tensor, "V G"],
        labels: Int[Tensor, " T"],
        mask: Bool[Tensor, " T"],
        *,
        head_gradient: Float[Tensor, "V H"] | None = None,
    ) -> SequenceSignals:
        """One sequence's signals in the method's order: smooth, then KL, then pivots. CE and entropy are unsmoothed.

        Smoothing averages logits that are there: it costs no matrix product, so a sequence takes four of them forward
        and backward. Where no logits are kept it takes six, and the singular tokens' windows are projected once more.
        `head_gradient` as in `token_signals`. Another divergence or token temperatures take four to eight more.
        """
        where = mask.nonzero()[:, 0]

        def whole(values: Tensor) -> Tensor:  # [N] -> [T], 0 where masked
            return values.new_zeros(len(mask)).index_put((where,), values)

        def average(entropy: Tensor) -> Average:
            singular = singular_tokens(whole(entropy), mask, sigma=self.singular_sigma)
            return window_average(mask, singular, window=self.smoothing_window, causal=self.causal)

        signals = token_signals(
            student_hidden[where],
            student_head,
            teacher_hidden[where],
            teacher_head,
            labels[where],
            temperature=self.temperature,
            head_gradient=head_gradient,
            average=average if self.smoothing_window > 1 else None,
        )
        kl, ce, entropy = (whole(signal) for signal in signals)
        singular = singular_tokens(entropy, mask, sigma=self.singular_sigma)
        pivot = pivots(kl, mask, sigma=self.pivot_sigma, window=self.window, align=self.align)
        found = SequenceSignals(kl, ce, entropy.detach(), pivot, singular, kl)
        student = student_hidden[where], student_head
        teacher = teacher_hidden[where], teacher_head
        if self.selection == "excess":
            found = found._replace(teacher_ce=whole(token_cross_entropy(*teacher, labels[where])))
        if self.selection == "difficulty" or self.temperature_spread > 0:
            with torch.no_grad():
                squared = token_divergence(*student, *teacher, kind="hellinger", temperature=1.0)
            found = found._replace(difficulty=whole(squared.clamp(min=0.0).sqrt()))
        if self.divergence == "forward" and self.temperature_spread == 0:
            return found
        temperature = torch.full((len(mask),), self.temperature, dtype=torch.float64, device=mask.device)
        if found.difficulty is not None and self.temperature_spread > 0:
            temperature = inverse_difficulty_temperature(
                found.difficulty, mask, self.fraction, self.temperature, self.temperature_spread
            )
        if self.smoothing_window > 1:  # a head's logits average as its hidden states do
            wide = student_hidden.to(torch.promote_types(student_hidden.dtype, torch.float32))[None]
            smoothed = smooth_hidden(wide, mask[None], singular[None], window=self.smoothing_window, causal=self.causal)
            student = smoothed[0, where], student_head
        divergence = token_divergence(
            *student,
            *teacher,
            kind=self.divergence,
            temperature=temperature[where],
            skew=self.skew,
            head_gradient=head_gradient,
        )
        # the loss multiplies by τ², which keeps the gradient's size; a token's own temperature takes its place
        return found._replace(divergence=whole(divergence) * (temperature / self.temperature).square().to(kl.dtype))

    def kd_weights(self, pivot: Bool[Tensor, "*B T"]) -> Float[Tensor, "*B T"]:
        """KD weight of each token before normalisation: the amplifier at pivots (or other marks), `rest` elsewhere."""
        return torch.where(pivot, self.amplifier, self.rest)

    @torch.no_grad()
    def weights(
        self,
        signals: SequenceSignals,
        labels: Int[Tensor, " T"],
        mask: Bool[Tensor, " T"],
        share: Float[Tensor, " T"],
    ) -> Float[Tensor, " T"]:
        """KD weight of each of one sequence's tokens; `share` holds CE's c_t. Masked ones have any, their KL is 0.

        Normalised by mass, Σ m_t·w_t = Σ m_t and masked ones have 0; a sequence with no weight at all is uniform.
        """
        weights = SELECTIONS[self.selection](Evidence(signals, mask, labels, share, self.fraction, self.seed))
        if weights.dtype == torch.bool:
            weights = self.kd_weights(weights)
        if self.normalise == "none":
            return weights
        weights = weights.double() * mask
        if not weights.any():
            weights = mask.double()
        return (weights * (mask.sum() / weights.sum().clamp(min=torch.finfo(torch.float64).tiny))).to(signals.kl.dtype)

    def _sequence_loss(
        self,
        signals: SequenceSignals,
        labels: Tensor,
        mask: Tensor,
        proof_mask: Tensor,
        proof_weight: float | Tensor,
    ) -> DiscLoss:
        kl, ce, _, pivot, singular, divergence, *_ = signals
        tokens = mask.sum().clamp(min=1)
        share = torch.where(proof_mask, proof_weight, 1.0).to(ce.dtype) * mask  # c_t
        # a proof weight of 0 over a sequence that is all proof leaves nothing to average
        ce_mean = (share * ce).sum() / share.sum().clamp(min=torch.finfo(ce.dtype).tiny)
        kd = self.temperature**2 * (self.weights(signals, labels, mask, share) * divergence).sum() / tokens
        energy = gap_energy(kl, mask, window=self.window)
        return DiscLoss(
            loss=self.ce_weight * ce_mean + self.kd_weight * kd + self.energy_weight * energy,
            ce=ce_mean.detach(),
            kd=kd.detach(),
            energy=energy.detach(),
            kl=(kl.sum() / tokens).detach(),
            pivot_fraction=pivot.sum() / tokens,
            singular_fraction=singular.sum() / tokens,
        )
