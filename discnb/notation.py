"""Formulas as text: LaTeX into plain notation, and plain expressions compared by their values.

The text is a model's, so nothing here runs or expands it: an expression is computed in floating point while it is read,
where `9**9**9**9` overflows at once. Two expressions are the same if they have the same values at random points.
"""

import math
import re
from collections.abc import Callable
from functools import lru_cache
from random import Random

DEEPEST = 40
"""Brackets within brackets that are read."""

POINTS = 8
"""Places at which two expressions are compared: half of them with positive values, which keep roots real."""


class Unreadable(Exception):
    """The text is not in the notation that is read here."""


# LaTeX and Unicode to plain notation

FUNCTIONS: dict[str, Callable[[float], float]] = {
    "exp": math.exp, "sqrt": math.sqrt, "ln": math.log, "log": math.log, "abs": abs,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan,
    "asin": math.asin, "acos": math.acos, "atan": math.atan,
}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e}
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK_NAMES.split(), strict=True))
_COMMANDS = {
    **{name: f" {name} " for name in (*FUNCTIONS, *_GREEK.values())},
    **dict.fromkeys(["left", "right", "big", "Big", "!", "$", "displaystyle"], ""),
    **dict.fromkeys([",", ";", ":", " ", "quad", "qquad", "\n"], " "),
    **dict.fromkeys(["cdot", "times"], "*"),
    **{"div": "/", "pm": "±", "mp": "∓", "%": "%", "circ": "°", "degree": "°", "{": "{", "}": "}", "lbrace": "{"},
    **{"rbrace": "}", "lvert": "|", "rvert": "|", "vert": "|", "prime": "'", "approx": "=", "varphi": " phi "},
}
_TEXTS = ("text", "mathrm", "mbox", "textbf", "mathbf", "operatorname", "textrm", "mathit", "rm")
_CHARACTERS = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "²": "^2", "³": "^3", "√": " sqrt ", "′": "'"}
    | {"≈": "=", "μ": "µ", "Ω": "Ω", "’": "'", "\u00a0": " ", "€": "", "£": "", "$": ""}
)
_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_MATRIX = re.compile(r"\{([pb]matrix)\}(.*?)\\end\{\1\}", re.DOTALL)


def plain(text: str) -> str:
    """The text in the corpus's own notation: `(x^2 + 1)/2`, `[[1, 2], [3, 4]]`, `6 m/s^2`."""
    if "\\" in text or re.search(r"[\^_]\{", text):
        text = _from_latex(re.sub(r"\^\s*(\{\s*\\circ\s*\}|\\circ)", "°", text))
    text = text.translate(_CHARACTERS).replace("**", "^").replace("+/-", "±").replace("+-", "±")
    text = re.sub(r"(?<=[A-Za-z])_(?=\w)", "", text)
    return text.strip().removesuffix(".").strip()


def _from_latex(text: str, depth: int = 0) -> str:
    """Plain notation of LaTeX; a command that has none is Unreadable."""
    if depth > DEEPEST:
        raise Unreadable("too deep")
    out, at = "", 0
    text = re.sub(r"\{,\}|(?<=\d),\\!\s*(?=\d{3})", "", text)

    def group() -> str:
        nonlocal at
        inner, at = braces(text, at)
        return _from_latex(inner, depth + 1)

    while at < len(text):
        command = _COMMAND.match(text, at)
        if text[at] == "{":
            out += f"({group()})"
        elif text[at] == "}":
            raise Unreadable("a brace too many")
        elif text[at] == "_":
            if re.search(r"\d\s*$", out):
                raise Unreadable("a base")
            at += 1
            out += f"_{group()}"
        elif command is None:
            out += text[at]
            at += 1
        else:
            name, at = command[1], command.end()
            if name in ("frac", "dfrac", "tfrac"):
                above, below = group(), group()
                whole = re.search(r"\d+$", out) if above.isdigit() and below.isdigit() else None
                mixed = f"{whole[0]} + " if whole else ""
                out = out[: whole.start() if whole else len(out)] + f"({mixed}({above})/({below}))"
            elif name == "sqrt":
                index = re.compile(r"\s*\[(\w{1,3})\]").match(text, at)
                at = index.end() if index else at
                out += f"(({group()})^(1/{index[1]}))" if index else f" sqrt({group()})"
            elif name in _TEXTS:
                inner, at = braces(text, at)
                out += f" {inner} "
            elif name == "begin" and (matrix := _MATRIX.match(text, at)):
                at = matrix.end()
                rows = [row.split("&") for row in matrix[2].split("\\\\") if row.strip()]
                entries = [", ".join(_from_latex(entry, depth + 1) for entry in row) for row in rows]
                out += "[" + ", ".join(f"[{row}]" for row in entries) + "]"
            elif name in _COMMANDS:
                out += _COMMANDS[name]
            else:
                raise Unreadable(name)
    return out


def braces(text: str, at: int) -> tuple[str, int]:
    """What stands in braces at `at`, or the one character or command there, and where it ends."""
    while at < len(text) and text[at].isspace():
        at += 1
    if at >= len(text):
        raise Unreadable("something is missing")
    if text[at] != "{":
        command = _COMMAND.match(text, at)
        end = command.end() if command else at + 1
        return text[at:end], end
    depth = 0
    for end in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1 : end] != "\\" else 0
        if depth == 0:
            return text[at + 1 : end], end + 1
    raise Unreadable("a brace is not closed")


def greek(text: str) -> str:
    """The text with Greek letters by their names."""
    return "".join(_GREEK.get(letter, letter) for letter in text)


# Expressions


def same_expression(given: str, wanted: str, tolerance: float) -> bool | None:
    """Whether two expressions have the same values wherever both are real; None if that cannot be said."""
    # `2pq` may be one name or a product; what the two sides agree on is meant
    verdicts = [_agree(given, wanted, tolerance, split) for split in (False, True)]
    return True if True in verdicts else verdicts[0]


def _agree(given: str, wanted: str, tolerance: float, split: bool) -> bool | None:
    try:
        named = _Reader(given, 0, split).named() or _Reader(wanted, 0, split).named()
    except Unreadable:
        return None
    if not any(re.search(r"\d\.\d|\d[eE]|10\s*\^", text) for text in (given, wanted)):
        tolerance = 1e-9
    compared = 0
    for point in range(POINTS if named else 1):
        try:
            a, b = _Reader(given, point, split).value(), _Reader(wanted, point, split).value()
        except Unreadable:
            return None
        except (ArithmeticError, ValueError):  # not real here
            continue
        # what cancels leaves a rest
        if not (close(a, b, tolerance) or (named and abs(a - b) < 1e-12)):
            return False
        compared += 1
    return True if compared >= (2 if named else 1) else None


def close(given: float, wanted: float, tolerance: float) -> bool:
    return math.isclose(given, wanted, rel_tol=tolerance, abs_tol=0.0 if wanted else 1e-9)


def number_of(text: str) -> float:
    """The value of a text without names."""
    reader = _Reader(text, 0, False)
    if reader.named():
        raise Unreadable("not a number")
    return reader.value()


_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)|([A-Za-zµ]+\d*'*)|(\S))")
_LETTER = re.compile(r"exp|sqrt|arc(?:sin|cos|tan)|sinh|cosh|tanh|sin|cos|tan|ln|log|pi|[A-Za-zµ]\d*'*")


class _Reader:
    """Computes an expression while reading it, each name having a random value of its own at each point."""

    def __init__(self, text: str, point: int, split: bool) -> None:
        self.point, self.depth, self.at = point, 0, 0
        self.tokens: list[tuple[str, str]] = []  # (kind, text)
        for number, name, sign in _TOKEN.findall(greek(text)):
            if number:
                self.tokens.append(("number", number))
            elif name:
                known = not split or name in FUNCTIONS or name in CONSTANTS
                self.tokens += [("name", one) for one in ([name] if known else _LETTER.findall(name))]
            else:
                self.tokens.append(("sign", sign))
        self.tokens.append(("end", ""))

    def value(self) -> float:
        """The expression's value; a text that is none is Unreadable, a value that is not real a ValueError."""
        value = self.sum()
        if self.tokens[self.at][0] != "end":
            raise Unreadable("something is left over")
        if not math.isfinite(value):
            raise OverflowError
        return value

    def named(self) -> bool:
        """Does it have names, other than of functions and constants?"""
        return any(kind == "name" and text not in (*FUNCTIONS, *CONSTANTS) for kind, text in self.tokens)

    def take(self, *signs: str) -> str | None:
        """The next sign, if it is one of these."""
        kind, text = self.tokens[self.at]
        if kind == "sign" and text in signs:
            self.at += 1
            return text
        return None

    def sum(self) -> float:
        value = self.product()
        while sign := self.take("+", "-"):
            term = self.product()
            value = value + term if sign == "+" else value - term
        return value

    def product(self, implicit_only: bool = False) -> float:
        value = self.signed()
        while True:
            kind, text = self.tokens[self.at]
            sign = None if implicit_only else self.take("*", "/")
            if sign is None and kind != "name" and text != "(":
                return value
            if implicit_only and text in FUNCTIONS:
                return value
            factor = self.signed()
            value = value / factor if sign == "/" else value * factor

    def signed(self) -> float:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unreadable("too deep")
        sign = self.take("-", "+")
        value = self.signed() if sign else self.power()
        self.depth -= 1
        return -value if sign == "-" else value

    def power(self) -> float:
        return self.raised(self.atom())

    def raised(self, base: float) -> float:
        if not self.take("^"):
            return base
        value = base ** self.signed()
        if isinstance(value, complex):
            raise ValueError("not real")
        return value

    def atom(self) -> float:
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return float(text)
        if kind == "name":
            return self.named_value(text)
        if text in ("(", "|"):
            value = self.sum()
            if not self.take(")" if text == "(" else "|"):
                raise Unreadable("a bracket is not closed")
            return abs(value) if text == "|" else value
        raise Unreadable(text)

    def named_value(self, name: str) -> float:
        if name in FUNCTIONS:
            power = self.signed() if self.take("^") else 1.0  # sin^2 x
            bracket = self.tokens[self.at][1] == "("
            value = FUNCTIONS[name](self.atom() if bracket else self.product(implicit_only=True))
            return value**power if power != 1.0 else value
        if name in CONSTANTS:
            return CONSTANTS[name]
        return _at_point(name, self.point)


@lru_cache(maxsize=4096)
def _at_point(name: str, point: int) -> float:
    rng = Random(f"{point}/{name}")
    size = rng.uniform(0.2, 2.0) * (1 if point % 2 else 4)
    return size if point < POINTS // 2 or rng.random() < 0.5 else -size
