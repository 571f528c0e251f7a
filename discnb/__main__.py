"""`python -m discnb`, which is how `torchrun -m discnb` starts every rank."""

from .cli import main

main()
