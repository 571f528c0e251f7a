"""Text from outside, for a terminal."""

import unicodedata

TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows, so that a line reads otherwise than it is."""


def printable(text: str) -> str:
    r"""The text with control characters but `\n` and `\t`, turning ones and lone surrogates as escapes.

    A terminal obeys the first, shows the second in another order, and cannot encode the third.
    """
    return "".join(_escaped(c) if not c.isprintable() else c for c in text)


def _escaped(character: str) -> str:
    if character in "\n\t":
        return character
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TURNING:
        return character.encode("unicode_escape").decode()
    return character
