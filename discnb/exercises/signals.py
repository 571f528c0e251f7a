"""Exercises of the chapters on KL, pivots, smoothing and the objective."""

import math
from typing import Any

import torch

from ..signal import pivots
from . import exercise


@exercise("pivots-fewest", "How many defined differences does a sequence need at least for one pivot at 2 sigma?")
def fewest(answer: Any) -> str | None:
    for count in range(1, 50):
        kl = torch.zeros(1, count + 1, dtype=torch.float64)
        kl[0, -1] = 1.0  # one difference of 1 among zeros: no set has a further outlier
        if pivots(kl, torch.ones_like(kl, dtype=torch.bool)).any():
            if answer == count:
                return None
            return "build a sequence of zeros that ends in one jump, and lengthen it until `pivots` marks it"
    raise AssertionError("no length gives a pivot")


@exercise("pivots-chance", "What share of defined positions is marked at 2 sigma when the KL is i.i.d. exponential?")
def chance(answer: Any) -> str | None:
    # the difference of two exponentials is Laplace, so D is exponential: mean 1, deviation 1, threshold 3
    if math.isclose(float(answer), math.exp(-3), abs_tol=0.004):
        return None
    return "draw 1,000 sequences of 500 with torch.distributions.Exponential(1.0) and take the mean of `pivots`"
