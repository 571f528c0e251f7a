import numpy as np
import pytest
import torch

from discnb.signal import token_signals
from tests import reference


def random_pair(tokens, vocabulary=17, student=5, teacher=7, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = [(tokens, student), (vocabulary, student), (tokens, teacher), (vocabulary, teacher)]
    tensors = [torch.randn(s, generator=g, dtype=dtype) for s in shapes]
    return (*tensors, torch.randint(0, vocabulary, (tokens,), generator=g))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_signals_agree_with_the_reference(temperature, dtype, tolerance):
    h, W, g, U, labels = random_pair(23, dtype=dtype)
    want = reference.token_signals((h @ W.T).double().numpy(), (g @ U.T).double().numpy(), labels.numpy(), temperature)
    got = token_signals(h, W, g, U, labels, temperature=temperature)
    for name, value, expected in zip(got._fields, got, want, strict=True):
        np.testing.assert_allclose(value.numpy(), expected, rtol=tolerance, atol=tolerance, err_msg=name)


def test_gradients_to_hidden_states_and_head_are_exact():
    h, W, g, U, labels = random_pair(6)
    labels[2] = -100

    def weighted(h, W):
        signals = token_signals(h, W, g, U, labels)
        return torch.stack(signals).mul(torch.arange(1, 19, dtype=torch.float64).view(3, 6)).sum()

    assert torch.autograd.gradcheck(weighted, (h.requires_grad_(), W.requires_grad_()))


def test_equal_models_have_zero_divergence():
    h, W, *_, labels = random_pair(9, dtype=torch.float32)
    assert token_signals(h, W, h, W, labels).kl.abs().max() < 1e-6


def test_the_teacher_gets_no_gradient():
    h, W, g, U, labels = random_pair(4)
    token_signals(h.requires_grad_(), W, g.requires_grad_(), U.requires_grad_(), labels).kl.sum().backward()
    assert g.grad is None and U.grad is None and h.grad.abs().sum() > 0


def test_low_precision_inputs_are_projected_in_float32():
    h, W, g, U, labels = (x.bfloat16() if x.is_floating_point() else x for x in random_pair(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = token_signals(h, W, g, U, labels)
    want = token_signals(h.float(), W.float(), g.float(), U.float(), labels)
    assert got.kl.dtype == torch.float32
    torch.testing.assert_close(got, want)


def test_no_tokens_give_empty_signals_and_zero_gradients():
    h, W, g, U, labels = random_pair(0)
    signals = token_signals(h.requires_grad_(), W.requires_grad_(), g, U, labels)
    assert [len(s) for s in signals] == [0, 0, 0]
    sum(s.sum() for s in signals).backward()
    assert W.grad.abs().sum() == 0


def test_a_padding_label_has_no_cross_entropy_and_changes_nothing_else():
    h, W, g, U, labels = random_pair(5)
    masked = labels.clone()
    masked[3] = -100
    a, b = token_signals(h, W, g, U, labels), token_signals(h, W, g, U, masked)
    assert b.ce[3] == 0 and torch.equal(a.kl, b.kl) and torch.equal(a.entropy, b.entropy)


def test_extreme_logits_stay_finite():
    h, W, g, U, labels = random_pair(5, dtype=torch.float32)
    signals = token_signals(h * 1e4, W, g * -1e4, U, labels)
    assert all(torch.isfinite(s).all() for s in signals)


def test_different_vocabularies_are_refused():
    h, W, g, U, labels = random_pair(3)
    with pytest.raises(ValueError, match="17 rows and the teacher's 16"):
        token_signals(h, W, g, U[:16], labels)


def test_a_nonpositive_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature is 0"):
        token_signals(*random_pair(3), temperature=0.0)
