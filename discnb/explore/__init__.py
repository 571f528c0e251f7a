"""Looking at a derivation token by token, and at a run."""
