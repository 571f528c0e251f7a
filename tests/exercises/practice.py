"""Right answers and known-wrong ones of the exercises in `discnb.exercises.practice`."""

ANSWERS = {
    "training-proof-weight": (2.0, [1.9, 2.1, 2.5]),
    "training-drift": (
        ([2, 2, 1, 1], [1, 1, 2, 2]),
        [([2, 2, 1, 1], [2, 2, 1, 1]), ([1, 1, 2, 2], [1, 1, 2, 2]), ([2, 0, 1, 0], [0, 1, 0, 2]), ([1], [1])],
    ),
    "full-run-cache": (26.3, [25.7, 61.1]),
    "full-run-steps": (727, [726, 5815]),
    "help-mass": (1.2, [1.1, 3]),
    "help-seeds": (1 / 32, [1 / 16, 0.5]),
    "evaluation-mean": (30 / 110, [0.6, 0.3]),
    "evaluation-perplexity": (0.60653, [0.5, 1.6487]),
    "gguf-q8-bits": (8.5, [8, 9]),
    "gguf-width": (768, [640, 576]),
    "gguf-weighted-error": (
        lambda w, q, a: (a * (w - q) ** 2).sum(),
        [
            lambda w, q, a: ((w - q) ** 2).sum(),
            lambda w, q, a: (a * (w - q).abs()).sum(),
            lambda w, q, a: a * (w - q) ** 2,
            lambda w, q: 0.0,
        ],
    ),
    "llama-prompt": (
        "Solve the following problem carefully and show a rigorous derivation.\n\nProblem:\nWhat is 2 + 2?\n\nProof:\n",
        ["What is 2 + 2?", "Problem:\nWhat is 2 + 2?\n\nProof:\n", 4],
    ),
    "llama-context": (24, [256, 1024]),
}  # fmt: skip
