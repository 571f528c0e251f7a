import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from discnb.signal import discrepancy, exceeds, gap_energy, pivots
from tests import reference

values = st.floats(0, 50, allow_nan=False, width=32)


@st.composite
def sequences(draw, max_size=40):
    """One KL sequence with ties and holes in its mask."""
    kl = draw(st.lists(st.one_of(values, st.sampled_from([0.0, 1.0, 2.0])), max_size=max_size))
    mask = draw(st.lists(st.booleans(), min_size=len(kl), max_size=len(kl)))
    return torch.tensor(kl, dtype=torch.float64), torch.tensor(mask, dtype=torch.bool)


@given(sequences(), st.integers(1, 4))
def test_discrepancy_agrees_with_the_reference(sequence, window):
    kl, mask = sequence
    D, defined = discrepancy(kl, mask, window=window)
    want, want_defined = reference.discrepancy(kl.tolist(), mask.tolist(), window)
    assert defined.tolist() == want_defined.tolist()
    np.testing.assert_allclose(D.numpy(), want, atol=1e-12)


@given(sequences(), st.integers(1, 4))
def test_gap_energy_agrees_with_the_reference(sequence, window):
    kl, mask = sequence
    want = reference.gap_energy(kl.tolist(), mask.tolist(), window)
    np.testing.assert_allclose(gap_energy(kl, mask, window=window).item(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align", ["forward", "backward", "rise"])
@pytest.mark.parametrize("window", [1, 3])
def test_pivots_agree_with_the_reference_on_random_sequences(align, window):
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(100):
        length = rng.integers(0, 90)
        kl, mask = rng.exponential(size=length), rng.random(length) < 0.95
        got = pivots(torch.tensor(kl), torch.tensor(mask), sigma=2.0, window=window, align=align)
        want = reference.pivots(kl, mask, 2.0, window, align)
        assert got.tolist() == want.tolist()
        found += want.sum()
    assert found > 20


@given(st.lists(st.tuples(sequences(), st.just(0)), min_size=1, max_size=4))
def test_a_sequence_is_unchanged_by_its_batch_and_padding(batch):
    kls, masks = zip(*(sequence for sequence, _ in batch), strict=True)
    length = max(map(len, kls)) + 2
    kl = torch.full((len(kls), length), torch.nan, dtype=torch.float64)  # padding may hold anything
    mask = torch.zeros(len(kls), length, dtype=torch.bool)
    for b, (k, m) in enumerate(zip(kls, masks, strict=True)):
        kl[b, : len(k)], mask[b, : len(m)] = k, m
    marked, energy = pivots(kl, mask), gap_energy(kl, mask)
    for b, (k, m) in enumerate(zip(kls, masks, strict=True)):
        assert marked[b, : len(k)].tolist() == pivots(k, m).tolist()
        assert not marked[b, len(k) :].any()
        torch.testing.assert_close(energy[b], gap_energy(k, m), rtol=1e-12, atol=0)


@given(values, st.integers(0, 50))
def test_constant_kl_has_zero_energy_and_no_pivot(value, length):
    for dtype in (torch.float32, torch.float64):
        kl, mask = torch.full((1, length), value, dtype=dtype), torch.ones(1, length, dtype=torch.bool)
        assert gap_energy(kl, mask).item() == 0.0
        assert not pivots(kl, mask).any()


@given(st.floats(1e-3, 10), st.integers(2, 60))
def test_equal_differences_are_a_tie_and_mark_nothing(step, length):
    kl = torch.arange(length, dtype=torch.float64) % 2 * step  # |D| is the same everywhere
    assert not pivots(kl, torch.ones(length, dtype=torch.bool), sigma=0.0).any()


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_of_two_values_the_larger_ties_with_one_sigma_and_is_not_marked(a, b):
    pair = torch.tensor([a, b], dtype=torch.float64)
    assert not exceeds(pair, torch.ones(2, dtype=torch.bool), 1.0).any()


@given(sequences(max_size=200))
def test_pivots_are_at_most_a_fifth_of_the_defined_positions(sequence):
    """Cantelli: P(X > μ + 2σ) ≤ 1/5, so with amplifier 3 the mean weight is at most 1.4."""
    kl, mask = sequence
    _, defined = discrepancy(kl, mask)
    assert pivots(kl, mask).sum() * 5 <= defined.sum()


@given(st.lists(values, max_size=6))
def test_fewer_than_six_differences_never_exceed_two_sigma(kl):
    kl = torch.tensor(kl, dtype=torch.float64)
    assert not pivots(kl, torch.ones(len(kl), dtype=torch.bool)).any()


def test_six_differences_can_exceed_two_sigma():
    kl = torch.tensor([0.0, 0, 0, 0, 0, 0, 9])
    assert pivots(kl, torch.ones(7, dtype=torch.bool)).tolist() == [False] * 5 + [True, False]


def test_about_five_percent_of_exponential_kl_is_flagged():
    kl = torch.distributions.Exponential(1.0)
    torch.manual_seed(0)
    share = pivots(kl.sample((200, 500)), torch.ones(200, 500, dtype=torch.bool)).float().mean().item()
    assert 0.04 < share < 0.06


def test_alignments_mark_the_jump_its_landing_and_only_rises():
    kl = torch.tensor([0.0] * 10 + [5.0] * 10 + [0.0] * 10)
    mask = torch.ones(30, dtype=torch.bool)
    marked = {a: pivots(kl, mask, align=a).nonzero().flatten().tolist() for a in ("forward", "backward", "rise")}
    assert marked == {"forward": [9, 19], "backward": [10, 20], "rise": [10]}


def test_nothing_differences_across_a_hole_in_the_mask():
    kl = torch.tensor([1.0, 1.0, 99.0, 3.0, 3.0], requires_grad=True)
    mask = torch.tensor([True, True, False, True, True])
    D, defined = discrepancy(kl, mask)
    assert defined.tolist() == [True, False, False, True, False]
    assert D.tolist() == [0.0] * 5
    gap_energy(kl, mask).backward()
    assert kl.grad.tolist() == [0.0] * 5


def test_energy_gradient_is_exact():
    torch.manual_seed(0)
    kl = torch.rand(3, 9, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, 9) < 0.8
    assert torch.autograd.gradcheck(lambda k: gap_energy(k, mask, window=2), kl)


def test_a_masked_nan_reaches_neither_value_nor_gradient():
    kl = torch.tensor([[1.0, 3.0, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    energy = gap_energy(kl, mask)
    energy.sum().backward()
    assert energy.item() == 2.0
    assert kl.grad.tolist() == [[-2.0, 2.0, 0.0]]


@pytest.mark.parametrize("length", [0, 1])
def test_empty_and_one_token_sequences_are_defined(length):
    kl, mask = torch.ones(2, length), torch.ones(2, length, dtype=torch.bool)
    assert gap_energy(kl, mask).tolist() == [0.0, 0.0]
    assert pivots(kl, mask, align="backward").shape == (2, length)
    assert not pivots(kl, mask).any()


def test_float64_is_used_whatever_the_input_precision():
    rng = np.random.default_rng(1)
    for _ in range(200):
        kl = rng.exponential(size=50).astype(np.float32)
        got = pivots(torch.tensor(kl), torch.ones(50, dtype=torch.bool))
        assert got.tolist() == reference.pivots(kl.astype(np.float64), np.ones(50, bool)).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, m: pivots(k, m, align="up"), "align is 'up'; expected one of forward, backward, rise"),
        (lambda k, m: discrepancy(k, m, window=0), "window is 0"),
        (lambda k, m: pivots(k, m, sigma=-1.0), "sigma is -1.0"),
        (lambda k, m: pivots(k, m, sigma=float("nan")), "sigma is nan"),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(torch.ones(3), torch.ones(3, dtype=torch.bool))
