"""Measurements that are committed, so that a chapter can quote what takes too long to measure again."""

from pathlib import Path
from typing import Any

from .checkpoint import read_json


def committed(path: str) -> Any:
    """A results file by its path in the repository, such as `benchmarks/results/cache.json`; a wheel carries it too."""
    package = Path(__file__).parent
    installed = package / path
    return read_json(installed if installed.exists() else package.parent / path)
