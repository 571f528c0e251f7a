"""From hidden states and heads to the three signals per token: KL, cross-entropy and entropy.

Logits are made a slice of the vocabulary at a time and folded into running sums, so one projection of each model gives
all three signals. The gradient is written out by hand: dense autograd holds about nine arrays of the logits' size, this
holds the two models' own if memory allows (four matrix products in all) or nothing of that size (six: backward projects
again).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

TILE_BYTES = {"cpu": 3 << 19, "cuda": 128 << 20}
"""Size of a tile of logits: what a CPU's cache holds; on a GPU, enough work for its kernel launches to be cheap."""
MIN_TILE = 64
"""Vocabulary entries in a tile at the least, however many tokens there are."""
KEPT_BYTES = 2 << 30
"""Logits kept for backward on a CPU; on a GPU, a quarter of what is free."""


class TokenSignals(NamedTuple):
    """Per-token signals in nats, each `[N]` and float32 (float64 for float64 inputs)."""

    kl: Float[Tensor, " N"]
    ce: Float[Tensor, " N"]
    entropy: Float[Tensor, " N"]


def token_signals(
    student_hidden: Float[Tensor, "N H"],
    student_head: Float[Tensor, "V H"],
    teacher_hidden: Float[Tensor, "N G"],
    teacher_head: Float[Tensor, "U G"],
    labels: Int[Tensor, " N"],
    *,
    temperature: float = 2.0,
    memory: int | float | None = None,
    tile: int | None = None,
    head_gradient: Float[Tensor, "V H"] | None = None,
) -> TokenSignals:
    """KL(teacher ‖ student) at `temperature`, cross-entropy and student entropy at 1, of each token in nats.

    Exact over the whole vocabulary: a padded one is sliced off both heads before. A negative label (padding) has
    cross-entropy 0. Gradients flow to the student's hidden states and head; the teacher is constant.

    `memory` is what logits kept for backward may take, in bytes: `math.inf` keeps all (8 bytes per token and vocabulary
    entry), 0 none, and between them as many tiles as fit; the result is the same to the last bit. `tile` is the
    vocabulary entries projected at a time. With `head_gradient`, backward adds the head's gradient to that tensor and
    returns none: a sum over many calls then passes over it once a call.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected a number > 0")
    if tile is not None and tile < 1:
        raise ValueError(f"tile is {tile}; expected at least 1 vocabulary entry")
    if student_head.shape[0] != teacher_head.shape[0]:
        raise ValueError(
            f"the student's head has {student_head.shape[0]} rows and the teacher's {teacher_head.shape[0]}; "
            "slice both to the shared vocabulary first (discnb.models.shared_vocabulary)"
        )
    needs_gradient = torch.is_grad_enabled() and (student_hidden.requires_grad or student_head.requires_grad)
    if memory is None:
        memory = _memory_for_logits(student_hidden.device)
    with torch.autocast(student_hidden.device.type, enabled=False):
        signals = _Signals.apply(
            student_hidden,
            student_head,
            teacher_hidden.detach(),
            teacher_head.detach(),
            labels,
            temperature,
            float(memory) if needs_gradient else 0.0,
            tile,
            head_gradient,
        )
    return TokenSignals(*signals)


def with_bias(
    hidden: Float[Tensor, "*B H"], head: Float[Tensor, "V H"], bias: Float[Tensor, " V"]
) -> tuple[Float[Tensor, "*B H+1"], Float[Tensor, "V H+1"]]:
    """Hidden states and head whose product is `hidden @ head.T + bias`: a one more unit, which averages to one."""
    return F.pad(hidden, (0, 1), value=1.0), torch.cat([head, bias[:, None]], dim=1)


def _memory_for_logits(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else KEPT_BYTES


class _Signals(torch.autograd.Function):
    """The signals as one differentiable operation; `s` and `t` are tiles of student and teacher logits, [N, tile]."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        teacher_hidden: Tensor,
        teacher_head: Tensor,
        labels: Tensor,
        temperature: float,
        memory: float,
        tile: int | None,
        head_gradient: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tiles, kept = _Tiles(hidden, head, teacher_hidden, teacher_head, tile), []
        N = len(hidden)
        # Of the student: greatest logit so far, Σ e^(s−top), Σ e^(s−top)(s−top), Σ e^((s−top)/τ). Of the teacher:
        # greatest logit, Σ e^((t−top)/τ), Σ e^((t−top)/τ)((t−top) − (s−top)). All relative to the top so far.
        s_top, t_top = (tiles.new(N).fill_(-torch.inf) for _ in range(2))
        z1, moment, z, t_z, gap, label_logit = (tiles.new(N).zero_() for _ in range(6))
        for columns in tiles:
            s, t = tiles.project(columns)
            memory -= s.nbytes + t.nbytes
            if memory >= 0:
                kept.append((s, t))
            inside = (labels >= columns.start) & (labels < columns.stop)
            at = torch.where(inside, labels - columns.start, 0)
            label_logit = torch.where(inside, s.gather(1, at[:, None])[:, 0], label_logit)

            top = torch.maximum(s_top, s.amax(1))
            fall = (s_top - top).nan_to_num(neginf=0.0)  # the sums are 0 before the first tile
            moment = fall.exp() * (moment + fall * z1)
            z1, z = fall.exp() * z1, (fall / temperature).exp() * z
            t_was, t_top = t_top, torch.maximum(t_top, t.amax(1))
            t_fall = (t_was - t_top).nan_to_num(neginf=0.0)
            gap = (t_fall / temperature).exp() * (gap + (t_fall - fall) * t_z)
            t_z = (t_fall / temperature).exp() * t_z
            s_top = top

            s, t = s - s_top[:, None], t - t_top[:, None]
            e = (s / temperature).exp_()
            z = z + e.sum(1)
            torch.exp(s, out=e)
            z1 = z1 + e.sum(1)
            moment = moment + torch.linalg.vecdot(e, s)
            torch.div(t, temperature, out=e).exp_()
            t_z = t_z + e.sum(1)
            gap = gap + torch.linalg.vecdot(e, t.sub_(s))

        log_z1, log_z, t_log_z = z1.log(), z.log(), t_z.log()
        mean = moment / z1  # of s − top under softmax(s)
        entropy = log_z1 - mean
        kl = gap / t_z / temperature - t_log_z + log_z
        ce = torch.where(labels >= 0, s_top + log_z1 - label_logit, 0.0)
        ctx.save_for_backward(
            hidden, head, teacher_hidden, teacher_head, labels, s_top, t_top, log_z1, log_z, t_log_z, mean
        )
        ctx.temperature, ctx.width, ctx.kept, ctx.head_gradient = temperature, tiles.width, kept, head_gradient
        ctx.set_materialize_grads(False)
        return kl, ce, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # a gradient may be taken inside an autocast region, which would round the products
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            return (*_gradients(ctx, *grads), *[None] * 7)


def _gradients(
    ctx: Any, d_kl: Tensor | None, d_ce: Tensor | None, d_entropy: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the student's hidden states [N, H] and head [V, H]."""
    hidden, head, teacher_hidden, teacher_head, labels, s_top, t_top, log_z1, log_z, t_log_z, mean = ctx.saved_tensors
    tiles, temperature = _Tiles(hidden, head, teacher_hidden, teacher_head, ctx.width), ctx.temperature
    want_hidden, want_head = ctx.needs_input_grad[:2]
    d_hidden = torch.zeros_like(tiles.hidden) if want_hidden else None  # summed over tiles
    d_head = ctx.head_gradient
    if d_head is None and want_head:
        d_head = torch.empty(head.shape, dtype=tiles.dtype, device=head.device)
    if d_ce is not None:
        d_ce = torch.where(labels >= 0, d_ce, 0.0)
    for number, columns in enumerate(tiles):
        kept = number < len(ctx.kept)
        s, t = ctx.kept[number] if kept else tiles.project(columns, teacher=d_kl is not None)
        s = s - s_top[:, None]
        d_s = None  # [N, tile]
        if d_kl is not None:
            # ∂kl/∂s = (softmax(s/τ) − softmax(t/τ)) / τ
            d_s = torch.div(s, temperature).sub_(log_z[:, None]).exp_()
            d_s -= t.sub(t_top[:, None]).div_(temperature).sub_(t_log_z[:, None]).exp_()
            d_s *= (d_kl / temperature)[:, None]
        if d_ce is not None or d_entropy is not None:
            # ∂ce/∂s = softmax(s) − [label]; ∂entropy/∂s = −softmax(s)·((s − top) − mean)
            q = s.sub(log_z1[:, None]).exp_()
            factor = 0.0 if d_ce is None else d_ce[:, None]
            q *= factor if d_entropy is None else factor - d_entropy[:, None] * (s - mean[:, None])
            d_s = q if d_s is None else d_s.add_(q)
        if d_s is None:  # a gradient of nothing
            d_s = torch.zeros_like(s)
        if d_ce is not None:
            inside = ((labels >= columns.start) & (labels < columns.stop)).nonzero()[:, 0]
            d_s[inside, labels[inside] - columns.start] -= d_ce[inside]
        if d_hidden is not None:
            d_hidden.addmm_(d_s, tiles.head_rows(columns))
        if d_head is not None:
            d_head[columns].addmm_(d_s.T, tiles.hidden, beta=0 if ctx.head_gradient is None else 1)
    return (
        None if d_hidden is None else d_hidden.to(hidden.dtype),
        None if d_head is None or d_head is ctx.head_gradient else d_head.to(head.dtype),
    )


class _Tiles:
    """The vocabulary cut into slices, and the two models' logits on one of them, in at least float32."""

    def __init__(
        self, hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, width: int | None
    ) -> None:
        # low precision is widened tile by tile: a product in bfloat16 would round the logits
        self.dtype = torch.promote_types(torch.promote_types(hidden.dtype, head.dtype), torch.float32)
        self.hidden, self.head = hidden.to(self.dtype), head
        self.teacher_hidden, self.teacher_head = teacher_hidden.to(self.dtype), teacher_head
        tile_bytes = TILE_BYTES.get(hidden.device.type, TILE_BYTES["cuda"])
        self.width = width or max(MIN_TILE, tile_bytes // (self.dtype.itemsize * max(1, len(hidden))))

    def __iter__(self) -> Iterator[slice]:
        vocabulary = len(self.head)
        return (slice(first, min(first + self.width, vocabulary)) for first in range(0, vocabulary, self.width))

    def new(self, size: int) -> Tensor:
        return self.hidden.new_empty(size)

    def head_rows(self, columns: slice) -> Tensor:
        return self.head[columns].to(self.dtype)

    def project(self, columns: slice, *, teacher: bool = True) -> tuple[Tensor, Tensor]:
        """Student and teacher logits [N, tile]; the teacher's are left empty when not wanted."""
        s = self.hidden @ self.head_rows(columns).T
        t = self.teacher_hidden @ self.teacher_head[columns].to(self.dtype).T if teacher else s[:, :0]
        return s, t
