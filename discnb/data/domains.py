"""The ten domains, as the published data has them."""

CARD_COUNTS = {
    "Physics": 2254,
    "Linear-Algebra": 667,
    "Differential-Equations": 636,
    "Electromagnetism": 580,
    "Mathematics": 576,
    "Engineering": 574,
    "Classical-Mechanics": 343,
    "Theoretical-Mechanics": 307,
    "Physiology": 114,
    "Molecular-Biology": 71,
}
"""The rows of each published set, in the card's order; a set is called `dataset-CoT-<domain>-<rows>`.

The built-in corpus keeps the proportions.
"""
