"""Exercises of the chapters on KL, pivots, smoothing and the objective."""

import math
from typing import Any

import torch

from ..objective import DiscObjective
from ..signal import gap_energy, pivots, smooth_hidden, token_signals
from . import exercise

TEACHER, STUDENT = (0.7, 0.2, 0.1), (0.4, 0.4, 0.2)


def _kl(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher ‖ student) of logits [N, V], by the engine with an identity for a head."""
    head = torch.eye(teacher.shape[1], dtype=torch.float64)
    labels = torch.zeros(len(teacher), dtype=torch.long)
    return token_signals(student.double(), head, teacher.double(), head, labels, temperature=temperature).kl


@exercise("kl-by-hand", "What is KL(teacher ‖ student), in nats, for (0.7, 0.2, 0.1) and (0.4, 0.4, 0.2)?")
def by_hand(answer: Any) -> str | None:
    p, q = (torch.tensor([row]).double().log() for row in (TEACHER, STUDENT))
    right, answer = _kl(p, q, 1.0).item(), float(answer)
    if math.isclose(answer, right, abs_tol=5e-4):
        return None
    if math.isclose(answer, _kl(q, p, 1.0).item(), abs_tol=5e-4):
        return "that is KL(student ‖ teacher): the probabilities outside the logarithm must be the teacher's"
    if math.isclose(answer, right / math.log(2), abs_tol=5e-4):
        return "that is in bits; nats take the natural logarithm"
    return "add up p·log(p/q) over the three tokens, with p the teacher's probability"


@exercise("kl-function", "Write kl(teacher, student, temperature) for logits [N, V]: the KL of each row, without τ².")
def function(answer: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64).mul(3)
    temperature = 2.0
    right = _kl(teacher, student, temperature)
    got = torch.as_tensor(answer(teacher, student, temperature)).double()
    if got.shape != right.shape:
        return f"it returns the shape {tuple(got.shape)}; expected one number for each of the {len(right)} rows"
    mistakes = {
        "it multiplies by τ²; that factor belongs to the loss": right * temperature**2,
        "it ignores the temperature": _kl(teacher, student, 1.0),
        "it gives KL(student ‖ teacher): the weights must be the teacher's probabilities": _kl(
            student, teacher, temperature
        ),
        "only the student's logits are divided by τ": _kl(teacher * temperature, student, temperature),
    }
    if torch.allclose(got, right, atol=1e-6):
        return None
    for said, wrong in mistakes.items():
        if torch.allclose(got, wrong, atol=1e-6):
            return said
    return "divide both by τ, take log_softmax of each, then sum p·(log p − log q) over the last axis"


@exercise("kl-hot", "Logits (1, 0) against (0, 0): to what does τ²·KL tend as τ grows?")
def hot(answer: Any) -> str | None:
    temperature = 1000.0
    teacher, student = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    if math.isclose(float(answer), temperature**2 * _kl(teacher, student, temperature).item(), abs_tol=1e-3):
        return None
    return "compute τ²·KL for τ = 10, 100, 1000; it is half a variance, that of the difference of the logits"


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
    if math.isclose(float(answer), math.exp(-3), rel_tol=1e-3):
        return None
    return "D is exponential too, so its deviation is its mean: how likely is it to exceed the mean by two of them?"


@exercise("smoothing-edges", "Hidden states 0, 3, 6, 9, all singular, centred window of 3: what are they smoothed?")
def edges(answer: Any) -> str | None:
    hidden = torch.tensor([0.0, 3.0, 6.0, 9.0])[None, :, None]
    everywhere = torch.ones(1, 4, dtype=torch.bool)

    def smoothed(causal: bool) -> torch.Tensor:
        return smooth_hidden(hidden, everywhere, everywhere, causal=causal).flatten()

    got = torch.as_tensor(answer, dtype=torch.float32).flatten()
    if got.shape != (4,):
        return f"there are {len(got)} numbers; expected four, one for each position"
    if torch.allclose(got, smoothed(causal=False)):
        return None
    if torch.allclose(got, smoothed(causal=True)):
        return "that is the causal window t−2..t; the centred one is t−1..t+1"
    return "at an edge the window shrinks: the mean is over the neighbours that exist, nothing is padded with zeros"


@exercise("smoothing-reads", "How many tokens that come after position t has a centred window of 7 read?")
def reads(answer: Any) -> str | None:
    T, t = 21, 10
    hidden = torch.arange(float(T))[None, :, None].requires_grad_()
    valid, where = torch.ones(1, T, dtype=torch.bool), torch.zeros(1, T, dtype=torch.bool)
    where[0, t] = True
    [gradient] = torch.autograd.grad(smooth_hidden(hidden, valid, where, window=7)[0, t].sum(), hidden)
    if answer == int((gradient[0, t + 1 :] != 0).sum()):
        return None
    return "h_t has read tokens 0..t, h_{t+1} one more: how far to the right does a window of 7 around t reach?"


@exercise(
    "smoothing-probabilities", "Give two rows of logits whose mean distribution is not the softmax of their mean."
)
def probabilities(answer: Any) -> str | None:
    rows = torch.as_tensor(answer, dtype=torch.float64)
    if rows.ndim != 2 or len(rows) != 2:
        return f"the answer has the shape {tuple(rows.shape)}; expected two rows of logits, e.g. [[0, 1], [2, 3]]"
    head = torch.eye(rows.shape[1], dtype=torch.float64)
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    smoothed = (smooth_hidden(rows[None], everywhere, everywhere)[0, 0] @ head.T).softmax(0)
    if (smoothed - rows.softmax(1).mean(0)).abs().max() > 0.05:
        return None
    return "the two distributions agree within 0.05: let each row be sure of a token, the one much more than the other"


@exercise(
    "objective-worse", "Give two KL sequences of the same length: the first with the larger mean, and the smaller E."
)
def worse(answer: Any) -> str | None:
    a, b = (torch.as_tensor(kl, dtype=torch.float64).flatten() for kl in answer)
    if len(a) != len(b) or len(a) < 2:
        return f"the sequences have {len(a)} and {len(b)} values; expected two or more, the same number in both"
    if min(a.min(), b.min()) < 0:
        return "a KL is never negative"
    energies = [gap_energy(kl[None], torch.ones(1, len(kl), dtype=torch.bool)).item() for kl in (a, b)]
    if not a.mean() > b.mean():
        return f"the mean of the first is {a.mean():.3g}, of the second {b.mean():.3g}; the first must be larger"
    if not energies[0] < energies[1]:
        return f"the energies are {energies[0]:.3g} and {energies[1]:.3g}; the first must be smaller: how even is it?"
    return None


@exercise(
    "objective-batch", "One sequence of one token with KL 1, one of three with KL 0, τ = 1, no pivots: what is KD?"
)
def batch(answer: Any) -> str | None:
    # two tokens, a uniform teacher and student logits ±a have KL = log cosh a
    hidden = torch.zeros(2, 3, 2, dtype=torch.float64)
    hidden[0, 0] = torch.tensor([1.0, -1.0]) * math.acosh(math.e)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    head = torch.eye(2, dtype=torch.float64)
    objective = DiscObjective(temperature=1.0, smoothing_window=1, amplifier=1.0)
    labels = torch.zeros(2, 3, dtype=torch.long)
    right = objective(hidden, head, torch.zeros_like(hidden), head, labels, mask, mask, 1.0).kd.item()
    if math.isclose(float(answer), right, abs_tol=1e-4):
        return None
    if math.isclose(float(answer), right / 2, abs_tol=1e-4):
        return "that is the mean over the four tokens; the loss is a mean over sequences, each a mean over its tokens"
    return "take the mean over each sequence's own tokens first, then the mean of the two"


@exercise("objective-weight", "At 2 sigma and an amplifier of 3, what can the mean KD weight of a sequence not exceed?")
def weight(answer: Any) -> str | None:
    objective = DiscObjective()
    bound = 1 + (objective.amplifier - 1) / (1 + objective.pivot_sigma**2)
    if math.isclose(float(answer), bound, abs_tol=1e-6):
        return None
    return "Cantelli: at most 1/(1 + s²) of the positions lie more than s deviations above their mean; weigh those by 3"
