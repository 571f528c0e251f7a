import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from discnb.signal import Average, head, token_signals, with_bias
from tests import reference

MEMORY = [math.inf, 0, 3000]  # keep every tile, none, some


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles to every test's vocabulary, the last one short."""
    monkeypatch.setattr(head, "MIN_TILE", 5)
    monkeypatch.setitem(head.TILE_BYTES, "cpu", 1)


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


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("contiguous", [True, False])
def test_gradients_to_hidden_states_and_head_are_exact(memory, contiguous):
    h, W, g, U, labels = random_pair(6)
    labels[2] = -100
    if not contiguous:
        h, W, g, U = (x.T.contiguous().T for x in (h, W, g, U))

    def weighted(h, W):
        signals = token_signals(h, W, g, U, labels, memory=memory)
        return torch.stack(signals).mul(torch.arange(1, 19, dtype=torch.float64).view(3, 6)).sum()

    assert torch.autograd.gradcheck(weighted, (h.requires_grad_(), W.requires_grad_()))


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("used", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_gradients_agree_with_dense_autograd(memory, temperature, used):
    h, W, g, U, labels = random_pair(13, vocabulary=401)
    labels[4] = -100
    scale = torch.randn(3, 13, dtype=torch.float64) * torch.tensor(used)[:, None]
    got = [x.clone().requires_grad_() for x in (h, W)]
    want = [x.clone().requires_grad_() for x in (h, W)]
    signals = token_signals(*got, g, U, labels, temperature=temperature, memory=memory)
    (torch.stack([s for s, u in zip(signals, used, strict=True) if u]) * scale[scale.any(1)]).sum().backward()
    dense = reference.dense_token_signals(*want, g, U, labels, temperature)
    (torch.stack(dense) * scale).sum().backward()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("memory", MEMORY)
def test_float32_gradients_are_within_1e_5_of_float64(memory):
    wide = random_pair(64, vocabulary=3000, student=32, teacher=48)
    narrow = [x.float() if x.is_floating_point() else x for x in wide]
    grads = []
    for h, W, g, U, labels in (wide, narrow):
        h, W = h.clone().requires_grad_(), W.clone().requires_grad_()
        torch.stack(token_signals(h, W, g, U, labels, memory=memory)).sum().backward()
        grads.append((h.grad.double(), W.grad.double()))
    for want, got in zip(*grads, strict=True):
        assert (got - want).norm() <= 1e-5 * want.norm()


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_averaged_logits_agree_with_dense_autograd(memory, tau):
    h, W, g, U, labels = random_pair(13, vocabulary=401)
    where, rows = torch.tensor([0, 5, 6, 12]), torch.tensor([[0, 1, 0], [4, 5, 6], [5, 6, 7], [11, 12, 12]])
    weights = torch.tensor([[0.5, 0.5, 0.0], [1 / 3] * 3, [1 / 3] * 3, [0.5, 0.5, 0.0]], dtype=torch.float64)
    heard = []

    def average(entropy):
        heard.append(entropy)
        return Average(where, rows, weights)

    scale = torch.randn(3, 13, dtype=torch.float64)
    got, want = ([x.clone().requires_grad_() for x in (h, W)] for _ in range(2))
    signals = token_signals(*got, g, U, labels, temperature=tau, memory=memory, average=average)
    (torch.stack(signals) * scale).sum().backward()
    assert torch.equal(*heard, signals.entropy)

    kl, ce, entropy = reference.dense_token_signals(*want, g, U, labels, tau)
    logits = want[0] @ want[1].T
    smoothed = logits.index_copy(0, where, (logits[rows] * weights[..., None]).sum(1))
    identity = torch.eye(401, dtype=torch.float64)
    kl, *_ = reference.dense_token_signals(smoothed, identity, g @ U.T, identity, labels, tau)
    dense = torch.stack([kl, ce, entropy])
    (dense * scale).sum().backward()
    torch.testing.assert_close(torch.stack(signals), dense, rtol=1e-9, atol=1e-10)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-10)


def test_averaging_makes_nothing_of_the_logits_size_either():
    h, W, g, U, labels = random_pair(200, vocabulary=500, student=5, teacher=5)
    rows = torch.arange(40)
    average = Average(rows, rows[:, None].expand(-1, 3), torch.full((40, 3), 1 / 3))
    with Largest() as largest:
        signals = token_signals(
            h.requires_grad_(), W.requires_grad_(), g, U, labels, memory=0, average=lambda _: average
        )
        torch.stack(signals).sum().backward()
    assert largest.elements <= 500 * 5  # the head itself


def test_bfloat16_gradients_are_within_1e_2_of_float64():
    wide = random_pair(64, vocabulary=3000, student=32, teacher=48)
    grads = []
    for dtype in (torch.float64, torch.bfloat16):
        h, W, g, U = (x.to(torch.bfloat16).to(dtype) for x in wide[:4])
        signals = token_signals(h.requires_grad_(), W.requires_grad_(), g, U, wide[4])
        torch.stack(signals).sum().backward()
        assert h.grad.dtype == W.grad.dtype == dtype
        grads.append((torch.stack(signals).double(), h.grad.double(), W.grad.double()))
    for want, got in zip(*grads, strict=True):
        assert (got - want).norm() <= 1e-2 * want.norm()


def test_memory_and_tiles_are_paid_in_time_alone():
    h, W, g, U, labels = random_pair(50, vocabulary=301, dtype=torch.float32)
    results = []
    for memory in MEMORY:
        leaves = [x.clone().requires_grad_() for x in (h, W)]
        signals = token_signals(*leaves, g, U, labels, memory=memory)
        results.append([*signals, *torch.autograd.grad(torch.stack(signals).sum(), leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    for tile in (1, 7, 301, 1000):
        torch.testing.assert_close(token_signals(h, W, g, U, labels, tile=tile), token_signals(h, W, g, U, labels))


@pytest.mark.parametrize("memory", MEMORY)
def test_a_graph_can_be_used_twice(memory):
    h, W, g, U, labels = random_pair(7)
    h.requires_grad_()
    total = torch.stack(token_signals(h, W, g, U, labels, memory=memory)).sum()
    [once] = torch.autograd.grad(total, h, retain_graph=True)
    [twice] = torch.autograd.grad(total, h)
    assert torch.equal(once, twice)


@pytest.mark.parametrize("memory", MEMORY)
def test_the_heads_gradient_can_be_gathered_over_calls(memory):
    h, W, g, U, labels = random_pair(8, vocabulary=301)
    [want] = torch.autograd.grad(torch.stack(token_signals(h, W.requires_grad_(), g, U, labels)).sum(), W)
    gathered = torch.zeros_like(W)
    for rows in (slice(0, 3), slice(3, 8)):
        signals = token_signals(h[rows], W, g[rows], U, labels[rows], memory=memory, head_gradient=gathered)
        [nothing] = torch.autograd.grad(torch.stack(signals).sum(), W, allow_unused=True)
        assert nothing is None
    torch.testing.assert_close(gathered, want)


def test_a_head_with_bias_is_a_head_with_one_more_unit():
    h, W, g, U, labels = random_pair(8)
    b, c = (torch.randn(17, dtype=torch.float64, requires_grad=True) for _ in range(2))
    got = token_signals(*with_bias(h, W, b), *with_bias(g, U, c), labels)
    want = reference.token_signals((h @ W.T + b).detach().numpy(), (g @ U.T + c).detach().numpy(), labels.numpy(), 2.0)
    np.testing.assert_allclose(torch.stack(got).detach().numpy(), np.stack(want), rtol=1e-12, atol=1e-12)
    torch.stack(got).sum().backward()

    def by_bias(b):
        return torch.stack(token_signals(*with_bias(h, W, b), *with_bias(g, U, c), labels)).sum()

    assert torch.autograd.gradcheck(by_bias, b) and c.grad is None


def test_rows_beyond_the_shared_vocabulary_are_out_of_everything():
    h, W, g, U, labels = random_pair(8)
    padded = [F.pad(x, (0, 0, 0, rows), value=50.0) for x, rows in ((W, 3), (U, 9))]
    padded[0].requires_grad_()
    got = token_signals(h, padded[0][:17], g, padded[1][:17], labels)
    assert torch.equal(torch.stack(got), torch.stack(token_signals(h, W, g, U, labels)))
    torch.stack(got).sum().backward()
    assert padded[0].grad[:17].abs().sum() > 0 and padded[0].grad[17:].abs().sum() == 0


def test_views_and_transposes_are_as_good_as_copies():
    h, W, g, U, labels = random_pair(8, student=5, teacher=5)
    views = [torch.stack([x, x], dim=1)[:, 0] if x.ndim == 1 else x.T.contiguous().T for x in (h, W, g, U, labels)]
    assert not views[0].is_contiguous() and not views[4].is_contiguous()
    torch.testing.assert_close(token_signals(*views), token_signals(h, W, g, U, labels))


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor any operation made."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.parametrize("memory", MEMORY)
def test_autocast_rounds_neither_signals_nor_gradients(memory):
    h, W, g, U, labels = random_pair(13, vocabulary=101, dtype=torch.float32)
    grads = []
    for enabled in (False, True):
        leaf = h.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            total = torch.stack(token_signals(leaf, W, g, U, labels, memory=memory)).sum()
            grads += torch.autograd.grad(total, leaf)
    assert torch.equal(*grads)


def test_without_memory_nothing_of_the_logits_size_is_ever_made():
    h, W, g, U, labels = random_pair(200, vocabulary=500, student=5, teacher=5)
    with Largest() as largest:
        torch.stack(token_signals(h.requires_grad_(), W.requires_grad_(), g, U, labels, memory=0)).sum().backward()
    assert largest.elements <= 500 * 5  # the head itself


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


def test_a_single_token_has_the_signals_it_has_among_others():
    h, W, g, U, labels = random_pair(5)
    alone, among = token_signals(h[2:3], W, g[2:3], U, labels[2:3]), token_signals(h, W, g, U, labels)
    torch.testing.assert_close(alone, type(alone)(*(signal[2:3] for signal in among)))


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


def test_a_tile_without_entries_is_refused():
    with pytest.raises(ValueError, match="tile is 0"):
        token_signals(*random_pair(3), tile=0)
