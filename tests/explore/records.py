"""Made-up records: what the explorer is tested on where no model is needed."""

import numpy as np

from discnb.explore.record import TEMPERATURES, Prediction, TokenRecord

HOSTILE = [
    "<script>", "alert(1)", "</script>", " x<y", " if", " $x^2$", "\n", "&lt;", " <img src=x onerror=alert(1)>", "\t",
    "日本", "", "𝔸", ' "quoted"', "</style>", "<!--", "-->", " \\(a\\)", "=1+1", "\u2028",
]  # fmt: skip
PLAIN = [" the", " force", " is", " 4", ".2", "\n", " so", " F", "=", "ma"]


def made_up(length=40, seed=0, *, words=PLAIN, domain="Mathematics", students=("before", "after"), vocabulary=600):
    """A record of `length` tokens with random signals; the texts run through `words` over and over."""
    rng = np.random.default_rng(seed)
    tokens = tuple(words[i % len(words)] for i in range(length))
    ends = np.cumsum([len(token) for token in tokens])
    T = length - 1

    def prediction():
        candidates = [rng.choice(vocabulary, 10, replace=False) for _ in range(T)]
        return Prediction(
            entropy=rng.gamma(2.0, 0.7, T).astype(np.float32),
            ce=rng.gamma(1.0, 1.5, T).astype(np.float32),
            candidates=np.array(candidates, dtype=np.int32).reshape(T, 10),
            log_probabilities=-rng.gamma(1.0, 1.5, (T, 10)).cumsum(1).astype(np.float32),
        )

    return TokenRecord(
        tokens=tokens,
        offsets=np.stack([ends - [len(token) for token in tokens], ends], axis=1),
        labels=rng.integers(0, vocabulary, T).astype(np.int32),
        proof=(length // 3, 2 * length // 3),
        title=f"Sample {seed}: <b>bold</b> & $x$",
        domain=domain,
        temperatures=TEMPERATURES,
        kl={
            student: (scale * rng.exponential(1.0, T) / np.square(TEMPERATURES)[:, None]).astype(np.float32)
            for student, scale in zip(students, (4.0, 1.0), strict=False)
        },
        predictions={name: prediction() for name in (*students, "teacher")},
        names={i: HOSTILE[i] if i < len(HOSTILE) else f" w{i}" for i in range(vocabulary)},
    )
