from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from discnb.arms import ARMS, UNIFORM
from discnb.config import RunConfig, StudentConfig, override, settings
from discnb.objective import DiscObjective
from tests import reference
from tests.signal.test_divergences import dense
from tests.test_objective import random_batch

PUBLISHED = DiscObjective()
SELECTED = [name for name in ARMS if name not in ("ce", "disc_card")]


def dense_loss(o, student, teacher, labels, mask, proof, proof_weight):
    """One sequence's loss and KD from dense float64 logits `[N, V]` of its valid tokens, by each rival's definition."""
    if not len(labels):
        return torch.zeros(2, dtype=torch.float64)
    s, t = student.detach().numpy(), teacher.numpy()
    _, ce, entropy = reference.token_signals(s, t, labels.numpy(), o.temperature)
    _, teacher_ce, _ = reference.token_signals(t, t, labels.numpy(), o.temperature)
    assert o.smoothing_window == 1
    kl = dense("forward", student, teacher, torch.full((len(labels),), o.temperature))
    whole = torch.zeros(len(mask), dtype=torch.float64).masked_scatter(mask, kl)  # nothing differs across a hole
    pivot = reference.pivots(whole.detach().numpy(), mask.numpy(), o.pivot_sigma, o.window, o.align)[mask.numpy()]
    p, q = torch.softmax(teacher, -1), torch.softmax(student.detach(), -1)
    difficulty = (0.5 * (p.sqrt() - q.sqrt()).square().sum(-1)).sqrt().numpy()
    level = kl.detach().numpy()

    def unit(x):
        return (x - x.min()) / (np.ptp(x) or 1.0)

    scores = {
        "level": level,
        "entropy": entropy,
        "excess": ce - teacher_ce,
        "difficulty": difficulty,
        "entropy_or_divergence": 1 - (1 - unit(entropy)) * (1 - unit(level)),
    }
    share = np.where(proof.numpy(), proof_weight, 1.0)
    weight = np.ones(len(labels))
    count = max(1, int(o.fraction * len(labels) + 1e-9))
    if o.selection == "proof":
        weight = share
    elif o.selection == "pivots":
        weight = np.where(pivot, o.amplifier, o.rest)
    elif o.selection in scores:
        weight = np.zeros(len(labels))
        weight[np.argsort(-scores[o.selection], kind="stable")[:count]] = 1.0
    if o.normalise == "mass":
        weight = weight * len(weight) / weight.sum()
    temperature = torch.full((len(labels),), o.temperature, dtype=torch.float64)
    if o.temperature_spread:
        median = np.sort(np.sort(difficulty)[-count:])[(count - 1) // 2]
        temperature *= torch.tensor(np.exp(-o.temperature_spread * np.tanh(np.log(difficulty / median))))
    divergence = dense(o.divergence, student, teacher, temperature, o.skew)
    kd = (torch.tensor(weight) * temperature**2 * divergence).mean()
    token_ce = F.cross_entropy(student, labels, reduction="none")
    mean_ce = (torch.tensor(share) * token_ce).sum() / share.sum()
    D = (whole[1:] - whole[:-1])[mask[1:] & mask[:-1]]
    energy = 0.5 * D.square().mean() if len(D) else 0.0
    return torch.stack([o.ce_weight * mean_ce + o.kd_weight * kd + o.energy_weight * energy, kd])


# smoothing and pivots' alignment have their own tests; random tokens have no definition but their own
DENSE = [n for n, o in ARMS.items() if o.smoothing_window == 1 and "random" not in o.selection]


@pytest.mark.parametrize("name", DENSE)
def test_each_rival_and_its_gradient_are_the_dense_definition(name):
    objective = ARMS[name]
    h, W, t, U, labels, mask, proof = random_batch([30, 0, 1, 12, 50])
    h = h.nan_to_num(0.0)
    got, want = ([x.clone().requires_grad_() for x in (h, W)] for _ in range(2))
    loss = objective(*got, t, U, labels, mask, proof, 2.5)
    rows = []
    for b in range(len(h)):
        m = mask[b]
        student = want[0][b][m] @ want[1].T
        rows.append(dense_loss(objective, student, t[b][m] @ U.T, labels[b][m], m, proof[b][m], 2.5))
    expected = torch.stack(rows).mean(0)
    torch.testing.assert_close(torch.stack([loss.loss, loss.kd]), expected, rtol=1e-9, atol=1e-12)
    loss.loss.backward()
    expected[0].backward()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)


def weights_of(objective, batch, b):
    h, W, t, U, labels, mask, proof = batch
    share = torch.where(proof[b], 2.5, 1.0).double() * mask[b]
    signals = objective.signals(h[b], W, t[b], U, labels[b], mask[b])
    return objective.weights(signals, labels[b], mask[b], share)


@pytest.mark.parametrize("name", SELECTED)
def test_every_arm_has_the_same_mass_in_every_sequence(name):
    batch = random_batch([30, 0, 1, 12, 50])
    for b, mask in enumerate(batch[5]):
        weights = weights_of(ARMS[name], batch, b)
        assert not weights.requires_grad and (weights >= 0).all() and (weights[~mask] == 0).all()
        torch.testing.assert_close(weights.sum(), mask.sum().double())


def test_mass_without_a_mark_is_uniform():
    batch = random_batch([4])  # too few differences for a pivot
    weights = weights_of(replace(ARMS["disc"], rest=0.0, pivot_sigma=9.0), batch, 0)
    assert torch.equal(weights, batch[5][0].double())


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_finite_on_the_edges(name):
    for lengths, dtype, scale in (
        ([1, 0, 2], torch.float64, 1.0),
        ([0], torch.float64, 1.0),
        ([9], torch.float32, 1e4),
    ):
        h, W, t, U, labels, mask, proof = random_batch(lengths, dtype)
        h, W = (h * scale).requires_grad_(), W.requires_grad_()
        loss = ARMS[name](h, W, t * scale, U, labels, mask, proof, 2.5)
        loss.loss.backward()
        assert all(torch.isfinite(x).all() for x in (*loss, h.grad, W.grad))
    # ties everywhere, and equal models
    for hidden in (torch.zeros(1, 8, 5), torch.randn(1, 8, 5)):
        W = torch.randn(7, 5).requires_grad_()
        mask = torch.ones(1, 8, dtype=torch.bool)
        loss = ARMS[name](hidden, W, hidden, W.detach(), torch.zeros(1, 8, dtype=torch.long), mask, mask, 1.0)
        loss.loss.backward()
        assert torch.isfinite(loss.loss) and torch.isfinite(W.grad).all()


@pytest.mark.parametrize("name", ARMS)
def test_batching_never_changes_an_arm(name):
    def gradient(groups):
        h, W, t, U, labels, mask, proof = random_batch([20, 3, 1, 33])
        W, total = W.requires_grad_(), 0.0
        for group in groups:
            n = int(mask[group].any(0).nonzero().max()) + 1
            part = ARMS[name](
                h[group, :n], W, t[group, :n], U, labels[group, :n], mask[group, :n], proof[group, :n], 2.0
            ).loss * (len(group) / 4)
            part.backward()
            total += part.item()
        return total, W.grad

    whole, W4 = gradient([[0, 1, 2, 3]])
    parts, W1 = gradient([[3], [1, 0], [2]])
    assert parts == pytest.approx(whole, rel=1e-12)
    torch.testing.assert_close(W1, W4, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [n for n, o in ARMS.items() if o.divergence != "forward" or o.temperature_spread])
def test_smoothing_is_for_any_divergence(name):
    o = replace(ARMS[name], smoothing_window=3, ce_weight=0.0, selection="all", temperature_spread=0.0)
    h, W, t, U, labels, mask, proof = random_batch([30])
    signals = o.signals(h[0], W, t[0], U, labels[0], mask[0])
    logits = reference.smooth(
        (h[0] @ W.T).nan_to_num().numpy(), mask[0].numpy(), signals.singular.numpy(), o.smoothing_window
    )
    m = mask[0]
    want = dense(o.divergence, torch.tensor(logits)[m], t[0][m] @ U.T, torch.full((int(m.sum()),), o.temperature))
    torch.testing.assert_close(signals.divergence[m], want, rtol=1e-9, atol=1e-12)
    assert signals.singular.any() and o(h, W, t, U, labels, mask, proof, 1.0).kd > 0


def test_the_weights_carry_no_gradient():
    # a gradient through scores or temperatures would show against weights that are given
    h, W, t, U, labels, mask, proof = random_batch([30])
    for name in ("excess", "adakd", "tip", "entropy", "level"):
        leaf = h.nan_to_num(0.0).requires_grad_()
        signals = ARMS[name].signals(leaf[0], W, t[0], U, labels[0], mask[0])
        assert signals.divergence.requires_grad
        for constant in (signals.entropy, signals.teacher_ce, signals.difficulty):
            assert constant is None or not constant.requires_grad
        assert not ARMS[name].weights(signals, labels[0], mask[0], proof[0].double()).requires_grad


def test_uniform_is_disc_with_nothing_of_its_own():
    batch = random_batch([30, 12, 1])
    plain = replace(PUBLISHED, amplifier=1.0, smoothing_window=1, energy_weight=0.0)
    assert UNIFORM(*batch, 2.5) == plain(*batch, 2.5)


def test_random_tokens_are_the_same_whenever_a_sample_is_seen():
    batch = random_batch([30])
    first = ARMS["random"](*batch, 2.5)
    torch.rand(5)
    assert ARMS["random"](*batch, 2.5) == first
    assert replace(ARMS["random"], seed=1)(*batch, 2.5).kd != first.kd


def test_cross_entropy_alone_hears_no_teacher():
    h, W, t, U, labels, mask, proof = random_batch([30])
    losses = [ARMS["ce"](h, W, x, U, labels, mask, proof, 2.5) for x in (t, -t)]
    assert losses[0].loss == losses[1].loss == losses[0].ce


def test_the_arms_differ_from_one_another():
    batch = random_batch([60, 50])
    losses = {name: ARMS[name](*batch, 2.5).loss.item() for name in ARMS}
    assert len(ARMS) >= 14 and len(set(losses.values())) == len(ARMS)
    assert ARMS["disc_card"] == DiscObjective()


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_goes_into_a_runs_settings_and_back(name):
    config = RunConfig(preset="x", student=StudentConfig(layers=2))
    stored = replace(config, objective=ARMS[name]).to_dict()
    assert override(config, settings(stored)).objective == ARMS[name]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("selection", "best"),
        ("divergence", "up"),
        ("normalise", "sum"),
        ("fraction", 0.0),
        ("skew", 1.0),
        ("rest", -1.0),
        ("temperature_spread", -0.5),
    ],
)
def test_an_impossible_setting_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        DiscObjective(**{field: value})
