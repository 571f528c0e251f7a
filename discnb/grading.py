"""Is a final answer right? Numbers, quantities with units, expressions, solution sets and matrices, plain or LaTeX.

What `discnb.notation` cannot read (intervals, inequalities, unions) goes to math-verify, but only LaTeX that is short
and shallow and without towers of powers. Its own time limit is not used: that is a signal, which works in a main thread
alone and takes the alarm from whoever else had set it.
"""

import logging
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

from .notation import CONSTANTS, DEEPEST, FUNCTIONS, Unreadable, braces, close, greek, number_of, plain, same_expression

LONGEST = 1000
"""Characters of an answer that is read; a longer one is right only if it is the reference's text."""


class Grade(NamedTuple):
    """Whether an answer is right, and why in a word or two."""

    correct: bool
    how: str


def grade(answer: str | None, reference: str, *, tolerance: float = 1e-3) -> Grade:
    """Whether `answer` says what `reference` says; no text raises or takes long.

    `tolerance` is relative and for numbers with a decimal point; whole numbers and fractions must be equal. A unit of
    the reference must be there, in any multiple. Several solutions may come in any order, names on the left may be left
    out, and words around the answer are an error. Both may be LaTeX, or end in `\\boxed{…}` or `#### …`.
    """
    if answer is None or not answer.strip():
        return Grade(False, "no answer")
    if answer.strip() == reference.strip():
        return Grade(True, "same text")
    try:
        given, wanted = _marked(answer), _marked(reference)
        if max(len(given), len(wanted)) > LONGEST:
            return Grade(False, "unreadable")
        if _squeezed(given) == _squeezed(wanted):
            return Grade(True, "same text")
        try:
            return _same_statements(plain(given), plain(wanted), tolerance)
        except Unreadable:
            return _math_verify(given, wanted)
    except Unreadable:
        return Grade(False, "unreadable")


def _marked(text: str) -> str:
    """What a solution marks as its answer: after the last `####`, or in its only `\\boxed{…}`; else all of it."""
    if "####" in text:
        return text.rpartition("####")[2].strip()
    boxes = {braces(text, found.end())[0].strip() for found in re.finditer(r"\\boxed\s*(?=\{)", text)}
    if len(boxes) > 1:
        raise Unreadable("two different boxes")
    return boxes.pop() if boxes else text.strip()


def _squeezed(text: str) -> str:
    """The text without what carries no meaning: spaces, dollar signs, a full stop at the end, capitals of words."""
    text = re.sub(r"\{(\w)\}", r"\1", text)  # x_{1}
    text = re.sub(r"\\text\s*\{([^{}]*)\}|\\left(?![a-z])|\\right(?![a-z])|\\[,;! ]|\$", r" \1", text)
    # a capital matters in a formula
    text = re.sub(r"[A-Za-z]{3,}(?=\s+[A-Za-z]{2,})|(?<=[a-z]\s)[A-Za-z]{3,}", lambda word: word[0].lower(), text)
    return re.sub(r"\s+", "", text).rstrip(".")


# Statements: `x = -3 or x = 5`


def _same_statements(given: str, wanted: str, tolerance: float) -> Grade:
    asked = [_sides(part) for part in _solutions(wanted)]
    found = [_sides(part) for part in _solutions(given)]
    if len(asked) != len(found):
        return Grade(False, "differs")
    named = {name for name, _ in asked} - {None}
    in_order = len(named) > 1 and not any(name for name, _ in found)
    why = "differs"
    for name, values in asked:
        for i, (other, chain) in enumerate(found[:1] if in_order else found):
            if not _same_name(other, name, tolerance):
                continue
            grades = [_same_value(value, values[-1], tolerance, loose=name is not None) for value in chain]
            if all(one.correct for one in grades):
                del found[i]
                why = grades[-1].how
                break
            why = next(one.how for one in grades if not one.correct)
        else:
            return Grade(False, why)
    return Grade(True, "solutions" if len(asked) > 1 else why)


def _solutions(text: str) -> list[str]:
    """The statements in a text, at commas and `and`, `or`; with ± each of them twice; a set is its elements."""
    parts = []
    for part in _split(text, ","):
        name, equals, value = part.rpartition("=")
        inner = re.fullmatch(r"\s*\{(.*)\}\s*", value)
        for one in _split(inner[1], ",") if inner and "{" not in inner[1] else [value]:
            one = f"{name}{equals}{one}"
            parts += [one.translate(_PLUS), one.translate(_MINUS)] if "±" in one or "∓" in one else [one]
    return parts


_PLUS, _MINUS = str.maketrans("±∓", "+-"), str.maketrans("±∓", "-+")
_AND = re.compile(r"\s(?:and|or)\s|;|\n")


def _split(text: str, mark: str) -> list[str]:
    """The pieces of a text between marks outside brackets; a comma within a number such as 12,345 is left out."""
    pieces, depth, at = [""], 0, 0
    while at < len(text):
        letter = text[at]
        depth += (letter in "([{") - (letter in ")]}")
        conjunction = _AND.match(text, at) if mark == "," and depth == 0 else None
        if conjunction:
            pieces.append("")
            at = conjunction.end()
            continue
        if letter != mark or depth != 0:
            pieces[-1] += letter
        elif mark == "=" or not (text[at - 1 : at].isdigit() and re.match(r"\d{3}(?!\d)", text[at + 1 : at + 5])):
            pieces.append("")
        at += 1
    pieces = [piece.strip() for piece in pieces]
    if not all(pieces):
        raise Unreadable("a side is empty")
    return pieces


def _sides(statement: str) -> tuple[str | None, list[str]]:
    """The name on the left, if there is one, and what it is said to equal, once or more."""
    if re.search(r"[<>≤≥≠]|!=", statement):
        raise Unreadable("an inequality")
    first, *rest = _split(statement, "=")
    return (first, rest) if rest else (None, [first])


def _same_name(given: str | None, wanted: str | None, tolerance: float) -> bool:
    """May what is on the left stand for what the reference has there? Nothing may, unless the left is an equation's."""
    if wanted is None:
        # of a reference without a name, any short one
        return given is None or re.fullmatch(r"[\w' ]{1,20}(\(.{1,20}\))?", given) is not None
    if given is None:
        return re.search(r"\w\)?\s*[+-]\s*[\w(]", re.sub(r"\^\s*\(?-", "^", wanted)) is None
    a, b = (re.sub(r"[\s*{}\\|]|(?<=\w)\([a-z]\)$", "", greek(text)) for text in (given, wanted))
    return a == b or same_expression(given, wanted, tolerance) is True


# Values


def _same_value(given: str, wanted: str, tolerance: float, loose: bool = False) -> Grade:
    """Whether two values are the same; `loose` lets a vector have brackets of another kind."""
    if _squeezed(given) == _squeezed(wanted):
        return Grade(True, "same text")
    if entries := _entries(wanted):
        others = _entries(given)
        if others is None and not re.match(r"[\[(]", given):
            return Grade(False, "differs")
        if others is None or (not loose and wanted[0] + wanted[-1] != given[0] + given[-1]):
            raise Unreadable("an interval")
        if len(entries) == 1 and _entries(entries[0]):
            entries, others = [entries[0]], others if _entries(others[0]) else [given]
        elif loose and all(_column(e) for e in others) and not any(_entries(e) for e in entries):
            others = [e[1:-1] for e in others]
        alike = len(entries) == len(others) and all(
            _same_value(a, b, tolerance, loose).correct for a, b in zip(others, entries, strict=True)
        )
        return Grade(alike, "entries" if alike else "differs")
    if quantity := _quantity(wanted):
        return _same_quantity(given, *quantity, tolerance)
    same = same_expression(given, wanted, tolerance)
    if not same and (bare := _bare(given)) is not None:
        same = same_expression(bare, wanted, tolerance)
    if same is None:
        raise Unreadable("not an expression")
    return Grade(same, "symbolic" if same else "differs")


def _entries(text: str) -> list[str] | None:
    """The entries of a row or a vector `[1, 2]`, or None if the text is not one."""
    if not (text[:1] in "[(" and text[-1:] in ")]") or len(text) < 3:
        return None
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and at < len(text) - 1:
            return None
        if depth > DEEPEST:
            raise Unreadable("too deep")
    entries = _comma_split(text[1:-1])
    return entries if len(entries) > 1 or text[0] == "[" else None


def _comma_split(text: str) -> list[str]:
    """The pieces between commas outside brackets; inside a vector a comma never belongs to a number."""
    return _split(text.replace(",", ", "), ",")


def _column(text: str) -> bool:
    entries = _entries(text)
    return entries is not None and len(entries) == 1


_POWER_OF_TEN = r"\s*\*\s*10\s*\^\s*(?:[-+]?\d{1,3}|\([-+]?\d{1,3}\))"
_NUMBER = rf"[-+]?\s*(?:\d[\d.]*|\.\d+)(?:\s*/\s*\d+)?(?:[eE][-+]?\d+)?(?:{_POWER_OF_TEN})?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*(/?[A-Za-zµΩ°%].*)", re.DOTALL)
_COMPUTED = re.compile(r"(.*[\d)])\s+([A-Za-zµΩ°%][^()]*)", re.DOTALL)
"""A quantity whose number is not written out: `3*13 m`."""
_WORDS = re.compile(r"[A-Za-z]{3,}(?: [A-Za-z]{3,})?")


def _quantity(text: str) -> tuple[str, str] | None:
    """Number and unit (or what is counted) of `39 m`, `5 kN*m`, `18 %`, `56 amino acids`; None of all else."""
    found = _QUANTITY.fullmatch(text)
    if not found or found[2].split("(")[0].strip() in (*FUNCTIONS, *CONSTANTS):
        return None
    spaced = not found[2][0].isalpha() or text[found.start(2) - 1].isspace()  # 7x is a product
    known = spaced and found[2][0] != "/" and (_unit(found[2]) is not None or _WORDS.fullmatch(found[2]))
    return (found[1], found[2]) if known else None


def _bare(text: str) -> str | None:
    """The number of an answer to a question that has no unit: without the one it has, or a word for what is counted."""
    found = _QUANTITY.fullmatch(text)
    if not found:
        return None
    if found[2] == "%":
        return found[1]
    unit = _unit(found[2])
    return found[1] if unit is not None or re.fullmatch(r"[A-Za-z]{3,}", found[2]) else None


def _same_quantity(given: str, number: str, unit: str, tolerance: float) -> Grade:
    found = _QUANTITY.fullmatch(given) or _COMPUTED.fullmatch(given)
    wanted = _unit(unit)
    if wanted is None:  # things counted
        value, thing = (found[1], found[2]) if found else (given, unit)
        if _counted(thing) != _counted(unit):
            return Grade(False, "other unit")
        same = same_expression(value, number, tolerance)
        return Grade(same is True, "quantity" if same else "differs")
    if not found:
        if not wanted.dimensionless:
            readable = same_expression(given, number, tolerance) is not None
            return Grade(False, "no unit" if readable else "differs")
        value, own = given, _registry().Unit("")
    else:
        value, own = found[1], _unit(found[2])
    if own is None:
        return Grade(False, "other unit")
    if found and found[2] == unit:
        same = same_expression(value, number, tolerance)
        return Grade(same is True, "quantity" if same else "differs")
    try:
        a, b = number_of(value), number_of(number)
    except (Unreadable, ArithmeticError, ValueError):
        return Grade(False, "differs")
    for left in _readings(found[2] if found else "", own):
        for right in _readings(unit, wanted):
            converted = _convert(a, left, right)
            if converted is not None:
                return Grade(same := close(converted, b, tolerance), "quantity" if same else "differs")
    return Grade(False, "other unit")


def _counted(text: str) -> str:
    """What is counted, in the singular."""
    return re.sub(r"ies$", "y", text.strip().lower()).removesuffix("s")


def _convert(value: float, unit: Any, into: Any) -> float | None:
    """A value in another unit, or None if it is of another kind."""
    if unit.dimensionality != into.dimensionality:
        return None
    try:
        return float(_registry().Quantity(value, unit).to(into).magnitude)
    except Exception:  # pint has no base class for what it raises, and adds OverflowError
        return None


def _readings(text: str, unit: Any) -> Iterator[Any]:
    """The unit, and for a plain C, the coulomb, also the degree Celsius."""
    yield unit
    if text.strip() == "C":
        yield _registry().Unit("degC")


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


_FACTOR = re.compile(r"([A-Za-zµΩ°%]{1,24})(?:\^?\(?(-?[1-9])\)?)?")


@lru_cache(maxsize=4096)
def _unit(text: str) -> Any | None:
    """The pint unit of `m/s^2`, `N*m`, `°C`, `%`; None where there is none. Names are looked up, not evaluated."""
    text = re.sub(r"^\(([^()]*)\)$", r"\1", text.strip()).replace("Ω", "ohm").replace("^(", "^").replace("\\", "")
    text = re.sub(r"(?:°|\bdegrees? |\bdeg )\s*(?:C|[Cc]elsius)\b", "degC", text).replace("%", "percent")
    text = re.sub(r"\bper\b", "/", text.replace("°", "degree"))
    if len(text) > 60:
        return None
    pieces = re.split(r"\s*([*/])\s*|\s+", re.sub(r"\s*\^\s*", "^", text))
    unit, sign = _registry().Unit(""), 1
    for piece in pieces:
        if piece in (None, "", "*", "/", "1"):
            sign = -1 if piece == "/" else 1 if piece == "*" else sign
            continue
        factor = _FACTOR.fullmatch(piece)
        known = _unit_name(factor[1]) if factor else None
        if factor is None or known is None:
            return None
        unit = unit * known ** (sign * int(factor[2] or 1))
        sign = 1
    return unit


@lru_cache(maxsize=4096)
def _unit_name(name: str) -> Any | None:
    try:
        return _registry().parse_units(name)
    except Exception:  # pint's errors for a word it does not know are of several kinds
        return None


# What is left, by math-verify

_TOWER = re.compile(r"[\^][^,=]*[\^]")


def _math_verify(given: str, wanted: str) -> Grade:
    """What math-verify says of two LaTeX texts that it can read in little time; "unreadable" of all others."""
    if not (_harmless(given) and _harmless(wanted) and re.search(r"\\|[<>≤≥]|^[\[(].*,.*[\])]$", wanted)):
        return Grade(False, "unreadable")
    from math_verify import LatexExtractionConfig, parse, verify

    for module in ("parser", "grader"):  # they warn that nothing limits their time: _harmless does
        logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
    # never its reader of plain text, which is SymPy's and evaluates Python
    how = {"extraction_config": [LatexExtractionConfig()], "parsing_timeout": None}
    texts = (text.strip("$").replace("≤", r"\le ").replace("≥", r"\ge ") for text in (wanted, given))
    try:
        gold, target = (parse(f"${text}$", **how) for text in texts)
        same = bool(gold and target) and verify(gold, target, timeout_seconds=None)
    except Exception:  # SymPy's errors are of any kind
        return Grade(False, "unreadable")
    return Grade(same, "math-verify" if same else "differs")


def _harmless(text: str) -> bool:
    """Is this LaTeX short and flat, with small powers and none of powers, and without prose?"""
    words = re.sub(r"\\text\s*\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    heavy = r"\\(?:int|sum|prod|lim|binom|d?t?frac\s*\{?\s*\\d?t?frac|exp|uparrow|bmod|mod|pmod|gcd|lcm|input|def)|!|'"
    depth = deepest = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    return (
        len(text) <= 160
        and deepest <= 5
        and len(re.findall(r"[(\[{]", text)) <= 16
        and text.count(")(") <= 4
        and not re.search(r"\d{10}|\^\s*\{?\s*-?\d{3}|\d_|[\]})]\s*\^", text)
        and not _TOWER.search(text)
        and not re.search(heavy, text)
        and not re.search(r"[A-Za-z]{3,}", words)
    )
