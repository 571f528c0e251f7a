import math

import numpy as np
import pytest
import torch

from discnb import continuous
from discnb.signal import discrepancy


def test_the_cantor_function_has_its_known_values():
    x = np.array([0, 1 / 9, 2 / 9, 1 / 3, 0.5, 2 / 3, 0.25, 0.75, 1, -1, 2])
    expected = [0, 1 / 4, 1 / 4, 1 / 2, 1 / 2, 1 / 2, 1 / 3, 2 / 3, 1, 0, 1]
    assert np.allclose(continuous.cantor(x), expected, atol=1e-9)


def test_the_cantor_function_never_falls_and_repeats_itself_in_small():
    x = continuous.midpoints(5000)
    assert (np.diff(continuous.cantor(x)) >= 0).all()
    assert np.allclose(continuous.cantor(x / 3), continuous.cantor(x) / 2, atol=1e-6)


@pytest.mark.parametrize("eps", [0.2, 0.01])
def test_a_slope_has_its_size_as_discrepancy(eps):
    x = np.array([0.1, 0.5, 0.6])  # left of the kink, on it, right of it
    assert np.allclose(continuous.operator(continuous.absolute, x[1:], eps), 1, atol=1e-3)
    assert np.allclose(continuous.operator(lambda x: -3 * x, x, eps), 3, atol=3e-3)


def test_a_step_is_seen_from_its_left_only_and_logarithmically():
    eps, distance = 0.1, np.array([0.001, 0.01, 0.05])
    D = continuous.operator(continuous.step, 0.5 - distance, eps)
    assert np.allclose(D, np.log(eps / distance) / eps, atol=0.6 * continuous.REACH / continuous.NODES / eps)
    assert (continuous.operator(continuous.step, np.array([0.39, 0.5, 0.7]), eps) == 0).all()


@pytest.mark.parametrize("f", [continuous.step, continuous.cantor, lambda x: x], ids=["step", "cantor", "line"])
@pytest.mark.parametrize("eps", [1 / 9, 1 / 81])
def test_the_mass_of_a_rising_function_is_its_rise_at_every_scale(f, eps):
    x = 2 * continuous.midpoints(12_000) - 0.5
    rise = f(np.array([1.5 + eps / 2])) - f(np.array([-0.5]))
    assert np.mean(continuous.operator(f, x, eps)) * 2 == pytest.approx(rise[0], rel=0.03)


def test_widths_shrink_as_the_kind_of_function_says():
    x = continuous.midpoints(3**8)
    exponents = {}
    for f in (continuous.absolute, continuous.step, continuous.cantor):
        wide, narrow = (continuous.width_of(continuous.operator(f, x, 3.0**-k)) for k in (3, 5))
        exponents[f.__name__] = math.log(wide / narrow) / math.log(9)
    assert exponents["absolute"] == pytest.approx(0, abs=0.02)
    assert exponents["cantor"] == pytest.approx(1 - math.log(2) / math.log(3), abs=0.06)
    assert exponents["step"] == pytest.approx(1, abs=0.06)


def test_width_of_counts_the_fewest_points():
    assert continuous.width_of(np.array([0, 9.0, 1.0, 0])) == 0.25
    assert continuous.width_of(np.ones(10), share=1.0) == 1


def test_functions_of_three_kinds_through_the_same_points_agree_on_the_lattice():
    values, whole = np.array([0, 2, 1, 1, 4.0]), np.arange(5)
    for kind in ("linear", "step", "cantor"):
        assert np.allclose(continuous.through(values, kind)(whole), values), kind
    assert continuous.through(values, "linear")(np.array([0.5]))[0] == 1
    assert continuous.through(values, "step")(np.array([0.4, 0.6])).tolist() == [0, 2]
    assert continuous.through(values, "cantor")(np.array([0.4, 0.6])).tolist() == [1, 1]


def test_the_operator_on_a_lattice_is_the_discrepancy():
    # a Riemann sum of the operator over whole steps, for a function that is linear between them
    values = torch.tensor([0.0, 1, 3, 6, 10]).double()
    D, _ = discrepancy(values[None], torch.ones(1, 5, dtype=torch.bool), window=3)
    by_hand = sum(abs(values[j] - values[0]) / j for j in (1, 2, 3)) / 3
    assert D[0, 0] == by_hand


@pytest.mark.parametrize(
    "call",
    [
        lambda: continuous.operator(continuous.step, np.zeros(1), 0.0),
        lambda: continuous.width_of(np.ones(3), share=0),
        lambda: continuous.through(np.zeros(3), "smooth"),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()
