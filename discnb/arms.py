"""The arms of the ablation: DISC, its parts taken away one at a time, and the field's rivals, as objectives.

All arms see the same data, cross-entropy and temperature, and but for `ce` and the published `disc_card` every one has
the same total KD weight in each sequence. The rivals' sources and what was simplified stand with their selections
(`discnb.selection`) and divergences (`discnb.signal.divergences`).
"""

from dataclasses import replace

from .objective import DiscObjective

DISC = DiscObjective(normalise="mass")
UNIFORM = replace(DISC, selection="all", amplifier=1.0, smoothing_window=1, energy_weight=0.0)
SELECTIVE = replace(UNIFORM, rest=0.0)

ARMS: dict[str, DiscObjective] = {
    # baselines
    "ce": replace(UNIFORM, ce_weight=1.0, kd_weight=0.0),
    "uniform": UNIFORM,
    "proof": replace(UNIFORM, selection="proof"),
    # the method, as published and at equal mass, and without each part
    "disc_card": DiscObjective(),
    "disc": DISC,
    "disc_no_pivots": replace(DISC, selection="all", amplifier=1.0),
    "disc_no_smoothing": replace(DISC, smoothing_window=1),
    "disc_no_energy": replace(DISC, energy_weight=0.0),
    "disc_causal": replace(DISC, causal=True),
    "disc_backward": replace(DISC, align="backward"),
    "disc_rise": replace(DISC, align="rise"),
    # DISC's amplification spent elsewhere: on as many tokens
    "disc_level": replace(DISC, selection="level_as_pivots"),
    "disc_random": replace(DISC, selection="random_as_pivots"),
    # a share of the tokens, and nothing on the others
    "level": replace(SELECTIVE, selection="level"),
    "random": replace(SELECTIVE, selection="random"),
    "entropy": replace(SELECTIVE, selection="entropy"),
    "tip": replace(SELECTIVE, selection="entropy_or_divergence"),
    "excess": replace(SELECTIVE, selection="excess"),
    "adakd": replace(SELECTIVE, selection="difficulty", temperature_spread=0.5),
    # other divergences, uniform
    "reverse": replace(UNIFORM, divergence="reverse"),
    "jsd": replace(UNIFORM, divergence="jsd"),
    "skew": replace(UNIFORM, divergence="skew"),
}
"""Name -> objective."""
