from dataclasses import replace

import numpy as np
import pytest
import torch

from discnb.objective import DiscObjective
from tests import reference

OBJECTIVES = {
    "the method": DiscObjective(),
    "causal": DiscObjective(causal=True),
    "backward": DiscObjective(align="backward"),
    "rise": DiscObjective(align="rise", window=2),
    "no smoothing": DiscObjective(smoothing_window=1),
    "temperature 1": DiscObjective(temperature=1.0, amplifier=1.0, pivot_sigma=1.0),
}


def random_batch(lengths, dtype=torch.float64, seed=0, vocabulary=19, student=5, teacher=7):
    """A padded batch whose padding holds NaN, with proof spans and one hole in a mask."""
    g = torch.Generator().manual_seed(seed)
    B, T = len(lengths), max(lengths) + 1
    h = torch.full((B, T, student), torch.nan, dtype=dtype)
    t = torch.full((B, T, teacher), torch.nan, dtype=dtype)
    labels = torch.full((B, T), -100)
    for b, n in enumerate(lengths):
        h[b, :n] = torch.randn(n, student, generator=g, dtype=dtype) * 2
        t[b, :n] = torch.randn(n, teacher, generator=g, dtype=dtype) * 2
        labels[b, :n] = torch.randint(0, vocabulary, (n,), generator=g)
    W, U = (torch.randn(vocabulary, d, generator=g, dtype=dtype) for d in (student, teacher))
    mask = labels >= 0
    if lengths[0] > 4:
        mask[0, 3] = False
    proof = mask & (torch.arange(T) > 2)
    return h, W, t, U, labels, mask, proof


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_agrees_with_the_dense_reference(name):
    objective = OBJECTIVES[name]
    h, W, t, U, labels, mask, proof = random_batch([30, 0, 1, 12, 50])
    got = objective(h, W, t, U, labels, mask, proof, 2.5)
    want = [
        reference.disc_loss(
            (h[b] @ W.T).nan_to_num().numpy(),
            (t[b] @ U.T).nan_to_num().numpy(),
            labels[b].numpy(),
            mask[b].numpy(),
            proof[b].numpy(),
            2.5,
            objective,
        )
        for b in range(len(h))
    ]
    np.testing.assert_allclose(torch.stack(got[:4]).numpy(), np.mean(want, axis=0), rtol=1e-10)
    assert got._fields[:4] == ("loss", "ce", "kd", "energy")


def test_float32_is_close_to_the_float64_reference():
    batch = random_batch([40, 17])
    want = DiscObjective()(*batch, 2.0)
    got = DiscObjective()(*(x.float() if x.is_floating_point() else x for x in batch), 2.0)
    torch.testing.assert_close(torch.stack(got).double(), torch.stack(want).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_exact(name):
    h, W, t, U, labels, mask, proof = random_batch([9, 1, 4])
    h = h.nan_to_num(0.0).requires_grad_()
    W = W.requires_grad_()
    loss = lambda h, W: OBJECTIVES[name](h, W, t, U, labels, mask, proof, 1.5).loss  # noqa: E731
    # the marks are piecewise constant: a finite difference of 1e-6 crosses none of them here
    assert torch.autograd.gradcheck(loss, (h, W))


def test_padding_gets_no_gradient_and_no_nan():
    h, W, t, U, labels, mask, proof = random_batch([12, 5])
    h, W = h.requires_grad_(), W.requires_grad_()
    DiscObjective()(h, W, t, U, labels, mask, proof, 2.0).loss.backward()
    assert torch.isfinite(W.grad).all()
    assert torch.isfinite(h.grad).all() and h.grad[1, 5:].abs().sum() == 0 and h.grad[0, :2].abs().sum() > 0


def test_batching_never_changes_loss_or_gradient():
    def gradient(groups):
        h, W, t, U, labels, mask, proof = random_batch([40, 3, 17, 1, 25, 60, 8, 33])
        W = W.requires_grad_()
        total = 0.0
        for group in groups:
            n = int(mask[group].any(0).nonzero().max()) + 1  # each group padded only as far as it needs
            part = DiscObjective()(
                h[group, :n], W, t[group, :n], U, labels[group, :n], mask[group, :n], proof[group, :n], 2.0
            ).loss * (len(group) / 8)
            part.backward()
            total += part.item()
        return total, W.grad

    whole, W8 = gradient([list(range(8))])
    for groups in ([[b] for b in range(8)], [[0, 1, 2, 3], [4, 5, 6, 7]], [[5, 1, 6], [0, 2, 3, 4, 7]]):
        parts, W1 = gradient(groups)
        assert parts == pytest.approx(whole, rel=1e-12)
        torch.testing.assert_close(W1, W8, rtol=1e-10, atol=1e-12)


def test_the_mean_weight_is_at_most_1_4():
    objective = DiscObjective()
    h, W, t, U, labels, mask, _ = random_batch([300])
    signals = objective.signals(h[0], W, t[0], U, labels[0], mask[0])
    assert signals.pivot.any()
    assert objective.kd_weights(signals.pivot)[mask[0]].mean() <= 1.4


def test_equal_models_leave_only_cross_entropy_when_nothing_is_smoothed():
    h, W, _, _, labels, mask, proof = random_batch([20])
    loss = DiscObjective(smoothing_window=1)(h, W, h, W, labels, mask, proof, 1.0)
    assert loss.kd.abs() < 1e-12 and loss.energy < 1e-12
    torch.testing.assert_close(loss.loss, 0.55 * loss.ce)


def test_smoothing_is_for_the_kl_alone():
    h, W, t, U, labels, mask, proof = random_batch([40])
    smooth, plain = (replace(DiscObjective(), smoothing_window=w)(h, W, t, U, labels, mask, proof, 1.0) for w in (3, 1))
    assert smooth.ce == plain.ce and smooth.kd != plain.kd


def test_an_all_masked_batch_has_zero_loss_and_gradient():
    h, W, t, U, labels, mask, proof = random_batch([6, 4])
    W = W.requires_grad_()
    loss = DiscObjective()(h, W, t, U, labels, torch.zeros_like(mask), proof, 2.0).loss
    loss.backward()
    assert loss.item() == 0.0 and W.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("amplifier", -1.0),
        ("window", 0),
        ("smoothing_window", 2),
        ("align", "up"),
        ("pivot_sigma", float("nan")),
        ("kd_weight", -0.1),
    ],
)
def test_an_impossible_setting_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        DiscObjective(**{field: value})


@pytest.mark.parametrize("length", [0, 1])
def test_sequences_of_no_and_of_one_token_are_defined(length):
    """Columns of which there are none, or one: real, masked, and padding of NaN that nothing may look at."""
    rng = torch.Generator().manual_seed(0)
    h, t = (torch.randn(3, length, 4, generator=rng) for _ in range(2))
    h[2], t[2] = torch.nan, torch.nan
    W, U = (torch.randn(6, 4, generator=rng).requires_grad_() for _ in range(2))
    mask = torch.tensor([[True] * length, [False] * length, [False] * length], dtype=torch.bool)
    labels = torch.zeros(3, length, dtype=torch.long).masked_fill(~mask, -100)
    terms = DiscObjective()(h, W, t, U.detach(), labels, mask, mask, 2.0)
    terms.loss.backward()
    assert all(torch.isfinite(term) for term in terms) and torch.isfinite(W.grad).all()
    assert terms.energy == 0 and (terms.kl > 0) == (length == 1)
    assert terms.pivot_fraction == 0


def test_an_empty_batch_is_refused():
    empty = torch.zeros(0, 4, dtype=torch.long)
    none = empty.bool()
    with pytest.raises(ValueError, match="no sequences"):
        DiscObjective()(
            torch.zeros(0, 4, 2), torch.zeros(3, 2), torch.zeros(0, 4, 2), torch.zeros(3, 2), empty, none, none, 1.0
        )
