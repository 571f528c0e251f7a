"""The discrepancy operator on a KL sequence, the pivots it marks, and the gap energy.

Source of the operator: the `DISC v3` model card; of the discrete form: `design.md`, section 1. A sequence is the last
axis of `[..., T]`; nothing is averaged or differenced across sequences or across masked positions, and all
statistics are computed in float64 with the population standard deviation (ddof 0).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ALIGNMENTS = ("forward", "backward", "rise")
TIE = 1e-12
"""Values this close to a threshold, in units of the sequence's spread, are ties with it."""


def discrepancy(
    kl: Float[Tensor, "*B T"], mask: Bool[Tensor, "*B T"], *, window: int = 1
) -> tuple[Float[Tensor, "*B T"], Bool[Tensor, "*B T"]]:
    """Forward discrepancy D_t = (1/n) Σ_{j=1..n} |kl_{t+j} − kl_t| / j in nats, and where it is defined.

    n is the window. D is defined where all of t..t+n are valid, and 0 elsewhere. It is differentiable in `kl` (the
    subgradient of |x| at 0 is 0) and keeps its dtype.
    """
    D, defined = _discrepancy64(kl, mask, window)
    return D.to(kl.dtype), defined


def pivots(
    kl: Float[Tensor, "*B T"],
    mask: Bool[Tensor, "*B T"],
    *,
    sigma: float = 2.0,
    window: int = 1,
    align: str = "forward",
) -> Bool[Tensor, "*B T"]:
    """Positions where D_t > mean(D) + sigma·std(D), over each sequence's defined positions.

    `align="forward"` marks t (the operator looks ahead), `"backward"` marks the landing token t+1, and `"rise"` marks
    t+1 only where the KL rises.
    """
    if align not in ALIGNMENTS:
        raise ValueError(f"align is {align!r}; expected one of {', '.join(ALIGNMENTS)}")
    with torch.no_grad():
        D, defined = _discrepancy64(kl, mask, window)
        marked = exceeds(D, defined, sigma)
        if align == "forward":
            return marked
        if align == "rise":
            marked[..., :-1] &= kl[..., 1:] > kl[..., :-1]
        # a defined position has a successor, so nothing is lost at the end
        return torch.cat([torch.zeros_like(marked[..., :1]), marked[..., :-1]], dim=-1)


def gap_energy(kl: Float[Tensor, "*B T"], mask: Bool[Tensor, "*B T"], *, window: int = 1) -> Float[Tensor, "*B"]:
    """Gap energy ½ · mean(D²) of each sequence, in nats²; 0 where no difference is defined. Gradient flows to `kl`."""
    D, defined = _discrepancy64(kl, mask, window)
    return (0.5 * D.square().sum(-1) / defined.sum(-1).clamp(min=1)).to(kl.dtype)


def exceeds(values: Float[Tensor, "*B T"], valid: Bool[Tensor, "*B T"], sigma: float) -> Bool[Tensor, "*B T"]:
    """Valid positions where the value is more than `sigma` population standard deviations above its sequence's mean."""
    if not sigma >= 0:
        raise ValueError(f"sigma is {sigma}; expected a number >= 0 of standard deviations")
    if values.shape[-1] == 0:
        return valid.clone()
    values = values.detach().double()
    # In units of the spread, measured from the largest value, the statistics are free of scale and cancellation; a tie
    # with the threshold (one outlier among five ties with 2σ) must not be marked because it rounds upwards.
    top = values.masked_fill(~valid, -torch.inf).amax(-1, keepdim=True)
    deviation = (values - top).masked_fill(~valid, 0.0)
    deviation = deviation / -deviation.amin(-1, keepdim=True).clamp(max=-torch.finfo(torch.float64).tiny)
    count = valid.sum(-1, keepdim=True).clamp(min=1)
    mean = deviation.sum(-1, keepdim=True) / count
    variance = (deviation - mean).masked_fill(~valid, 0.0).square().sum(-1, keepdim=True) / count
    return valid & (deviation > mean + sigma * variance.sqrt() + TIE)


def _discrepancy64(kl: Tensor, mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    if window < 1:
        raise ValueError(f"window is {window}; expected at least 1 (the neighbour itself)")
    if kl.shape != mask.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"mask is {mask.dtype} of shape {tuple(mask.shape)}; expected torch.bool of kl's shape {tuple(kl.shape)}"
        )
    # masked values may be anything, NaN included: they must reach neither the sums nor the gradient
    kl = torch.where(mask, kl.double(), 0.0)
    if kl.shape[-1] <= window:
        return kl * 0.0, torch.zeros_like(mask)
    length = kl.shape[-1] - window
    inside = mask[..., :length].clone()
    steps = torch.zeros_like(kl[..., :length])
    for j in range(1, window + 1):
        inside &= mask[..., j : j + length]
        steps = steps + (kl[..., j : j + length] - kl[..., :length]).abs() / j
    pad = (0, window)
    D = torch.nn.functional.pad(torch.where(inside, steps / window, 0.0), pad)
    return D, torch.nn.functional.pad(inside, pad)
