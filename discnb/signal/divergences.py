"""Divergences other than forward KL, per token, from hidden states and heads.

Each is a sum over the vocabulary of f(p, q), p the teacher's and q the student's probability, so all of them share one
hand-written gradient: with pull = q·∂f/∂q, the gradient to the student's logit v is (pull_v − q_v·Σ pull) / τ. The
logarithm of a mixture does not separate into running sums of logits, hence two passes over tiles of the vocabulary:
one for the two normalisers, one for Σ f and Σ pull. Tiles are kept between passes as far as memory allows.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .head import Tiles, memory_for_logits, pick_label, require_one_vocabulary

Terms = tuple[Tensor, Tensor]


def _forward(log_p: Tensor, log_q: Tensor, skew: float) -> Terms:
    """Forward KL(p ‖ q), Hinton et al. 2015: what `token_signals` computes in one pass, here for any temperatures."""
    p = log_p.exp()
    return p * (log_p - log_q), -p


def _reverse(log_p: Tensor, log_q: Tensor, skew: float) -> Terms:
    """Reverse KL(q ‖ p): mode-seeking; MiniLLM (Gu et al. 2024), here per token on the given text."""
    q, gap = log_q.exp(), log_q - log_p
    return q * gap, q * (gap + 1)


def _jsd(log_p: Tensor, log_q: Tensor, skew: float) -> Terms:
    """Jensen-Shannon divergence ½KL(p ‖ m) + ½KL(q ‖ m), m = ½(p + q); GKD's at β = ½ (Agarwal et al. 2024)."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    of_q = 0.5 * log_q.exp() * (log_q - log_m)
    return 0.5 * log_p.exp() * (log_p - log_m) + of_q, of_q


def _skew(log_p: Tensor, log_q: Tensor, skew: float) -> Terms:
    """Skew KL(p ‖ α·p + (1−α)·q) with α = `skew`; DistiLLM (Ko et al. 2024), whose α is 0.1."""
    p = log_p.exp()
    of_q = log_q + math.log1p(-skew)
    log_m = torch.logaddexp(log_p + math.log(skew), of_q) if skew else of_q
    return p * (log_p - log_m), -p * (of_q - log_m).exp()


def _hellinger(log_p: Tensor, log_q: Tensor, skew: float) -> Terms:
    """Squared Hellinger distance ½Σ(√p − √q)², in [0, 1]; its root is AdaKD's difficulty of a token."""
    root_p, root_q = (0.5 * log_p).exp(), (0.5 * log_q).exp()
    return 0.5 * (root_p - root_q).square(), 0.5 * root_q * (root_q - root_p)


DIVERGENCES: dict[str, Callable[[Tensor, Tensor, float], Terms]] = {
    "forward": _forward,
    "reverse": _reverse,
    "jsd": _jsd,
    "skew": _skew,
    "hellinger": _hellinger,
}
"""Name -> f and q·∂f/∂q on a tile of log p and log q."""


def token_divergence(
    student_hidden: Float[Tensor, "N H"],
    student_head: Float[Tensor, "V H"],
    teacher_hidden: Float[Tensor, "N G"],
    teacher_head: Float[Tensor, "U G"],
    *,
    kind: str,
    temperature: float | Float[Tensor, " N"] = 2.0,
    skew: float = 0.1,
    memory: int | float | None = None,
    tile: int | None = None,
    head_gradient: Float[Tensor, "V H"] | None = None,
) -> Float[Tensor, " N"]:
    """The named divergence of student and teacher at each token, in nats (`hellinger`: no unit), at `temperature`.

    The temperature may differ by token and is constant, as the teacher is. `memory`, `tile` and `head_gradient` as in
    `token_signals`.
    """
    if kind not in DIVERGENCES:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(DIVERGENCES)}")
    if not 0 <= skew < 1:
        raise ValueError(f"skew is {skew}; expected 0 <= skew < 1")
    temperatures = torch.as_tensor(temperature, device=student_hidden.device).detach().expand(len(student_hidden))
    if not (temperatures > 0).all():
        raise ValueError("a temperature is not > 0; expected every one to be")
    require_one_vocabulary(student_head, teacher_head)
    if memory is None:
        memory = memory_for_logits(student_hidden.device)
    with torch.autocast(student_hidden.device.type, enabled=False):
        return _Divergence.apply(
            student_hidden,
            student_head,
            teacher_hidden.detach(),
            teacher_head.detach(),
            temperatures,
            kind,
            skew,
            float(memory),
            tile,
            head_gradient,
        )


@torch.no_grad()
def token_cross_entropy(
    hidden: Float[Tensor, "N H"], head: Float[Tensor, "V H"], labels: Int[Tensor, " N"], *, tile: int | None = None
) -> Float[Tensor, " N"]:
    """Cross-entropy of each token in nats under one model, 0 for a negative label; no gradient. One pass over tiles."""
    with torch.autocast(hidden.device.type, enabled=False):
        tiles = Tiles(hidden, head, hidden, head, tile)
        log_z, label_logit = tiles.new(len(hidden)).fill_(-torch.inf), tiles.new(len(hidden)).zero_()
        for columns in tiles:
            s, _ = tiles.project(columns, teacher=False)
            log_z = torch.logaddexp(log_z, s.logsumexp(1))
            label_logit = pick_label(label_logit, s, labels, columns)
        return torch.where(labels >= 0, log_z - label_logit, 0.0)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        teacher_hidden: Tensor,
        teacher_head: Tensor,
        temperature: Tensor,
        kind: str,
        skew: float,
        memory: float,
        tile: int | None,
        head_gradient: Tensor | None,
    ) -> Tensor:
        tiles = Tiles(hidden, head, teacher_hidden, teacher_head, tile)
        temperature = temperature.to(tiles.dtype)
        kept: list[tuple[Tensor, Tensor]] = []
        log_z, t_log_z = (tiles.new(len(hidden)).fill_(-torch.inf) for _ in range(2))
        for _, s, t in _scaled(tiles, temperature, []):
            memory -= s.nbytes + t.nbytes
            if memory >= 0:
                kept.append((s, t))
            log_z = torch.logaddexp(log_z, s.logsumexp(1))
            t_log_z = torch.logaddexp(t_log_z, t.logsumexp(1))
        total, pull_sum = (tiles.new(len(hidden)).zero_() for _ in range(2))
        for _, s, t in _scaled(tiles, temperature, kept):
            f, pull = DIVERGENCES[kind](t - t_log_z[:, None], s - log_z[:, None], skew)
            total, pull_sum = total + f.sum(1), pull_sum + pull.sum(1)
        ctx.save_for_backward(hidden, head, teacher_hidden, teacher_head, temperature, log_z, t_log_z, pull_sum)
        ctx.kind, ctx.skew, ctx.width, ctx.head_gradient = kind, skew, tiles.width, head_gradient
        ctx.kept = kept if any(ctx.needs_input_grad) else []
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, teacher_hidden, teacher_head, temperature, log_z, t_log_z, pull_sum = ctx.saved_tensors
        want_hidden, want_head = ctx.needs_input_grad[:2]
        with torch.autocast(hidden.device.type, enabled=False):
            tiles = Tiles(hidden, head, teacher_hidden, teacher_head, ctx.width)
            d_hidden = torch.zeros_like(tiles.hidden) if want_hidden else None
            d_head = ctx.head_gradient
            if d_head is None and want_head:
                d_head = torch.zeros(head.shape, dtype=tiles.dtype, device=head.device)
            scale = (d_total / temperature)[:, None]
            for columns, s, t in _scaled(tiles, temperature, ctx.kept):
                log_q = s - log_z[:, None]
                _, pull = DIVERGENCES[ctx.kind](t - t_log_z[:, None], log_q, ctx.skew)
                d_s = scale * (pull - log_q.exp() * pull_sum[:, None])  # [N, tile]
                if d_hidden is not None:
                    d_hidden.addmm_(d_s, tiles.head_rows(columns))
                if d_head is not None:
                    d_head[columns].addmm_(d_s.T, tiles.hidden)
        return (
            None if d_hidden is None else d_hidden.to(hidden.dtype),
            None if d_head is None or d_head is ctx.head_gradient else d_head.to(head.dtype),
            *[None] * 8,
        )


def _scaled(tiles: Tiles, temperature: Tensor, kept: list) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Columns, and the student's and the teacher's logits over the temperature on them, [N, tile]; kept ones first."""
    for number, columns in enumerate(tiles):
        if number < len(kept):
            yield columns, *kept[number]
        else:
            s, t = tiles.project(columns)
            yield columns, s.div_(temperature[:, None]), t.div_(temperature[:, None])
