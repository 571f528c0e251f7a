import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from discnb.selection import (
    SELECTIONS,
    Evidence,
    SequenceSignals,
    chance,
    inverse_difficulty_temperature,
    top,
    top_share,
    unit_range,
)


def evidence(length=40, seed=0, fraction=0.2, hole=True):
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(length, dtype=torch.bool)
    if hole and length > 5:
        mask[[2, 5]] = False
    kl, ce, entropy, teacher_ce, difficulty = (torch.rand(length, generator=g, dtype=torch.float64) for _ in range(5))
    pivot = (torch.rand(length, generator=g) < 0.1) & mask
    labels = torch.randint(0, 100, (length,), generator=g)
    share = torch.where(torch.arange(length) > 10, 2.0, 1.0).double() * mask
    signals = SequenceSignals(kl, ce, entropy, pivot, pivot, kl, teacher_ce, difficulty)
    return Evidence(signals, mask, labels, share, fraction, 0)


def greatest(values, mask, count):
    """Positions of the `count` greatest valid values, the slow way."""
    return set(sorted((t for t in range(len(mask)) if mask[t]), key=lambda t: (-float(values[t]), t))[:count])


SCORES = {
    "level": lambda s: s.kl,
    "entropy": lambda s: s.entropy,
    "difficulty": lambda s: s.difficulty,
    "excess": lambda s: s.ce - s.teacher_ce,
}


@pytest.mark.parametrize("name", SCORES)
def test_a_ranking_selection_takes_the_greatest_scores(name):
    e = evidence()
    assert int(e.mask.sum()) == 38
    marked = SELECTIONS[name](e)
    assert set(marked.nonzero()[:, 0].tolist()) == greatest(SCORES[name](e.signals), e.mask, 7)


def test_tip_takes_the_uncertain_or_the_far():
    e = evidence(hole=False)
    h, d = e.signals.entropy.numpy(), e.signals.kl.numpy()
    h, d = ((x - x.min()) / (x.max() - x.min()) for x in (h, d))
    marked = SELECTIONS["entropy_or_divergence"](e)
    assert set(marked.nonzero()[:, 0].tolist()) == greatest(1 - (1 - h) * (1 - d), e.mask, 8)


def test_tip_finds_the_confident_and_wrong_that_entropy_misses():
    kl, entropy = torch.full((10,), 0.1), torch.linspace(0.2, 0.3, 10)
    kl[4], entropy[4] = 5.0, 0.0
    e = evidence(10, hole=False)
    e = e._replace(signals=e.signals._replace(kl=kl, entropy=entropy))
    assert SELECTIONS["entropy_or_divergence"](e)[4] and not SELECTIONS["entropy"](e)[4]


@pytest.mark.parametrize("name", ["level_as_pivots", "random_as_pivots"])
def test_as_many_tokens_as_pivots(name):
    e = evidence(80)
    marked = SELECTIONS[name](e)
    assert marked.sum() == e.signals.pivot.sum() > 0 and not (marked & ~e.mask).any()


def test_uniform_marks_all_and_proof_gives_its_weights():
    e = evidence()
    assert torch.equal(SELECTIONS["all"](e), e.mask)
    assert torch.equal(SELECTIONS["proof"](e), e.share) and torch.equal(SELECTIONS["pivots"](e), e.signals.pivot)


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_and_masked_sequences_are_no_exception(name, length):
    for masked in (False, True):
        e = evidence(length)
        e = e._replace(mask=e.mask & (not masked), share=e.share * (not masked))
        e = e._replace(signals=e.signals._replace(pivot=e.signals.pivot & e.mask))
        chosen = SELECTIONS[name](e)
        assert chosen.shape == (length,) and not chosen[~e.mask].any()


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), max_size=30), st.floats(0.01, 1.0))
def test_a_share_is_rounded_down_but_never_to_none_and_ties_go_to_the_earlier(values, fraction):
    mask = torch.arange(len(values)) % 4 != 1
    tensor = torch.tensor(values, dtype=torch.float64)
    marked = top_share(tensor, mask, fraction)
    n = int(mask.sum())
    assert int(marked.sum()) == min(n, max(1, int(fraction * n + 1e-9)))
    assert set(marked.nonzero()[:, 0].tolist()) == greatest(values, mask, int(marked.sum()))


def test_a_fifth_of_fifteen_is_three():
    assert top_share(torch.rand(15), torch.ones(15, dtype=torch.bool), 0.2).sum() == 3


def test_masked_values_may_be_anything():
    values, mask = torch.tensor([1.0, torch.nan, 3.0, torch.inf]), torch.tensor([True, False, True, False])
    assert top(values, mask, 1).tolist() == [False, False, True, False]
    assert unit_range(values, mask).tolist() == [0.0, 0.0, 1.0, 0.0]


def test_chance_is_the_samples_own():
    labels, mask = torch.arange(50) * 7 % 31, torch.ones(50, dtype=torch.bool)
    first = chance(labels, mask, 3)
    torch.manual_seed(1)
    torch.rand(9)
    state = torch.random.get_rng_state()
    assert torch.equal(chance(labels, mask, 3), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(chance(labels, mask, 4), first)
    assert not torch.equal(chance(labels + 1, mask, 3), first)
    assert first.min() >= 0 and first.max() < 1 and first.std() > 0.2


def test_chance_does_not_see_padding():
    labels = torch.arange(50)
    padded = torch.cat([labels, torch.full((9,), -100)])
    mask = torch.ones(50, dtype=torch.bool)
    assert torch.equal(chance(padded, padded >= 0, 0)[:50], chance(labels, mask, 0))


def test_random_tokens_are_everywhere_equally_likely():
    mask, counts = torch.ones(20, dtype=torch.bool), torch.zeros(20)
    for seed in range(500):
        counts += top_share(chance(torch.arange(20), mask, seed), mask, 0.2)
    assert (counts / 500 - 0.2).abs().max() < 0.08  # four and a half standard errors


def test_difficult_tokens_are_cooler_and_the_median_keeps_the_temperature():
    s, mask = torch.tensor([0.1, 0.2, 0.4, 0.0, 9.0]), torch.tensor([True, True, True, True, False])
    got = inverse_difficulty_temperature(s, mask, 0.75, 2.0, 0.5)
    want = 2 * np.exp(-0.5 * np.tanh(np.log(np.maximum(s.double().numpy(), 1e-30) / s[1].double().item())))
    np.testing.assert_allclose(got[:4].numpy(), want[:4], rtol=1e-6)
    assert got[1] == 2.0 and got[2] < 2.0 < got[0]
    nothing = inverse_difficulty_temperature(s, torch.zeros_like(mask), 0.75, 2.0, 0.5)
    assert nothing.tolist() == [2.0] * 5
