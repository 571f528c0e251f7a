"""Every test runs with jaxtyping's shapes checked at each call of a public tensor function."""

from hypothesis import settings
from jaxtyping import install_import_hook

hook = install_import_hook(["discnb.signal", "discnb.objective"], "beartype.beartype")

# the same examples on every machine, and no deadline: the first call of an operator loads kernels
settings.register_profile("discnb", deadline=None, derandomize=True)
settings.load_profile("discnb")
