"""The discrepancy operator on functions of a real variable, where jumps, slopes and Cantor parts can be told apart.

`discnb.signal.discrepancy` is its form on a lattice of spacing 1. Functions here take and return arrays.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Function = Callable[[np.ndarray], np.ndarray]

NODES, REACH = 400, 10.0
"""Quadrature points, and how many e-folds below eps they reach."""
DIGITS = 40
"""Ternary digits of x that the Cantor function reads, more than float64 has."""


def absolute(x: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """|x − ½|: a kink, and slope 1 everywhere else."""
    return np.abs(np.asarray(x, dtype=np.float64) - 0.5)


def step(x: Float[np.ndarray, "*N"], height: float = 1.0) -> Float[np.ndarray, "*N"]:
    """0 before ½, and `height` from there on."""
    return np.where(np.asarray(x) < 0.5, 0.0, height)


def cantor(x: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """The Cantor function: continuous, from 0 to 1, and flat outside a set of length 0; constant beyond [0, 1]."""
    x = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
    value, weight, open_ = np.where(x == 1.0, 1.0, 0.0), 0.5, x < 1.0
    for _ in range(DIGITS):
        x = 3.0 * x
        digit = np.minimum(np.floor(x), 2.0)
        # a first digit 1 puts x into a removed third: the value is decided
        value = value + np.where(open_, weight * (digit >= 1), 0.0)
        open_ = open_ & (digit != 1)
        x, weight = x - digit, weight / 2
    return value


def operator(
    f: Function, x: Float[np.ndarray, " N"], eps: float, *, nodes: int = NODES, reach: float = REACH
) -> Float[np.ndarray, " N"]:
    """D f(x) at scale eps: (1/eps) · ∫ |f(t) − f(x)| / (t − x) dt over t from x to x + eps.

    With t = x + eps·e^(−s) the integral is (1/eps) · ∫ |f(t) − f(x)| ds over s from 0 to infinity, where even steps of
    a midpoint rule see what the function does however close to x.
    """
    if not eps > 0:
        raise ValueError(f"eps is {eps}; expected a number > 0, the length the operator looks ahead")
    x = np.asarray(x, dtype=np.float64)
    width = reach / nodes
    offsets = eps * np.exp(-width * (np.arange(nodes) + 0.5))  # [nodes]
    here, total = f(x), np.zeros_like(x)
    for offset in offsets:
        total += np.abs(f(x + offset) - here)
    return total * width / eps


def midpoints(count: int) -> Float[np.ndarray, " N"]:
    """The middles of `count` equal parts of [0, 1]."""
    return (np.arange(count) + 0.5) / count


def width_of(D: Float[np.ndarray, " N"], share: float = 0.9) -> float:
    """The smallest fraction of the points that holds `share` of the sum of D."""
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; expected a number in (0, 1]")
    running = np.cumsum(np.sort(D)[::-1])
    return float(np.searchsorted(running, share * running[-1] * (1 - 1e-12)) + 1) / len(D)


def through(values: Float[np.ndarray, " N"], kind: str) -> Function:
    """A function on [0, N − 1] with the given values at the whole numbers, and `kind` between them.

    `linear` is absolutely continuous, `step` moves by jumps alone, `cantor` is continuous and flat almost everywhere.
    """
    between = {"linear": lambda u: u, "step": lambda u: (u > 0.5).astype(np.float64), "cantor": cantor}
    if kind not in between:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(between)}")
    values = np.asarray(values, dtype=np.float64)

    def function(x: np.ndarray) -> np.ndarray:
        x = np.clip(np.asarray(x, dtype=np.float64), 0, len(values) - 1)
        left = np.minimum(np.floor(x).astype(int), len(values) - 2)
        return values[left] + (values[left + 1] - values[left]) * between[kind](x - left)

    return function
