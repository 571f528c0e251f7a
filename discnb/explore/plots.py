"""Figures for print. Each function returns a Figure whose label is its alternative text, built from its data."""

from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .strip import TokenStrip

INK, ACCENT, MUTED = "#1b1f24", "#b3261e", "#8a9199"


def loss_terms(metrics: Sequence[dict[str, float]], ax: Axes | None = None) -> Figure:
    """The loss and its three terms over the optimizer steps."""
    figure, ax = _canvas(ax, (7, 3.6))
    steps = [row["step"] for row in metrics]
    for name, label, colour in (("loss", "loss", INK), ("ce", "CE", "#2f6db5"), ("kd", "KD", ACCENT)):
        ax.plot(steps, [row[name] for row in metrics], color=colour, label=label, lw=1.8)
    ax.plot(steps, [row["energy"] for row in metrics], color=MUTED, label="E", lw=1.2)
    ax.set(xlabel="optimizer step", ylabel="nats (E: nats²)", yscale="log", title="Loss terms")
    ax.legend(frameon=False, ncols=4, fontsize=9)
    first, last = metrics[0], metrics[-1]
    return _described(
        figure,
        f"Loss terms over {len(metrics)} steps: the loss goes from {first['loss']:.2f} to {last['loss']:.2f}, "
        f"CE from {first['ce']:.2f} to {last['ce']:.2f}, KD from {first['kd']:.2f} to {last['kd']:.2f}.",
    )


def energy_against_loss(metrics: Sequence[dict[str, float]], ax: Axes | None = None) -> Figure:
    """Gap energy against loss, a point per step, dark to light: drift would move left and up."""
    figure, ax = _canvas(ax, (5, 3.8))
    loss, energy = ([row[name] for row in metrics] for name in ("loss", "energy"))
    ax.plot(loss, energy, color=MUTED, lw=0.6, zorder=1)
    points = ax.scatter(loss, energy, c=[row["step"] for row in metrics], cmap="cividis", s=18, zorder=2)
    ax.figure.colorbar(points, ax=ax, label="optimizer step")
    ax.set(xlabel="loss", ylabel="gap energy (nats²)", yscale="log", title="Energy against loss")
    return _described(
        figure,
        f"Gap energy against loss over {len(metrics)} steps: the loss goes from {loss[0]:.2f} to {loss[-1]:.2f} and "
        f"the energy from {energy[0]:.2f} to {energy[-1]:.2f} nats².",
    )


def token_strip(strip: TokenStrip, *, kl_max: float | None = None, columns: int = 96, ax: Axes | None = None) -> Figure:
    """The text as written, each token on a ground as dark as its KL; pivots underlined, singular tokens dotted.

    `kl_max` is the KL, in nats, of the darkest ground, so that strips can be compared (default: the largest shown).
    """
    cells, row, column = [], 0, 0
    for index, token in enumerate(strip.tokens):
        for number, piece in enumerate(token.split("\n")):
            if number:  # a line end is drawn as part of its token
                cells.append((index, row, column, "↵"))
                row, column = row + 1, 0
            # long tokens and lines wrap at the column limit
            while piece:
                if column >= columns:
                    row, column = row + 1, 0
                part, piece = piece[: columns - column], piece[columns - column :]
                cells.append((index, row, column, part.replace("\t", " ")))
                column += len(part)
    rows = row + 1
    width, height = columns * 0.098, rows * 0.23
    figure, ax = _canvas(ax, (width, height + 0.75))
    top = kl_max or max(strip.kl, default=0.0) or 1.0
    ramp, scale = colormaps["Blues"], Normalize(0, top)
    for index, y, x, text in cells:
        shade = min(scale(strip.kl[index]), 1.0) * 0.95
        ax.add_patch(Rectangle((x, y), len(text), 0.92, color=ramp(shade), lw=0))
        pivot = strip.pivot[index]
        style: dict[str, Any] = {"color": "white" if shade > 0.5 else INK, "weight": "bold" if pivot else "normal"}
        for offset, character in enumerate(text):
            # one call a character: monospaced whatever the font's advance
            ax.text(x + offset + 0.5, y + 0.46, character, ha="center", va="center", size=10, family="monospace",
                    parse_math=False, **style)  # fmt: skip
        if pivot:
            ax.plot([x, x + len(text)], [y + 0.94] * 2, color=ACCENT, lw=2, solid_capstyle="butt")
        if strip.singular[index]:
            ax.plot([x, x + len(text)], [y + 0.02] * 2, color=INK, lw=1.1, ls=(0, (1, 1.4)))
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    ax.set_axis_off()
    bar = ax.figure.colorbar(ScalarMappable(scale, ramp), ax=ax, location="bottom", fraction=0.04, aspect=60, pad=0.02)
    bar.set_label("KL(teacher ‖ student) in nats;  underlined: pivot;  dotted: singular", size=8)
    bar.ax.tick_params(labelsize=7)
    worst = max(range(len(strip.kl)), key=strip.kl.__getitem__)
    mean = sum(strip.kl) / max(1, len(strip.kl) - 1)  # nothing predicts the first token
    return _described(
        figure,
        f"A derivation of {len(strip.tokens)} tokens coloured by KL to the teacher: mean {mean:.2f} nats, largest "
        f"{strip.kl[worst]:.2f} at {strip.tokens[worst]!r}; "
        f"{sum(strip.pivot)} pivots and {sum(strip.singular)} singular tokens are marked.",
    )


def gguf_sizes(files: dict[str, dict], ax: Axes | None = None) -> Figure:
    """Size of every GGUF file against its KL to the PyTorch student."""
    figure, ax = _canvas(ax, (5, 3.6))
    for kind, facts in files.items():
        x, y = facts["bytes"] / 1e6, max(facts["kl_to_torch"], 1e-9)
        ax.scatter([x], [y], color="#2f6db5", s=36, zorder=2)
        ax.annotate(kind, (x, y), xytext=(6, 5), textcoords="offset points", size=9)
    ax.set(xlabel="megabytes", ylabel="KL to PyTorch (nats/token)", yscale="log", title="GGUF files")
    ax.margins(0.18)
    ax.grid(alpha=0.25)
    listed = "; ".join(f"{k} {f['bytes'] / 1e6:.1f} MB, KL {f['kl_to_torch']:.1e}" for k, f in files.items())
    return _described(figure, f"Size and KL to PyTorch of the GGUF files: {listed}.")


def _canvas(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    if ax is not None:
        return ax.figure.get_figure(root=True), ax
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _described(figure: Figure, text: str) -> Figure:
    figure.set_label(text)
    return figure
