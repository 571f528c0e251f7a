import weakref
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from discnb.signal.sequences import sequence_mean


class Terms(NamedTuple):
    loss: Tensor
    length: Tensor


def squares(b, hidden, head, head_gradient):
    """A loss that knows nothing of `head_gradient`."""
    logits = hidden @ head.T
    return Terms(logits.square().mean() * (b + 1), torch.tensor(float(len(hidden))))


def random(B=3, T=4, H=5, V=6):
    g = torch.Generator().manual_seed(0)
    return (torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True) for shape in ((B, T, H), (V, H)))


def test_the_mean_and_its_gradients_are_those_of_plain_autograd():
    hidden, head = random()
    got = sequence_mean(squares, hidden, head)
    want = torch.stack([squares(b, rows, head, None).loss for b, rows in enumerate(hidden)]).mean()
    assert isinstance(got, Terms) and got.length == 4
    torch.testing.assert_close(got.loss, want)
    for a, b in zip(
        torch.autograd.grad(3 * got.loss, (hidden, head)), torch.autograd.grad(3 * want, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_what_a_sequence_kept_is_gone_before_the_next_one_begins():
    hidden, head = random()
    alive = []

    def terms(b, hidden, head, head_gradient):
        assert all(reference() is None for reference in alive)
        terms = squares(b, hidden, head, head_gradient)
        alive.append(weakref.ref(terms.loss))
        return terms

    sequence_mean(terms, hidden, head)
    assert len(alive) == 3


@pytest.mark.parametrize("wanted", ["hidden", "head"])
def test_either_gradient_alone_can_be_had(wanted):
    hidden, head = random()
    leaf = {"hidden": hidden, "head": head}[wanted]
    other = head if leaf is hidden else hidden
    sequence_mean(squares, *(x.detach() if x is other else x for x in (hidden, head))).loss.backward()
    assert leaf.grad.abs().sum() > 0 and other.grad is None
