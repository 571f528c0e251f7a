"""Pure tensor mathematics on per-token signals: no models, no files.

`head` turns two sequences of hidden states into KL, cross-entropy and entropy per token; `discrepancy` looks for
jumps in the KL sequence; `smoothing` averages hidden states where the student is unsure; `divergences` holds the rivals
of forward KL.
"""

from .discrepancy import discrepancy, exceeds, gap_energy, pivots
from .divergences import DIVERGENCES, token_cross_entropy, token_divergence
from .head import Average, TokenSignals, token_signals, with_bias
from .smoothing import singular_tokens, smooth_hidden, window_average

__all__ = [
    "DIVERGENCES",
    "Average",
    "TokenSignals",
    "discrepancy",
    "exceeds",
    "gap_energy",
    "pivots",
    "singular_tokens",
    "smooth_hidden",
    "token_cross_entropy",
    "token_divergence",
    "token_signals",
    "window_average",
    "with_bias",
]
