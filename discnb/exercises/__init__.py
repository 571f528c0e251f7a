"""The book's exercises, which check themselves: `check("pivots-chance", 0.05)` says right, or gives a hint.

An answer is compared with what `discnb` computes, never with a stored solution; solutions and known-wrong answers run
in the tests.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_MODULES = ("foundations", "signals", "practice")


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question, and a function from an answer to None where it is right and a hint where it is not."""

    question: str
    judge: Callable[[Any], str | None]


_EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, question: str) -> Callable[[Callable[[Any], str | None]], Callable[[Any], str | None]]:
    """Register the decorated function as the judge of an exercise."""

    def register(judge: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        if name in _EXERCISES:
            raise ValueError(f"there are two exercises {name!r}")
        _EXERCISES[name] = Exercise(question, judge)
        return judge

    return register


def exercises() -> dict[str, Exercise]:
    """All exercises by name."""
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return dict(_EXERCISES)


def hint(name: str, answer: Any) -> str | None:
    """None where the answer is right, else a hint; an answer that cannot be judged is told why."""
    known = exercises()
    if name not in known:
        raise ValueError(f"there is no exercise {name!r}; expected one of {', '.join(sorted(known))}")
    try:
        return known[name].judge(answer)
    except Exception as error:  # the answer may be anything, a function that fails included
        return f"the answer could not be judged: {type(error).__name__}: {error}"


def check(name: str, answer: Any) -> None:
    """Print whether the answer is right."""
    said = hint(name, answer)
    print("right" if said is None else f"not yet: {said}")
