"""What several seeds say of an arm: means with intervals, and paired differences with their tests.

A cell is one run: an arm, a seed and its figures. Runs of one seed share their data order and their first student, so a
difference inside a seed is the arm's doing, and the seeds are the sample.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

LEVEL = 0.95
BASELINE = "uniform"

METRICS = {
    "kl": "held-out KL (nats/token)",
    "kl_at_pivots": "KL at the baseline's pivots (nats/token)",
    "pivot_kl": "KL at the student's own pivots, per token of all (nats)",
    "perplexity": "perplexity",
    "energy": "gap energy (nats²)",
    "ece": "expected calibration error",
    "accuracy": "right answers, known kinds",
    "accuracy_novel": "right answers, new kinds",
}
"""A cell's figures that are compared; of all but the last two, less is better."""

HIGHER_IS_BETTER = ("accuracy", "accuracy_novel")

SPLIT_NAMES = {"eval": "known kinds", "novel": "new kinds"}
"""What the graded splits hold problems of: kinds that training saw with other numbers, and kinds it never saw."""


def mean_interval(values: Sequence[float]) -> dict[str, float | None]:
    """`mean`, and `low` and `high` of its 95 % interval by Student's t; None for these from a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    reach = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - reach, "high": mean + reach}


def wilson(right: int, count: int) -> tuple[float, float, float]:
    """A share and its 95 % interval by Wilson's score, which keeps within 0 and 1."""
    share = right / count
    found = stats.binomtest(right, count).proportion_ci(LEVEL, method="wilson")
    return share, float(found.low), float(found.high)


def paired_test(differences: Sequence[float]) -> float:
    """Two-sided p of a mean difference of 0 by the paired t-test; 1 where no pair differs, or there is one pair."""
    if len(differences) < 2 or not any(differences):
        return 1.0
    if statistics.stdev(differences) == 0:
        return 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values after Holm's step-down correction for that many tests, each at most 1."""
    adjusted: dict[str, float] = {}
    least = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def compare(cells: Sequence[Mapping[str, Any]], baseline: str = BASELINE) -> dict[str, dict[str, Any]]:
    """Per arm and metric: `mean`, `low`, `high`, `seeds`, and `difference` to the baseline over the seeds both have.

    A difference has the same and `p`, `p_holm`, corrected over the other arms for each metric apart.
    """
    by_arm: dict[str, dict[int, Mapping[str, Any]]] = {}
    for cell in cells:
        by_arm.setdefault(cell["arm"], {})[cell["seed"]] = cell
    if baseline not in by_arm:
        raise ValueError(f"no cell of the baseline {baseline!r} is there; found {', '.join(by_arm) or 'none'}")
    out: dict[str, dict[str, Any]] = {arm: {} for arm in by_arm}
    for metric in METRICS:
        tests = {}
        for arm, seeds in by_arm.items():
            values = [cell[metric] for _, cell in sorted(seeds.items()) if cell.get(metric) is not None]
            if not values:
                continue
            out[arm][metric] = {**mean_interval(values), "seeds": len(values)}
            both = sorted(seeds.keys() & by_arm[baseline].keys())
            if arm == baseline or not both:
                continue
            differences = [seeds[seed][metric] - by_arm[baseline][seed][metric] for seed in both]
            tests[arm] = paired_test(differences)
            out[arm][metric]["difference"] = {**mean_interval(differences), "seeds": len(both), "p": tests[arm]}
        for arm, p in holm(tests).items():
            out[arm][metric]["difference"]["p_holm"] = p
    return out


def verdict(difference: Mapping[str, Any], metric: str, alpha: float = 0.05) -> str:
    """`better` or `worse` than the baseline where Holm's p is below alpha, else `no difference shown`."""
    if not difference["p_holm"] < alpha:
        return "no difference shown"
    return "better" if (difference["mean"] > 0) == (metric in HIGHER_IS_BETTER) else "worse"


def rows(summary: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """A study's table for one metric: a row per arm, its mean and interval, its difference to the baseline, a verdict.

    The baseline's own row ends with its interval.
    """
    table = []
    for arm, figures in summary["arms"].items():
        if metric not in figures:
            continue
        row = {"arm": arm, **{name: figures[metric][name] for name in ("mean", "low", "high")}}
        if difference := figures[metric].get("difference"):
            row |= {
                "difference": difference["mean"],
                "from": difference["low"],
                "to": difference["high"],
                "p": difference["p"],
                "p_holm": difference["p_holm"],
                "verdict": verdict(difference, metric),
            }
        table.append(row)
    return table


def verdicts(summary: Mapping[str, Any], metric: str) -> dict[str, list[str]]:
    """The arms that are `better` or `worse` than the baseline, and those with `no difference shown`, best first."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "no difference shown": []}
    known = [row for row in rows(summary, metric) if "verdict" in row]
    for row in sorted(known, key=lambda row: row["difference"], reverse=metric in HIGHER_IS_BETTER):
        found[row["verdict"]].append(row["arm"])
    return found
