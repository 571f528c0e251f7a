"""Figures for print. Each function returns a Figure whose label is its alternative text, built from its data."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..compare import HIGHER_IS_BETTER, SPLIT_NAMES, verdict, wilson
from ..objective import DiscObjective
from .record import TokenRecord

INK, ACCENT, MUTED, BLUE, GROUND = "#1b1f24", "#b3261e", "#8a9199", "#2f6db5", "#eef1f5"


def loss_terms(metrics: Sequence[dict[str, float]], ax: Axes | None = None) -> Figure:
    """The loss and its three terms over the optimizer steps."""
    figure, ax = _canvas(ax, (7, 3.6))
    steps = [row["step"] for row in metrics]
    for name, label, colour in (("loss", "loss", INK), ("ce", "CE", BLUE), ("kd", "KD", ACCENT)):
        ax.plot(steps, [row[name] for row in metrics], color=colour, label=label, lw=1.8)
    ax.plot(steps, [row["energy"] for row in metrics], color=MUTED, label="E", lw=1.2)
    ax.set(xlabel="optimizer step", ylabel="nats (E: nats²)", yscale="log", title="Loss terms")
    ax.legend(frameon=False, ncols=4, fontsize=9)
    first, last = metrics[0], metrics[-1]
    return described(
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
    return described(
        figure,
        f"Gap energy against loss over {len(metrics)} steps: the loss goes from {loss[0]:.2f} to {loss[-1]:.2f} and "
        f"the energy from {energy[0]:.2f} to {energy[-1]:.2f} nats².",
    )


def token_strip(
    record: TokenRecord,
    student: str | None = None,
    *,
    objective: DiscObjective | None = None,
    kl_max: float | None = None,
    columns: int = 96,
    ax: Axes | None = None,
) -> Figure:
    """The text as written, each token on a ground as dark as its KL; pivots underlined, singular tokens dotted.

    `student` is `before` or `after` (default: after, if the record has it). `kl_max` is the KL, in nats, of the darkest
    ground, so that strips can be compared (default: the largest shown).
    """
    look = _look(record, student, objective)
    cells, row, column = [], 0, 0
    for index, token in enumerate(record.tokens):
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
    ramp, scale = colormaps["Blues"], Normalize(0, kl_max or look.kl.max(initial=0.0) or 1.0)
    for index, y, x, text in cells:
        t = index - 1  # the position that predicts the token; nothing predicts the first
        shade = min(scale(look.kl[t]), 1.0) * 0.95 if index else 0.0
        ax.add_patch(Rectangle((x, y), len(text), 0.92, color=ramp(shade), lw=0))
        pivot = index > 0 and look.pivot[t]
        style: dict[str, Any] = {"color": "white" if shade > 0.5 else INK, "weight": "bold" if pivot else "normal"}
        for offset, character in enumerate(text):
            # one call a character: monospaced whatever the font's advance
            ax.text(x + offset + 0.5, y + 0.46, character, ha="center", va="center", size=10, family="monospace",
                    parse_math=False, **style)  # fmt: skip
        if pivot:
            ax.plot([x, x + len(text)], [y + 0.94] * 2, color=ACCENT, lw=2, solid_capstyle="butt")
        if index and look.singular[t]:
            ax.plot([x, x + len(text)], [y + 0.02] * 2, color=INK, lw=1.1, ls=(0, (1, 1.4)))
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    ax.set_axis_off()
    bar = ax.figure.colorbar(ScalarMappable(scale, ramp), ax=ax, location="bottom", fraction=0.04, aspect=60, pad=0.02)
    bar.set_label("KL(teacher ‖ student) in nats;  underlined: pivot;  dotted: singular", size=8)
    bar.ax.tick_params(labelsize=7)
    return described(
        figure,
        f"A derivation of {len(record.tokens)} tokens coloured by the KL of the student {look.when} to the teacher: "
        f"{look.said}; {look.pivot.sum()} pivots and {look.singular.sum()} singular tokens are marked.",
    )


def kl_profile(
    record: TokenRecord,
    student: str | None = None,
    *,
    objective: DiscObjective | None = None,
    ax: Axes | None = None,
) -> Figure:
    """KL along the derivation, the discrepancy D mirrored below it with its threshold, pivots marked, proof shaded."""
    look = _look(record, student, objective)
    figure, ax = _canvas(ax, (9, 3.2))
    at = np.arange(len(record))
    if record.proof[1] > record.proof[0]:
        ax.axvspan(record.proof[0] - 1.5, record.proof[1] - 1.5, color=GROUND, lw=0, zorder=0, label="proof")
    ax.fill_between(at, look.kl, step="mid", color=BLUE, alpha=0.75, lw=0, label="KL")
    ax.vlines(at, 0, -look.D, color=MUTED, lw=1, label="−D")
    ax.plot(at[look.pivot], look.kl[look.pivot], ls="", marker="v", color=ACCENT, ms=6, label="pivot", clip_on=False)
    if np.isfinite(look.threshold):
        ax.axhline(-look.threshold, color=ACCENT, lw=1, ls=(0, (4, 3)), label="threshold")
    ax.axhline(0, color=INK, lw=0.8)
    ax.set(xlabel="position", ylabel="nats", xlim=(-0.5, max(len(record), 1) - 0.5), title="KL and its discrepancy")
    ax.legend(frameon=False, ncols=5, fontsize=8, loc="best")
    return described(
        figure,
        f"KL of the student {look.when} along {len(record)} positions: {look.said}; the discrepancy is over its "
        f"threshold of {look.threshold:.2f} nats at {look.jumps} positions, and {look.pivot.sum()} pivots are marked.",
    )


def weights(
    record: TokenRecord,
    student: str | None = None,
    *,
    objective: DiscObjective | None = None,
    ax: Axes | None = None,
) -> Figure:
    """What each position gives to KD: its KL, and at pivots what the amplifier adds to it."""
    look = _look(record, student, objective)
    figure, ax = _canvas(ax, (9, 2.8))
    at, added = np.arange(len(record)), (look.weight - 1) * look.kl
    ax.bar(at, look.kl, 1.0, color=BLUE, label="KL")
    ax.bar(at, added, 1.0, bottom=look.kl, color=ACCENT, label="added by the amplifier")
    ax.set(xlabel="position", ylabel="weight × KL (nats)", xlim=(-0.5, max(len(record), 1) - 0.5), title="KD weights")
    ax.legend(frameon=False, fontsize=8)
    plain = look.kl[look.pivot].sum() / (look.kl.sum() or 1.0)
    weighted = (look.weight * look.kl)[look.pivot].sum() / ((look.weight * look.kl).sum() or 1.0)
    return described(
        figure,
        f"KD weights of {len(record)} positions for the student {look.when}: {look.pivot.sum()} pivots, mean weight "
        f"{look.weight.mean() if len(record) else 1:.3f}; pivots carry {plain:.0%} of the KL and {weighted:.0%} of the "
        "weighted KL.",
    )


def gguf_sizes(files: dict[str, dict], ax: Axes | None = None) -> Figure:
    """Size of every GGUF file against its KL to the PyTorch student."""
    figure, ax = _canvas(ax, (5, 3.6))
    for kind, facts in files.items():
        x, y = facts["bytes"] / 1e6, max(facts["kl_to_torch"], 1e-9)
        ax.scatter([x], [y], color=BLUE, s=36, zorder=2)
        ax.annotate(kind, (x, y), xytext=(6, 5), textcoords="offset points", size=9)
    ax.set(xlabel="megabytes", ylabel="KL to PyTorch (nats/token)", yscale="log", title="GGUF files")
    ax.margins(0.18)
    ax.grid(alpha=0.25)
    listed = "; ".join(f"{k} {f['bytes'] / 1e6:.1f} MB, KL {f['kl_to_torch']:.1e}" for k, f in files.items())
    return described(figure, f"Size and KL to PyTorch of the GGUF files: {listed}.")


def grades(reports: dict[str, dict[str, Any]], ax: Axes | None = None) -> Figure:
    """Share of right answers of every model and file, by split, with Wilson's 95 % interval."""
    figure, ax = _canvas(ax, (7, 0.8 + 0.32 * len(reports)))
    names, said = list(reports), []
    for split, colour, shift in (("eval", BLUE, -0.12), ("novel", ACCENT, 0.12)):
        found = {y: report[split] for y, report in enumerate(reports.values()) if split in report}
        for y, counts in found.items():
            share, low, high = wilson(counts["correct"], counts["problems"])
            ax.plot([low, high], [y + shift, y + shift], color=colour, lw=2, alpha=0.5)
            label = SPLIT_NAMES[split] if y == min(found) else None
            ax.scatter([share], [y + shift], color=colour, s=30, label=label, zorder=3)
            said.append(f"{names[y]} {counts['correct']} of {counts['problems']} of {SPLIT_NAMES[split]}")
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel="share of right answers", xlim=(-0.03, 1.03))
    ax.invert_yaxis()
    ax.legend(frameon=False, fontsize=9)
    return described(figure, f"Right answers to held-out problems: {'; '.join(said)}.")


def memory(
    bars: dict[str, Sequence[float]], parts: Sequence[str], limits: dict[str, float], ax: Axes | None = None
) -> Figure:
    """Bars of bytes, each of the named `parts` in turn, against devices' memories as dashed lines."""
    figure, ax = _canvas(ax, (7, 2.8))
    for number, (part, colour) in enumerate(zip(parts, (BLUE, ACCENT, MUTED), strict=False)):
        sizes = [bar[number] / 1e9 for bar in bars.values()]
        left = [sum(bar[:number]) / 1e9 for bar in bars.values()]
        ax.barh(list(bars), sizes, left=left, color=colour, label=part)
    ax.invert_yaxis()
    for device, size in limits.items():
        ax.axvline(size / 1e9, color=INK, ls="--", lw=1)
        ax.annotate(
            device, (size / 1e9, 1), xytext=(3, 2), xycoords=("data", "axes fraction"), textcoords="offset points"
        )
    ax.set(xlabel="GB")
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=len(parts))
    listed = "; ".join(f"{name} {sum(sizes) / 1e9:.1f} GB" for name, sizes in bars.items())
    held = " and ".join(f"{device} with {size / 1e9:.0f} GB" for device, size in limits.items())
    return described(figure, f"Computed memory against {held}: {listed}.")


def forest(summary: dict[str, Any], metric: str = "kl", ax: Axes | None = None) -> Figure:
    """Every arm's difference to the baseline with its 95 % interval, ordered; a dot per seed.

    Coloured where Holm's p is below 0.05: blue for better than the baseline, red for worse.
    """
    baseline, label = summary["baseline"], summary["metrics"][metric]
    rows = {arm: figures[metric]["difference"] for arm, figures in summary["arms"].items()
            if "difference" in figures.get(metric, {})}  # fmt: skip
    by_cell = {(cell["arm"], cell["seed"]): cell[metric] for cell in summary["cells"]}
    order = sorted(rows, key=lambda arm: rows[arm]["mean"], reverse=metric not in HIGHER_IS_BETTER)
    figure, ax = _canvas(ax, (7, 0.6 + 0.27 * len(rows)))
    colours = {"better": BLUE, "worse": ACCENT, "no difference shown": MUTED}
    for y, arm in enumerate(order):
        colour = colours[verdict(rows[arm], metric)]
        seeds = [value - by_cell[baseline, seed] for (name, seed), value in by_cell.items()
                 if name == arm and (baseline, seed) in by_cell]  # fmt: skip
        ax.scatter(seeds, [y] * len(seeds), color=colour, s=9, alpha=0.45, linewidths=0)
        if rows[arm]["low"] is not None:
            ax.plot([rows[arm]["low"], rows[arm]["high"]], [y, y], color=colour, lw=2)
        ax.scatter([rows[arm]["mean"]], [y], color=colour, s=34, marker="D", zorder=3)
    ax.axvline(0, color=INK, lw=1)
    ax.set(yticks=range(len(order)), yticklabels=order, xlabel=f"difference to {baseline}: {label}")
    ax.set_ylim(-0.6, len(order) - 0.4)
    verdicts = {what: [arm for arm in order if verdict(rows[arm], metric) == what] for what in colours}
    listed = "; ".join(f"{what}: {', '.join(arms) or 'none'}" for what, arms in verdicts.items())
    return described(figure, f"Differences to {baseline} in {label} of {len(rows)} arms. {listed}.")


class _Look(NamedTuple):
    """One student's view of a derivation under the objective's settings, `[T]` each; `said` puts its KL in words."""

    when: str
    kl: np.ndarray
    D: np.ndarray
    pivot: np.ndarray
    singular: np.ndarray
    weight: np.ndarray
    threshold: float
    jumps: int
    said: str


def _look(record: TokenRecord, student: str | None, objective: DiscObjective | None) -> _Look:
    student, objective = student or record.student, objective or DiscObjective()
    kl, D = record.kl_at(student, objective.temperature).numpy(), record.discrepancy(student, objective).numpy()
    pivot = record.pivots(student, objective)
    defined = D[: max(0, len(D) - objective.window)]
    said = "no position"
    if len(kl):
        said = f"mean {kl.mean():.2f} nats, largest {kl.max():.2f} at {record.tokens[int(kl.argmax()) + 1]!r}"
    return _Look(
        when=f"{student} distillation",
        kl=kl,
        D=D,
        pivot=pivot.numpy(),
        singular=record.singular(student, objective).numpy(),
        weight=objective.kd_weights(pivot).numpy(),
        threshold=defined.mean() + objective.pivot_sigma * defined.std() if len(defined) else np.nan,
        jumps=int(record.pivots(student, replace(objective, align="forward")).sum()),
        said=said,
    )


def _canvas(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    if ax is not None:
        return ax.figure.get_figure(root=True), ax
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def described(figure: Figure, text: str) -> Figure:
    """The figure with `text` as its label, and as the alternative text of the image a notebook shows."""
    figure.set_label(text)
    figure._repr_html_ = partial(_image, figure)  # type: ignore[method-assign]  # what IPython asks an object for
    return figure


def _image(figure: Figure) -> str:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    data = base64.b64encode(png.getvalue()).decode()
    alt = html.escape(str(figure.get_label()), quote=True)
    return f'<img alt="{alt}" src="data:image/png;base64,{data}" style="max-width: 100%">'
