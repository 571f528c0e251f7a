"""The slow, obvious float64 reference: loops over one sequence, straight from the design's table."""

import math
from fractions import Fraction

import numpy as np
import torch.nn.functional as F


def log_softmax(logits):
    logits = np.asarray(logits, dtype=np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def token_signals(student_logits, teacher_logits, labels, temperature):
    """kl, ce, entropy of each row of `[N, V]` logits; ce is 0 for a negative label."""
    p, q = log_softmax(teacher_logits / temperature), log_softmax(student_logits / temperature)
    q1 = log_softmax(student_logits)
    kl = (np.exp(p) * (p - q)).sum(-1)
    ce = np.array([0.0 if y < 0 else -row[y] for row, y in zip(q1, labels, strict=True)])
    return kl, ce, -(np.exp(q1) * q1).sum(-1)


def dense_token_signals(student_hidden, student_head, teacher_hidden, teacher_head, labels, temperature=2.0):
    """kl, ce, entropy by plain autograd over the whole logits, for gradients."""
    student, teacher = student_hidden @ student_head.T, teacher_hidden @ teacher_head.T
    p, q = (F.log_softmax(logits / temperature, dim=-1) for logits in (teacher.detach(), student))
    q1 = F.log_softmax(student, dim=-1)
    ce = F.cross_entropy(student, labels, ignore_index=-100, reduction="none")
    return (p.exp() * (p - q)).sum(-1), ce, -(q1.exp() * q1).sum(-1)


def discrepancy(kl, mask, window=1):
    D, defined = np.zeros(len(kl)), np.zeros(len(kl), dtype=bool)
    for t in range(len(kl)):
        if t + window < len(kl) and all(mask[t : t + window + 1]):
            defined[t] = True
            D[t] = sum(abs(kl[t + j] - kl[t]) / j for j in range(1, window + 1)) / window
    return D, defined


def exceeds(values, valid, sigma):
    chosen = [values[t] for t in range(len(values)) if valid[t]]
    if not chosen:
        return np.zeros(len(values), dtype=bool)
    # exact rational arithmetic: floats are fractions, and x > mean + s·std without a square root or a rounding
    chosen = [Fraction(float(x)) for x in chosen]
    mean = sum(chosen) / len(chosen)
    variance = sum((x - mean) ** 2 for x in chosen) / len(chosen)
    above = [Fraction(float(x)) - mean for x in values]
    marked = [valid[t] and above[t] > 0 and above[t] ** 2 > Fraction(sigma) ** 2 * variance for t in range(len(values))]
    return np.array(marked, dtype=bool)


def pivots(kl, mask, sigma=2.0, window=1, align="forward"):
    D, defined = discrepancy(kl, mask, window)
    forward = exceeds(D, defined, sigma)
    if align == "forward":
        return forward
    landed = np.zeros(len(kl), dtype=bool)
    for t in range(len(kl) - 1):
        landed[t + 1] = forward[t] and (align == "backward" or kl[t + 1] > kl[t])
    return landed


def gap_energy(kl, mask, window=1):
    D, defined = discrepancy(kl, mask, window)
    return 0.5 * math.fsum(d * d for d in D[defined]) / defined.sum() if defined.any() else 0.0


def smooth(rows, mask, where, window=3, causal=False):
    """Rows `[T, ...]` (hidden states or logits alike) averaged over the valid window at `where`."""
    out = np.array(rows, dtype=np.float64)
    for t in range(len(rows)):
        if where[t] and mask[t]:
            first = t - window + 1 if causal else t - window // 2
            near = [s for s in range(first, first + window) if 0 <= s < len(rows) and mask[s]]
            out[t] = np.mean([rows[s] for s in near], axis=0)
    return out


def disc_loss(student_logits, teacher_logits, labels, mask, proof_mask, proof_weight, objective):
    """loss, ce, kd, energy of one sequence from its dense logits `[T, V]`: smoothing averages logits here."""
    o = objective
    _, ce, entropy = token_signals(student_logits, teacher_logits, labels, o.temperature)
    singular = exceeds(entropy, mask, o.singular_sigma)
    smoothed = smooth(student_logits, mask, singular, o.smoothing_window, o.causal)
    kl, _, _ = token_signals(smoothed, teacher_logits, labels, o.temperature)
    pivot = pivots(kl, mask, o.pivot_sigma, o.window, o.align)
    tokens = [t for t in range(len(labels)) if mask[t]]
    if not tokens:
        return 0.0, 0.0, 0.0, 0.0
    share = {t: proof_weight if proof_mask[t] else 1.0 for t in tokens}
    ce_mean = sum(share[t] * ce[t] for t in tokens) / sum(share.values())
    kd = o.temperature**2 * sum((o.amplifier if pivot[t] else 1.0) * kl[t] for t in tokens) / len(tokens)
    energy = gap_energy(kl, mask, o.window)
    return o.ce_weight * ce_mean + o.kd_weight * kd + o.energy_weight * energy, ce_mean, kd, energy
