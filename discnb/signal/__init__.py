"""Pure tensor mathematics on per-token signals: no models, no files.

`head` turns two sequences of hidden states into KL, cross-entropy and entropy per token; `discrepancy` looks for
jumps in the KL sequence; `smoothing` averages hidden states where the student is unsure.
"""

from .discrepancy import discrepancy, exceeds, gap_energy, pivots
from .head import Average, TokenSignals, token_signals, with_bias
from .smoothing import singular_tokens, smooth_hidden, window_average

__all__ = [
    "Average",
    "TokenSignals",
    "discrepancy",
    "exceeds",
    "gap_energy",
    "pivots",
    "singular_tokens",
    "smooth_hidden",
    "token_signals",
    "window_average",
    "with_bias",
]
