"""Samples, from the published sets or the built-in corpus, and the token features made of them.

Names load on first use, so that importing this package costs neither torch nor datasets.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .stem import load_stem
    from .tokens import Collator, TokenReport, tokenize_samples

__all__ = ["Collator", "TokenReport", "load_stem", "tokenize_samples"]

_MODULE = {"Collator": "tokens", "TokenReport": "tokens", "load_stem": "stem", "tokenize_samples": "tokens"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
