"""From hidden states and heads to the three signals per token: KL, cross-entropy and entropy."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


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
) -> TokenSignals:
    """KL(teacher ‖ student) at `temperature`, cross-entropy and student entropy at 1, of each token in nats.

    Exact over the whole vocabulary. A negative label (padding) has cross-entropy 0. Gradients flow to the student's
    hidden states and head; the teacher is constant.

    This is the dense form: it holds the logits of all N tokens, so callers give it one sequence at a time.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected a number > 0")
    if student_head.shape[0] != teacher_head.shape[0]:
        raise ValueError(
            f"the student's head has {student_head.shape[0]} rows and the teacher's {teacher_head.shape[0]}; "
            "slice both to the shared vocabulary first (discnb.models.shared_vocabulary)"
        )
    student = _logits(student_hidden, student_head)  # [N, V]
    with torch.no_grad():
        log_p = F.log_softmax(_logits(teacher_hidden, teacher_head) / temperature, dim=-1)  # [N, V]
    log_q = F.log_softmax(student / temperature, dim=-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    log_q1 = F.log_softmax(student, dim=-1)
    labelled = labels >= 0
    picked = log_q1.gather(-1, torch.where(labelled, labels, 0)[:, None])[:, 0]
    return TokenSignals(
        kl=kl,
        ce=torch.where(labelled, -picked, 0.0),
        entropy=-(log_q1.exp() * log_q1).sum(-1),
    )


def _logits(hidden: Tensor, head: Tensor) -> Tensor:
    """Logits `[N, V]` in at least float32, whatever the inputs' precision."""
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, head.dtype), torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden.to(dtype) @ head.to(dtype).T
