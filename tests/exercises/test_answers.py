"""Solutions and known-wrong answers of every exercise; what is particular to one is tested beside its answers."""

import pytest

from discnb.exercises import exercises, hint

from . import practice, test_foundations, test_signals

ANSWERS = {**test_foundations.ANSWERS, **test_signals.ANSWERS, **practice.ANSWERS}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_is_right_and_wrong_ones_get_a_hint(name):
    right, wrong = ANSWERS[name]
    assert hint(name, right) is None
    for answer in wrong:
        assert isinstance(hint(name, answer), str), answer


def test_every_exercise_has_its_answers():
    assert set(exercises()) == set(ANSWERS)
