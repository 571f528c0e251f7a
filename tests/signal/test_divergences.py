import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from discnb.signal import head, token_signals
from discnb.signal.divergences import DIVERGENCES, token_cross_entropy, token_divergence
from tests import reference
from tests.signal.test_head import Largest, random_pair

MEMORY = [math.inf, 0, 3000]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(head, "MIN_TILE", 5)
    monkeypatch.setitem(head.TILE_BYTES, "cpu", 1)


def dense(kind, student, teacher, temperature, skew=0.1):
    """Each divergence by its definition, over dense logits."""
    log_p, log_q = (F.log_softmax(x / temperature[:, None], dim=-1) for x in (teacher, student))
    p, q = log_p.exp(), log_q.exp()

    def kl(a, b):
        return (a * (a.log() - b.log())).sum(-1)

    return {
        "forward": lambda: kl(p, q),
        "reverse": lambda: kl(q, p),
        "jsd": lambda: 0.5 * kl(p, (p + q) / 2) + 0.5 * kl(q, (p + q) / 2),
        "skew": lambda: kl(p, skew * p + (1 - skew) * q),
        "hellinger": lambda: 1 - (p * q).sqrt().sum(-1),
    }[kind]()


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_values_and_gradients_are_the_dense_definitions(kind, memory):
    h, W, g, U, _ = random_pair(13, vocabulary=401)
    temperature = torch.rand(13, dtype=torch.float64) * 3 + 0.5  # each token its own
    scale = torch.randn(13, dtype=torch.float64)
    got, want = ([x.clone().requires_grad_() for x in (h, W)] for _ in range(2))
    value = token_divergence(*got, g, U, kind=kind, temperature=temperature, skew=0.3, memory=memory)
    expected = dense(kind, want[0] @ want[1].T, g @ U.T, temperature, skew=0.3)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    (value * scale).sum().backward()
    (expected * scale).sum().backward()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_gradients_pass_gradcheck(kind):
    h, W, g, U, _ = random_pair(4)
    assert torch.autograd.gradcheck(
        lambda h, W: token_divergence(h, W, g, U, kind=kind), (h.requires_grad_(), W.requires_grad_())
    )


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_no_token_one_token_ties_and_huge_logits_stay_finite(kind):
    for tokens, student, teacher in ((0, 1.0, 1.0), (1, 1.0, 1.0), (3, 0.0, 0.0), (5, 1e4, -1e4), (5, 1e4, 0.0)):
        h, W, g, U, _ = random_pair(tokens, dtype=torch.float32)
        h, W = (h * student).requires_grad_(), W.requires_grad_()
        value = token_divergence(h, W, g * teacher, U, kind=kind)
        value.sum().backward()
        assert all(torch.isfinite(x).all() for x in (value, h.grad, W.grad))
        assert (value > -1e-6).all()
        if student == teacher == 0.0:
            assert value.abs().max() < 1e-6


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_a_model_has_no_divergence_from_itself(kind):
    h, W, *_ = random_pair(9)
    assert token_divergence(h, W, h, W, kind=kind).abs().max() < 1e-12


def test_forward_is_the_engines_kl_and_skew_of_none_too():
    h, W, g, U, labels = random_pair(9)
    want = token_signals(h, W, g, U, labels, temperature=2.0).kl
    torch.testing.assert_close(token_divergence(h, W, g, U, kind="forward"), want)
    torch.testing.assert_close(token_divergence(h, W, g, U, kind="skew", skew=0.0), want)


def test_bounded_divergences_keep_their_bounds():
    h, W, g, U, _ = random_pair(50)
    assert token_divergence(h * 9, W, g * 9, U, kind="jsd", temperature=0.5).max() <= math.log(2) + 1e-12
    assert token_divergence(h * 9, W, g * 9, U, kind="hellinger", temperature=0.5).max() <= 1 + 1e-12


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_memory_is_paid_in_time_alone(kind):
    results = []
    for memory in MEMORY:
        h, W, g, U, _ = random_pair(50, vocabulary=301, dtype=torch.float32)
        value = token_divergence(h.requires_grad_(), W.requires_grad_(), g, U, kind=kind, memory=memory)
        results.append([value, *torch.autograd.grad(value.sum(), (h, W))])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_without_memory_nothing_of_the_logits_size_is_ever_made():
    h, W, g, U, _ = random_pair(200, vocabulary=500, student=5, teacher=5)
    with Largest() as largest:
        token_divergence(h.requires_grad_(), W.requires_grad_(), g, U, kind="jsd", memory=0).sum().backward()
    assert largest.elements <= 500 * 5  # the head itself


def test_the_heads_gradient_can_be_gathered_over_calls():
    h, W, g, U, _ = random_pair(8)
    [want] = torch.autograd.grad(token_divergence(h, W.requires_grad_(), g, U, kind="reverse").sum(), W)
    gathered = torch.zeros_like(W)
    for rows in (slice(0, 3), slice(3, 8)):
        value = token_divergence(h[rows], W, g[rows], U, kind="reverse", head_gradient=gathered)
        [nothing] = torch.autograd.grad(value.sum(), W, allow_unused=True)
        assert nothing is None
    torch.testing.assert_close(gathered, want)


def test_low_precision_inputs_are_projected_in_float32_even_under_autocast():
    h, W, g, U, _ = (x.bfloat16() if x.is_floating_point() else x for x in random_pair(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = token_divergence(h, W, g, U, kind="jsd")
    assert torch.equal(got, token_divergence(h.float(), W.float(), g.float(), U.float(), kind="jsd"))


def test_the_teachers_cross_entropy_is_the_reference():
    *_, g, U, labels = random_pair(23)
    labels[3] = -100
    _, want, _ = reference.token_signals((g @ U.T).numpy(), (g @ U.T).numpy(), labels.numpy(), 2.0)
    got = token_cross_entropy(g.requires_grad_(), U, labels)
    assert not got.requires_grad
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    assert len(token_cross_entropy(g[:0], U, labels[:0])) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "up"}, "kind is 'up'"),
        ({"skew": 1.0}, "skew is 1.0"),
        ({"temperature": 0.0}, "temperature is not > 0"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        token_divergence(*random_pair(3)[:4], **{"kind": "jsd"} | change)


def test_different_vocabularies_are_refused():
    h, W, g, U, _ = random_pair(3)
    with pytest.raises(ValueError, match="17 rows and the teacher's 16"):
        token_divergence(h, W, g, U[:16], kind="jsd")
