"""Discrepancy-informed knowledge distillation of language models.

Importing the package loads nothing heavy: torch and transformers come with the modules that need them.
"""

__version__ = "0.1.0"
