import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from discnb.signal import singular_tokens, smooth_hidden
from tests import reference


@given(
    st.integers(0, 12), st.sampled_from([(1, False), (3, False), (5, False), (2, True), (3, True)]), st.integers(0, 99)
)
def test_smoothing_agrees_with_the_reference(length, kind, seed):
    window, causal = kind
    rng = np.random.default_rng(seed)
    hidden, mask = rng.normal(size=(2, length, 4)), rng.random((2, length)) < 0.8
    where = rng.random((2, length)) < 0.5
    got = smooth_hidden(
        torch.tensor(hidden), torch.tensor(mask), torch.tensor(where), window=window, causal=causal
    ).numpy()
    for b in range(2):
        np.testing.assert_allclose(got[b], reference.smooth(hidden[b], mask[b], where[b], window, causal), atol=1e-12)


def test_smoothing_hidden_states_is_smoothing_logits():
    torch.manual_seed(0)
    hidden, head = torch.randn(1, 9, 4, dtype=torch.float64), torch.randn(11, 4, dtype=torch.float64)
    mask, where = torch.ones(1, 9, dtype=torch.bool), torch.rand(1, 9) < 0.5
    logits = (hidden @ head.T)[0].numpy()
    got = (smooth_hidden(hidden, mask, where) @ head.T)[0].numpy()
    np.testing.assert_allclose(got, reference.smooth(logits, mask[0], where[0]), atol=1e-12)


def test_the_gradient_flows_through_the_mean():
    hidden = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True, False, True]])
    where = torch.tensor([[False, True, True, True, True]])
    assert torch.autograd.gradcheck(lambda h: smooth_hidden(h, mask, where), hidden)
    smooth_hidden(hidden, mask, where)[0, 1].sum().backward()
    torch.testing.assert_close(hidden.grad[0, :3], torch.full((3, 3), 1 / 3, dtype=torch.float64))


def test_causal_smoothing_never_reads_the_next_hidden_state():
    hidden, mask = torch.randn(1, 6, 3), torch.ones(1, 6, dtype=torch.bool)
    where = torch.tensor([[False, False, True, False, False, False]])
    changed = hidden.clone()
    changed[0, 3] += 1
    causal = [smooth_hidden(h, mask, where, causal=True)[0, 2] for h in (hidden, changed)]
    centred = [smooth_hidden(h, mask, where)[0, 2] for h in (hidden, changed)]
    assert torch.equal(*causal)
    assert not torch.equal(*centred)


def test_a_masked_neighbour_may_hold_nan():
    hidden = torch.tensor([[[1.0], [3.0], [torch.nan]]])
    mask, where = torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]])
    assert smooth_hidden(hidden, mask, where)[0, :2, 0].tolist() == [1.0, 2.0]


def test_low_precision_is_averaged_in_float32():
    hidden = torch.full((1, 3, 1), 256.0, dtype=torch.bfloat16)
    hidden[0, 1] = 258.0
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    got = smooth_hidden(hidden, everywhere, torch.tensor([[False, True, False]]))
    assert got.dtype == torch.bfloat16
    assert got[0, 1].item() == torch.tensor(770 / 3).bfloat16().item()


def test_singular_tokens_agree_with_the_reference():
    rng = np.random.default_rng(0)
    for _ in range(100):
        entropy, mask = rng.gamma(2.0, size=40), rng.random(40) < 0.9
        got = singular_tokens(torch.tensor(entropy), torch.tensor(mask))
        assert got.tolist() == reference.exceeds(entropy, mask, 1.0).tolist()


def test_all_masked_and_constant_entropy_mark_nothing():
    entropy = torch.full((2, 7), 0.1)
    assert not singular_tokens(entropy, torch.ones(2, 7, dtype=torch.bool)).any()
    assert not singular_tokens(entropy, torch.zeros(2, 7, dtype=torch.bool)).any()


@pytest.mark.parametrize(("window", "causal"), [(0, False), (2, False), (0, True)])
def test_an_impossible_window_is_refused(window, causal):
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=f"window is {window}"):
        smooth_hidden(torch.ones(1, 3, 2), everywhere, everywhere, window=window, causal=causal)
