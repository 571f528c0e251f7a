"""A loss that is a mean over sequences, with memory for one of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Terms = TypeVar("Terms", bound=tuple[Tensor, ...])


def sequence_mean(
    terms: Callable[[int, Float[Tensor, "T H"], Float[Tensor, "V H"], Float[Tensor, "V H"] | None], Terms],
    hidden: Float[Tensor, "B T H"],
    head: Float[Tensor, "V H"],
) -> Terms:
    """Mean over sequences b of `terms(b, hidden[b], head, head_gradient)`, named tuples of scalars, the loss first.

    The loss is differentiable in `hidden` and `head`, the other terms are constants. Each sequence's gradient is taken
    as soon as its loss is known and what it needed is dropped, so peak memory does not grow with B. All of them add
    to one `head_gradient` (see `token_signals`), float32 at least; it is None where none is wanted.
    """
    if torch.is_grad_enabled() and (hidden.requires_grad or head.requires_grad):
        kind: list[type] = []
        means = _SequenceMean.apply(terms, kind, hidden, head)
        return kind[0](*means)
    rows = [terms(b, states, head, None) for b, states in enumerate(hidden)]
    return type(rows[0])(*_mean(rows))


class _SequenceMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, terms: Callable, kind: list[type], hidden: Tensor, head: Tensor) -> tuple[Tensor, ...]:
        d_hidden, rows = torch.zeros_like(hidden), []
        d_head = torch.zeros_like(head, dtype=torch.promote_types(head.dtype, torch.float32))
        weight = head.detach().requires_grad_()
        for b in range(len(hidden)):
            with torch.enable_grad():
                states = hidden[b].detach().requires_grad_()
                row, of_head = terms(b, states, weight, d_head), None
                if row[0].requires_grad:  # not so where every label is masked
                    d_hidden[b], of_head = torch.autograd.grad(row[0], (states, weight), allow_unused=True)
                    if of_head is not None:  # from terms that do not add it to `d_head` themselves
                        d_head += of_head
            rows.append([term.detach() for term in row])
            kind[:] = [type(row)]
            del row, of_head  # and with it what this sequence kept, before the next one
        ctx.save_for_backward(d_hidden, d_head)
        ctx.sequences, ctx.head_dtype = len(rows), head.dtype
        means = _mean(rows)
        ctx.mark_non_differentiable(*means[1:])
        return means

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_loss: Tensor, *_: Any) -> tuple[Any, ...]:
        d_hidden, d_head = ctx.saved_tensors
        share = d_loss / ctx.sequences  # one pass over the head's gradient, not two
        return None, None, share * d_hidden, (share * d_head).to(ctx.head_dtype)


def _mean(rows: list) -> tuple[Tensor, ...]:
    return tuple(torch.stack(tuple(column)).mean() for column in zip(*rows, strict=True))
