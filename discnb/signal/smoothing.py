"""The DG limit: averaging the student where it is unsure.

A head is affine, so the mean of logits over a window is the head applied to the mean of the hidden states. Smoothing
therefore happens in hidden space, and costs no logits.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .discrepancy import exceeds


def singular_tokens(
    entropy: Float[Tensor, "*B T"], mask: Bool[Tensor, "*B T"], *, sigma: float = 1.0
) -> Bool[Tensor, "*B T"]:
    """Valid positions whose student entropy exceeds its sequence's mean + sigma·std."""
    return exceeds(entropy, mask, sigma)


def smooth_hidden(
    hidden: Float[Tensor, "B T H"],
    mask: Bool[Tensor, "B T"],
    where: Bool[Tensor, "B T"],
    *,
    window: int = 3,
    causal: bool = False,
) -> Float[Tensor, "B T H"]:
    """Hidden states with those at `where` replaced by the mean over their valid window neighbours.

    Gradient flows through the mean. The centred window of odd size w is t−(w−1)/2 .. t+(w−1)/2; `causal=True` takes
    t−w+1 .. t instead, because the centred one reads h_{t+1}, which has already seen the label of position t. Windows
    shrink at sequence edges and at invalid neighbours. Positions outside `mask` are never replaced.
    """
    if window < 1 or (window % 2 == 0 and not causal):
        raise ValueError(f"window is {window}; expected an odd number >= 1 (any number >= 1 with causal=True)")
    where = where & mask
    batch, position = where.nonzero(as_tuple=True)  # [S] each: only these rows are averaged
    if len(batch) == 0 or window == 1:
        return hidden
    first = 1 - window if causal else -(window // 2)
    neighbour = position[:, None] + torch.arange(first, first + window, device=hidden.device)  # [S, window]
    inside = (neighbour >= 0) & (neighbour < hidden.shape[1])
    neighbour = neighbour.clamp(0, hidden.shape[1] - 1)
    valid = (inside & mask[batch[:, None], neighbour])[..., None]  # [S, window, 1]
    # low-precision hidden states are averaged in float32; a masked neighbour may hold NaN
    rows = hidden[batch[:, None], neighbour].to(torch.promote_types(hidden.dtype, torch.float32))
    mean = torch.where(valid, rows, 0.0).sum(1) / valid.sum(1)  # [S, H]
    return hidden.index_put((batch, position), mean.to(hidden.dtype))
