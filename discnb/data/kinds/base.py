"""What a problem kind is made of: its record, the registry, and exact numbers as text."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sympy import Expr, Integer, Matrix, Rational


@dataclass(frozen=True, slots=True)
class Problem:
    """One worked problem: a question, the lines of its derivation, and a short gradable answer."""

    question: str
    steps: list[str]
    response: str


Kind = Callable[[Random], Problem]

KINDS: dict[str, dict[str, Kind]] = {}
"""The registered kinds: domain -> name -> function."""


def kind(domain: str, name: str) -> Callable[[Kind], Kind]:
    """A decorator that registers a function of a random generator as a problem kind of `domain`."""

    def register(function: Kind) -> Kind:
        names = KINDS.setdefault(domain, {})
        if name in names:
            raise ValueError(f"{domain} already has a kind named {name!r}; choose another name")
        names[name] = function
        return function

    return register


def whole(rng: Random, low: int, high: int, step: int = 1) -> Integer:
    """A random SymPy Integer among low, low + step, ... up to and including high."""
    return Integer(rng.randrange(low, high + 1, step))


def show(value: Expr | int) -> str:
    """Text of an exact value: 12, -0.75 (terminating), 2/3 (not terminating), or x^2 + 3*x."""
    if isinstance(value, int):
        return str(value)
    if not value.is_Rational:
        return str(value).replace("**", "^").replace("log", "ln")
    sign = "-" if value < 0 else ""
    places = next((k for k in range(8) if 10**k % value.q == 0), None)
    if places is None:
        return f"{sign}{abs(value.p)}/{value.q}"
    digits = str(abs(value.p) * 10**places // value.q).zfill(places + 1)
    return sign + digits if places == 0 else f"{sign}{digits[:-places]}.{digits[-places:]}"


def paren(value: Expr | int) -> str:
    """Text of an exact value, in brackets where a minus sign would follow an operator."""
    text = show(value)
    return f"({text})" if text.startswith("-") else text


def rows(matrix: Matrix) -> str:
    """Text of a matrix as its rows: [[1, 2], [3, 4]]."""
    return "[" + ", ".join(vector(matrix.row(i)) for i in range(matrix.rows)) + "]"


def vector(entries) -> str:
    """Text of a vector: [1, 2]."""
    return "[" + ", ".join(show(entry) for entry in entries) + "]"


def one_of(rng: Random, *wordings: str) -> str:
    """One of several wordings of the same thing."""
    return rng.choice(wordings)


def hence(rng: Random) -> str:
    """A word that opens a conclusion."""
    return one_of(rng, "Hence", "Therefore", "Thus", "So")


def substituting(rng: Random) -> str:
    """Words that open a line in which the given numbers are put into a formula."""
    return one_of(rng, "Substituting", "With the given values", "Inserting the numbers")


def half(value: Expr) -> Rational:
    """Half of an exact value."""
    return value * Rational(1, 2)
