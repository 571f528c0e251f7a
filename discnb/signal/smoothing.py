"""The DG limit: averaging the student where it is unsure.

A head is affine, so the mean of logits over a window is the head applied to the mean of the hidden states: smoothing
can be done to either. Where logits are at hand, `window_average` costs no product; elsewhere `smooth_hidden` costs no
logits.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .discrepancy import exceeds
from .head import Average


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
    batch, position, neighbour, valid = _windows(mask, where & mask, window, causal)
    if len(batch) == 0 or window == 1:
        return hidden
    # low-precision hidden states are averaged in float32; a masked neighbour may hold NaN
    rows = hidden[batch[:, None], neighbour].to(torch.promote_types(hidden.dtype, torch.float32))
    mean = torch.where(valid[..., None], rows, 0.0).sum(1) / valid.sum(1, keepdim=True)  # [S, H]
    return hidden.index_put((batch, position), mean.to(hidden.dtype))


def window_average(
    mask: Bool[Tensor, " T"], where: Bool[Tensor, " T"], *, window: int = 3, causal: bool = False
) -> Average:
    """The same averages over logits, for `token_signals` on the valid rows of one sequence: N = mask.sum()."""
    _, position, neighbour, valid = _windows(mask[None], (where & mask)[None], window, causal)
    row = mask.cumsum(0) - 1  # of each valid position
    weights = valid.double() / valid.sum(1, keepdim=True)
    return Average(row[position], torch.where(valid, row[neighbour], row[position][:, None]), weights)


def _windows(mask: Tensor, where: Tensor, window: int, causal: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each position in `where`: its batch and position [S], its neighbours and which of them count [S, window]."""
    if window < 1 or (window % 2 == 0 and not causal):
        raise ValueError(f"window is {window}; expected an odd number >= 1 (any number >= 1 with causal=True)")
    batch, position = where.nonzero(as_tuple=True)
    first = 1 - window if causal else -(window // 2)
    neighbour = position[:, None] + torch.arange(first, first + window, device=mask.device)
    inside = (neighbour >= 0) & (neighbour < mask.shape[1])
    neighbour = neighbour.clamp(0, mask.shape[1] - 1)
    return batch, position, neighbour, inside & mask[batch[:, None], neighbour]
