"""Is a final answer right? math-verify says whether two values are the same, pint whether two quantities are.

What is done here is only what they do not do: an answer is cut into statements, and the corpus's plain notation is
written as LaTeX. math-verify takes capitals for small letters. Its time limits are not used: they are signals, which
work in a main thread alone, and a grade would depend on how busy the machine is. Instead the text is held small and,
before anything is computed, the parsed expression.
"""

import logging
import math
import re
from itertools import accumulate
from typing import Any, NamedTuple

from latex2sympy2_extended import NormalizationConfig
from latex2sympy2_extended.math_normalization import extract_boxed_content
from math_verify import LatexExtractionConfig, parse, verify
from pint import Unit, UnitRegistry
from sympy import Expr, Pow, exp

LONGEST = 1000
"""Characters of an answer that is read; a longer one is right only if it is the reference's text."""
LONGEST_VALUE, DEEPEST, HEAVIEST = 200, 8, 100
"""Of a value that math-verify reads: characters, brackets within brackets, and parts when powers are written out."""

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time limits are off


class Grade(NamedTuple):
    """Whether an answer is right, and why in a word or two."""

    correct: bool
    how: str


def grade(answer: str | None, reference: str, *, tolerance: float = 1e-3) -> Grade:
    """Whether `answer` says what `reference` says; no text raises, and hardly any takes more than a second.

    Numbers are equal up to the relative `tolerance` if either has a decimal point or an exponent, and else exactly. A
    unit of the reference must be there, in any multiple. Several solutions may come in any order, names on the left may
    be left out, of a chain of equations the last side counts, and words around the answer are an error. Both may be
    LaTeX, or mark their answer by `\\boxed{…}` or `#### …`.
    """
    if answer is None or not answer.strip():
        return Grade(False, "no answer")
    if answer.strip() == reference.strip():
        return Grade(True, "same text")
    if max(len(answer), len(reference)) > LONGEST:
        return Grade(False, "unreadable")
    given, wanted = _tidy(answer), _tidy(reference)
    if given and re.sub(r"\s", "", given) == re.sub(r"\s", "", wanted):
        return Grade(True, "same text")
    return _same_statements(_statements(given), _statements(wanted), tolerance)


_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
_GREEK_LETTERS = str.maketrans(dict(zip("αβγδεζηθικλμνξπρστφχψω", _GREEK.split(), strict=True)))
_SIGNS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/", "²": "^2", "³": "^3", "′": "'", "’": "'", "$": "", "√": "sqrt"}
    | {"≤": r"\le ", "≥": r"\ge ", "∞": r"\infty ", "\u00a0": " "}
)


def _tidy(text: str) -> str:
    """What a text marks as its answer, all of it without a mark, and without what carries no meaning."""
    text = extract_boxed_content(text.rpartition("####")[2], mode="all").translate(_SIGNS)
    text = re.sub(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text)
    text = re.sub(r"\\(?:left|right)(?![a-z])|\\!", "", text)
    text = re.sub(r"\\[,;: ]|~", " ", text)
    text = re.sub(r"(?<![(\[{,.\d])\d{1,3}(?:,\d{3})+(?![\d,])", lambda number: number[0].replace(",", ""), text)
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", "°", text).replace(r"\%", "%").replace("**", "^")
    return re.sub(r"\\pm(?![a-z])|\+/?-", "±", text).strip().removesuffix(".").strip()


def _statements(text: str) -> list[tuple[str, str]]:
    """Name, or "", and value of each statement: between commas, `and` and `or`; a set's elements; two of a ±."""
    inner = re.fullmatch(r"\\\{([^{}]*)\\\}", text)
    parts, depth = [""], 0
    for token in re.findall(r"\s(?:and|or)\s|[\s\S]", inner[1] if inner else text):
        depth += (token in "([{") - (token in ")]}")
        if depth == 0 and token.strip(" ") in ("and", "or", ",", ";", "\n"):
            parts.append("")
        else:
            parts[-1] += token
    parts = [part.replace("±", sign) for part in parts for sign in ("+-" if "±" in part else "+")]
    sides = [re.split(r"(?<![<>!])=", part) for part in parts]
    return [(_name(first) if rest else "", (rest or [first])[-1].strip()) for first, *rest in sides]


def _name(text: str) -> str:
    """What is on the left, without what may be left out: `y` of `y(x)`, `Pv` of `P*v`, `x1` of `x_{1}`."""
    text = re.sub(r"\\cdot(?![a-z])|[\s*{}\\|_]", "", text.translate(_GREEK_LETTERS))
    return re.sub(r"(?<=\w)\([a-z]\)$", "", text)


def _same_statements(found: list[tuple[str, str]], asked: list[tuple[str, str]], tolerance: float) -> Grade:
    """Whether every statement asked for is found, and no other."""
    if len(found) != len(asked):
        return Grade(False, "differs")
    if len({name for name, _ in asked}) > 1 and not any(name for name, _ in found):  # they are in order
        found = [(name, value) for (name, _), (_, value) in zip(asked, found, strict=True)]
    for name, value in asked:
        equation = re.search(r"(?<![\^(])[+-]", name)  # its left side may not be left out
        rivals = [one for one in found if one[0] == name or not name or not (one[0] or equation)]
        grades = [_same_value(candidate, value, tolerance, named=bool(name)) for _, candidate in rivals]
        best = max(grades, default=Grade(False, "differs"))
        if not best.correct:
            return best
        found.remove(rivals[grades.index(best)])
    return best


_UNITS: UnitRegistry = UnitRegistry()
_NUMBER = r"[-+]?(?:\d{1,13}(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?:/[1-9]\d*)?"
_FACTOR = r"(?!pi\b|e\b)[A-Za-zµμΩ°%]+(?:\^-?\d)?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*(/?{_FACTOR}(?:[ */]{_FACTOR}){{,5}})?")
"""Number and unit, or what is counted: `39 m`, `1/3`, `18 %`, `56 amino acids`."""


def _same_value(given: str, wanted: str, tolerance: float, named: bool) -> Grade:
    power = re.compile(r"\s*(?:\*|\\times|\\cdot)\s*10\s*\^\s*[({]?([-+]?\d+)[)}]?")
    asked, found = (_QUANTITY.fullmatch(power.sub(r"e\1", text)) for text in (wanted, given))
    if asked and (found or asked[2]):
        return _same_quantity(found, asked, tolerance) if found else Grade(False, "unreadable")
    return _same_expression(given, wanted, tolerance, vector=named and re.match(r"\[[^\[]", wanted) is not None)


def _same_quantity(found: re.Match[str], asked: re.Match[str], tolerance: float) -> Grade:
    """Whether two quantities are the same. A plain number may be given with any unit or a word, things without."""
    a, b = (float(above) / float(below or 1) for above, _, below in (one[1].partition("/") for one in (found, asked)))
    their_unit, our_unit = found[2] or "", asked[2] or ""
    theirs, ours = _unit(their_unit), _unit(our_unit)
    if our_unit == "C" and theirs is not None and not theirs.is_compatible_with("C"):
        ours = _UNITS.degC
    if not our_unit:
        fits = theirs is not None or their_unit.isalpha()
    elif ours is None:  # things that are counted
        fits = not their_unit or their_unit.rstrip("s") == our_unit.rstrip("s")
    else:
        fits = theirs is not None and theirs.is_compatible_with(ours)
        a = _UNITS.Quantity(a, theirs).to(ours).magnitude if fits else a
    if not fits:
        return Grade(False, "other unit" if their_unit else "no unit")
    same = math.isclose(a, b, rel_tol=tolerance if re.search(r"[.eE]", found[1] + asked[1]) else 1e-14)
    return Grade(same, "quantity" if same else "differs")


def _unit(text: str) -> Unit | None:
    """The unit of this name, or None if pint has none."""
    text = re.sub(r"^/", "1/", text).replace(" ", "*")
    try:
        return _UNITS.parse_units(text)
    except Exception:  # pint's are of several kinds, without a base class
        return None


_NAMES = f"{_GREEK} sqrt exp ln log sin cos tan cot sinh cosh tanh arcsin arccos arctan".split()
_COMMANDS = "|".join([*_NAMES, "[dt]?frac|cdot|times|div|[lg]eq?|neq?|in|cup|cap|infty|begin|end"])
_ODD = rf"\\(?!(?:{_COMMANDS})(?![A-Za-z]))[A-Za-z]|[!:]|\d_|\d\s+\d|(?<![\\A-Za-z])[A-Za-z]{{2,}}\s+[A-Za-z]{{2,}}"
"""Other commands, and what would be read as something else: `2_7`, `5 5`, words as products of letters."""
_LATEX = LatexExtractionConfig(normalization_config=NormalizationConfig(malformed_operators=True, nits=True))


def _same_expression(given: str, wanted: str, tolerance: float, vector: bool) -> Grade:
    """What math-verify says of two expressions, sets, intervals, matrices or inequalities."""
    try:
        a, b = (_parsed(_latex(text, vector)) for text in (given, wanted))
        if re.search(r"\d\.\d", given + wanted) and all(isinstance(one, Expr) and one.is_number for one in (a, b)):
            same = abs(complex(a) - complex(b)) <= tolerance * abs(complex(b))
        else:
            same = verify(b, a, timeout_seconds=None, raise_on_error=True)
    except Exception:  # SymPy's errors are of any kind
        return Grade(False, "unreadable")
    return Grade(same, "symbolic" if same else "differs")


def _parsed(latex: str) -> Any:
    """The expression that a text is; a ValueError if it is none, or one that may take long to read or to compare."""
    depth = max(accumulate((letter in "([{") - (letter in ")]}") for letter in latex), default=0)
    small = len(latex) <= LONGEST_VALUE and depth <= DEEPEST and latex.count("|") <= 4
    if not small or re.search(_ODD, latex):
        raise ValueError("not an expression")
    found = parse(f"${latex}$", [_LATEX], fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
    if not found or _weight(found[0]) > HEAVIEST:
        raise ValueError("not an expression, or a large one")
    return found[0]


def _weight(node: Any) -> float:
    """The parts of an expression when its powers are written out; parsing has computed none of them."""
    if not isinstance(node, Pow | exp):
        return 1 + sum(map(_weight, getattr(node, "args", node)))  # a matrix is its entries
    base, power = node.as_base_exp()
    weight = _weight(power)
    if weight <= HEAVIEST and power.is_number:
        weight = max(1.0, abs(float(power))) ** (2 if base.args else 1)  # a sum's terms multiply
    return _weight(base) * weight


def _latex(text: str, vector: bool = False) -> str:
    """Plain notation as LaTeX, which stays as it is. With `vector`, a row in brackets is a column."""
    matrix = re.fullmatch(r"\[\s*\[(.*)\]\s*\]", text)
    if matrix or (vector and (matrix := re.fullmatch(r"[\[(](.*)[\])]", text))):
        rows = map(_latex, re.split(r"\]\s*,\s*\[" if "[" in text[1:] else ",", matrix[1]))
        return r"\begin{pmatrix}" + r"\\".join(rows).replace(",", "&") + r"\end{pmatrix}"
    if "\\" in text:
        return text

    def name(found: re.Match[str]) -> str:
        # several letters are a product, digits and primes after them an index
        index = found[2] + "p" * len(found[3])
        return ("\\" if found[1] in _NAMES else "") + found[1] + (f"_{{{index}}}" if index else " ")

    text = re.sub(r"(?<=\d)[eE](?=-?\d)", "*10^", text)
    text = re.sub(r"([A-Za-z]+)(\d*)('*)", name, text.translate(_GREEK_LETTERS))
    text = re.sub(r"\^\s*([-+]?(?:\d+|[A-Za-z]))", r"^{\1}", text.replace("<=", r"\le ").replace(">=", r"\ge "))
    shapes, found = {r"\sqrt": r"\sqrt{%s}", r"\exp": "e^{%s}", "^": "^{%s}", None: "⟨%s⟩"}, 1
    while found:  # from the innermost brackets outwards
        text, found = re.subn(r"(\\sqrt|\\exp|\^)?\s*\(([^()]*)\)", lambda inner: shapes[inner[1]] % inner[2], text)
    return text.replace("⟨", "(").replace("⟩", ")")
