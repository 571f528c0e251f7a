"""From hidden states and heads to the three signals per token: KL, cross-entropy and entropy.

Logits are made a slice of the vocabulary at a time and folded into running sums, so one projection of each model gives
all three signals. The gradient is written out by hand: dense autograd holds about nine arrays of the logits' size, this
holds the two models' own if memory allows (four matrix products in all) or nothing of that size (six: backward projects
again).
"""

from collections.abc import Callable, Iterator
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


class Average(NamedTuple):
    """Row `where[i]`'s logits become Σ_j `weights[i, j]` · the logits of row `rows[i, j]`, for the KL alone."""

    where: Int[Tensor, " S"]
    rows: Int[Tensor, "S w"]
    weights: Float[Tensor, "S w"]


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
    average: Callable[[Float[Tensor, " N"]], Average] | None = None,
) -> TokenSignals:
    """KL(teacher ‖ student) at `temperature`, cross-entropy and student entropy at 1, of each token in nats.

    Exact over the whole vocabulary: a padded one is sliced off both heads before. A negative label (padding) has
    cross-entropy 0. Gradients flow to the student's hidden states and head; the teacher is constant.

    `memory` is what logits kept for backward may take, in bytes: `math.inf` keeps all (8 bytes per token and vocabulary
    entry), 0 none, and between them as many tiles as fit; the result is the same to the last bit. `tile` is the
    vocabulary entries projected at a time. With `head_gradient`, backward adds the head's gradient to that tensor and
    returns none: a sum over many calls then passes over it once a call.

    `average` is told the entropy and answers which rows' student logits are averaged before their KL is taken; gradient
    flows through the mean. It costs no matrix product where logits are kept, and a projection of those rows where not
    (whose last bits may then differ).
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected a number > 0")
    if tile is not None and tile < 1:
        raise ValueError(f"tile is {tile}; expected at least 1 vocabulary entry")
    require_one_vocabulary(student_head, teacher_head)
    needs_gradient = torch.is_grad_enabled() and (student_hidden.requires_grad or student_head.requires_grad)
    if memory is None:
        memory = memory_for_logits(student_hidden.device)
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
            average,
        )
    return TokenSignals(*signals)


def with_bias(
    hidden: Float[Tensor, "*B H"], head: Float[Tensor, "V H"], bias: Float[Tensor, " V"]
) -> tuple[Float[Tensor, "*B H+1"], Float[Tensor, "V H+1"]]:
    """Hidden states and head whose product is `hidden @ head.T + bias`: a one more unit, which averages to one."""
    return F.pad(hidden, (0, 1), value=1.0), torch.cat([head, bias[:, None]], dim=1)


def require_one_vocabulary(student_head: Float[Tensor, "V H"], teacher_head: Float[Tensor, "U G"]) -> None:
    """A ValueError where the heads have not the same rows."""
    if student_head.shape[0] != teacher_head.shape[0]:
        raise ValueError(
            f"the student's head has {student_head.shape[0]} rows and the teacher's {teacher_head.shape[0]}; "
            "slice both to the shared vocabulary first (discnb.models.shared_vocabulary)"
        )


def pick_label(
    found: Float[Tensor, " N"], s: Float[Tensor, "N tile"], labels: Int[Tensor, " N"], columns: slice
) -> Float[Tensor, " N"]:
    """The labels' logits so far: from this tile where the label is in it, else what was `found` before."""
    inside = (labels >= columns.start) & (labels < columns.stop)
    at = torch.where(inside, labels - columns.start, 0)
    return torch.where(inside, s.gather(1, at[:, None])[:, 0], found)


def memory_for_logits(device: torch.device) -> int:
    """Bytes of logits that may be kept for backward where the caller does not say."""
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
        average: Callable[[Tensor], Average] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tiles, kept = Tiles(hidden, head, teacher_hidden, teacher_head, tile), []
        sums, label_logit = _Sums(tiles, len(hidden), temperature), tiles.new(len(hidden)).zero_()
        for columns in tiles:
            s, t = tiles.project(columns)
            memory -= s.nbytes + t.nbytes
            if memory >= 0:
                kept.append((s, t))
            label_logit = pick_label(label_logit, s, labels, columns)
            sums.fold(s, t)
        sums.close()
        entropy, kl = sums.log_z1 - sums.mean, sums.kl
        ce = torch.where(labels >= 0, sums.s_top + sums.log_z1 - label_logit, 0.0)

        again = None
        if average is not None and len((averages := average(entropy)).where):
            where, rows, weights = averages._replace(weights=averages.weights.to(tiles.dtype))
            again = (where, rows, weights), _Sums(tiles, len(where), temperature)
            for number, columns in enumerate(tiles):
                if number < len(kept):
                    s, t = (logits[at] for logits, at in zip(kept[number], (rows, where), strict=True))
                else:
                    s, t = tiles.project(columns, rows=(rows.flatten(), where))
                again[1].fold(_mean_of(s.view(*rows.shape, -1), weights), t)
            again[1].close()
            kl = kl.index_copy(0, where, again[1].kl)

        ctx.save_for_backward(hidden, head, teacher_hidden, teacher_head, labels)
        ctx.temperature, ctx.width, ctx.kept, ctx.head_gradient = temperature, tiles.width, kept, head_gradient
        ctx.sums, ctx.again = sums, again
        ctx.set_materialize_grads(False)
        return kl, ce, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # a gradient may be taken inside an autocast region, which would round the products
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            return (*_gradients(ctx, *grads), *[None] * 8)


def _gradients(
    ctx: Any, d_kl: Tensor | None, d_ce: Tensor | None, d_entropy: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the student's hidden states [N, H] and head [V, H]."""
    hidden, head, teacher_hidden, teacher_head, labels = ctx.saved_tensors
    tiles, sums, again = Tiles(hidden, head, teacher_hidden, teacher_head, ctx.width), ctx.sums, ctx.again
    want_hidden, want_head = ctx.needs_input_grad[:2]
    d_hidden = torch.zeros_like(tiles.hidden) if want_hidden else None  # summed over tiles
    d_head = ctx.head_gradient
    if d_head is None and want_head:
        d_head = torch.empty(head.shape, dtype=tiles.dtype, device=head.device)
    if d_ce is not None:
        d_ce = torch.where(labels >= 0, d_ce, 0.0)
    if d_kl is not None and again is not None:
        (where, rows, weights), averaged = again
        d_kl, d_kl_averaged = d_kl.index_fill(0, where, 0.0), d_kl[where]
    for number, columns in enumerate(tiles):
        kept = number < len(ctx.kept)
        s, t = ctx.kept[number] if kept else tiles.project(columns, teacher=d_kl is not None)
        d_s = None  # [N, tile]
        if d_kl is not None:
            d_s = sums.kl_gradient(s, t, d_kl)
            if again is not None:
                d_mean = averaged.kl_gradient(_mean_of(s[rows], weights), t[where], d_kl_averaged)  # [S, tile]
                for j in range(rows.shape[1]):
                    d_s.index_add_(0, rows[:, j], weights[:, j, None] * d_mean)
        if d_ce is not None or d_entropy is not None:
            # ∂ce/∂s = softmax(s) − [label]; ∂entropy/∂s = −softmax(s)·((s − top) − mean)
            s = s - sums.s_top[:, None]
            q = s.sub(sums.log_z1[:, None]).exp_()
            factor = 0.0 if d_ce is None else d_ce[:, None]
            q *= factor if d_entropy is None else factor - d_entropy[:, None] * (s - sums.mean[:, None])
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


def _mean_of(logits: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the second axis of [S, w, tile]."""
    mean = logits[:, 0] * weights[:, 0, None]
    for j in range(1, weights.shape[1]):
        mean.addcmul_(logits[:, j], weights[:, j, None])
    return mean


class _Sums:
    """The running sums of rows [N] of logits, over the tiles folded in so far."""

    def __init__(self, tiles: "Tiles", N: int, temperature: float) -> None:
        self.temperature = temperature
        # Of the student: greatest logit so far, Σ e^(s−top), Σ e^(s−top)(s−top), Σ e^((s−top)/τ). Of the teacher:
        # greatest logit, Σ e^((t−top)/τ), Σ e^((t−top)/τ)((t−top) − (s−top)). All relative to the top so far.
        self.s_top, self.t_top = (tiles.new(N).fill_(-torch.inf) for _ in range(2))
        self.z1, self.moment, self.z, self.t_z, self.gap = (tiles.new(N).zero_() for _ in range(5))

    def fold(self, s: Tensor, t: Tensor) -> None:
        """Add a tile of the student's and the teacher's logits, each [N, tile]."""
        temperature = self.temperature
        top = torch.maximum(self.s_top, s.amax(1))
        fall = (self.s_top - top).nan_to_num(neginf=0.0)  # the sums are 0 before the first tile
        moment = fall.exp() * (self.moment + fall * self.z1)
        z1, z = fall.exp() * self.z1, (fall / temperature).exp() * self.z
        t_top = torch.maximum(self.t_top, t.amax(1))
        t_fall = (self.t_top - t_top).nan_to_num(neginf=0.0)
        gap = (t_fall / temperature).exp() * (self.gap + (t_fall - fall) * self.t_z)
        t_z = (t_fall / temperature).exp() * self.t_z
        self.s_top, self.t_top = top, t_top

        s, t = s - top[:, None], t - t_top[:, None]
        e = (s / temperature).exp_()
        self.z = z + e.sum(1)
        torch.exp(s, out=e)
        self.z1 = z1 + e.sum(1)
        self.moment = moment + torch.linalg.vecdot(e, s)
        torch.div(t, temperature, out=e).exp_()
        self.t_z = t_z + e.sum(1)
        self.gap = gap + torch.linalg.vecdot(e, t.sub_(s))

    def close(self) -> None:
        """All tiles are in: the logarithms of the sums, the mean of s − top under softmax(s), and the KL."""
        self.log_z1, self.log_z, self.t_log_z = self.z1.log(), self.z.log(), self.t_z.log()
        self.mean = self.moment / self.z1
        self.kl = self.gap / self.t_z / self.temperature - self.t_log_z + self.log_z

    def kl_gradient(self, s: Tensor, t: Tensor, d_kl: Tensor) -> Tensor:
        """d_kl · ∂kl/∂s = d_kl · (softmax(s/τ) − softmax(t/τ)) / τ on a tile."""
        d_s = s.sub(self.s_top[:, None]).div_(self.temperature).sub_(self.log_z[:, None]).exp_()
        d_s -= t.sub(self.t_top[:, None]).div_(self.temperature).sub_(self.t_log_z[:, None]).exp_()
        return d_s.mul_((d_kl / self.temperature)[:, None])


class Tiles:
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

    def project(
        self, columns: slice, *, teacher: bool = True, rows: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Student and teacher logits [N, tile], or of the given rows of each; the teacher's empty when not wanted."""
        hidden, teacher_hidden = self.hidden, self.teacher_hidden
        if rows is not None:
            hidden, teacher_hidden = hidden[rows[0]], teacher_hidden[rows[1]]
        s = hidden @ self.head_rows(columns).T
        t = teacher_hidden @ self.teacher_head[columns].to(self.dtype).T if teacher else s[:, :0]
        return s, t
