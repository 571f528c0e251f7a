import math

import torch

from discnb.exercises import hint


def kl(teacher, student, temperature):
    p, q = (torch.log_softmax(logits / temperature, -1) for logits in (teacher, student))
    return (p.exp() * (p - q)).sum(-1)


ANSWERS = {
    "kl-by-hand": (0.1838, [0.192, 0.2652, 0.0]),
    "kl-function": (
        kl,
        [
            lambda t, s, tau: tau**2 * kl(t, s, tau),
            lambda t, s, tau: kl(t, s, 1.0),
            lambda t, s, tau: kl(s, t, tau),
            lambda t, s, tau: kl(t, s / tau, 1.0),
            lambda t, s, tau: kl(t, s, tau).mean(),
            lambda t, s: 0,
        ],
    ),
    "kl-hot": (0.125, [0.25, 0.5, 0.0]),
    "pivots-fewest": (6, [3, 5, 7]),
    "pivots-chance": (math.exp(-3), [0.2, 0.0228, 0.05]),
    "smoothing-edges": ([1.5, 3, 6, 7.5], [[1, 3, 6, 5], [0, 1.5, 3, 6], [0, 3, 6, 9], [1.5, 3]]),
    "smoothing-reads": (3, [7, 6, 0]),
    "smoothing-probabilities": ([[9, 0], [0, 1]], [[[0, 1], [0, 1]], [[4, 0], [0, 4]], [1, 2]]),
    "objective-worse": (([2, 2, 2], [0, 1, 0]), [([0, 1, 0], [2, 2, 2]), ([0, 5, 0], [0, 1, 0]), ([1, 1], [0, -2])]),
    "objective-batch": (0.5, [0.25, 1.0]),
    "objective-weight": (1.4, [3, 1.1, 1.2]),
}


def test_a_known_mistake_is_named():
    assert "bits" in hint("kl-by-hand", 0.2652)
    assert "τ²" in hint("kl-function", lambda t, s, tau: tau**2 * kl(t, s, tau))
    assert "only the student" in hint("kl-function", lambda t, s, tau: kl(t, s / tau, 1.0))
    assert "causal" in hint("smoothing-edges", [0, 1.5, 3, 6])
    assert "four tokens" in hint("objective-batch", 0.25)


def test_an_answer_that_cannot_be_judged_is_told_why():
    assert "could not be judged" in hint("kl-hot", "a lot")
