"""The problem kinds of the built-in corpus; importing this package registers them all."""

from discnb.data.kinds import algebra, engineering, equations, fields, life, mathematics, mechanics, physics
from discnb.data.kinds.base import KINDS, Problem, kind

__all__ = [
    "KINDS",
    "Problem",
    "algebra",
    "engineering",
    "equations",
    "fields",
    "kind",
    "life",
    "mathematics",
    "mechanics",
    "physics",
]
