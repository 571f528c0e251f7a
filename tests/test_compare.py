import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from discnb.compare import METRICS, compare, holm, mean_interval, paired_test, rows, verdict, verdicts, wilson

NUMBERS = st.floats(-100, 100)


def cell(arm, seed, **figures):
    return {"arm": arm, "seed": seed, **dict.fromkeys(METRICS, 1.0), **figures}


@given(st.lists(NUMBERS, min_size=2, max_size=9))
def test_an_interval_is_students(values):
    found = mean_interval(values)
    if statistics.stdev(values) > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, statistics.fmean(values), stats.sem(values))
        assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["low"] <= found["mean"] + 1e-9 and found["mean"] <= found["high"] + 1e-9


def test_one_value_has_no_interval():
    assert mean_interval([2.0]) == {"mean": 2.0, "low": None, "high": None}


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=9))
def test_a_paired_test_is_scipys_and_at_its_edges_defined(pairs):
    a, b = zip(*pairs, strict=True)
    differences = [x - y for x, y in pairs]
    p = paired_test(differences)
    assert 0 <= p <= 1
    if statistics.stdev(differences) > 1e-6:
        assert p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-9)


@pytest.mark.parametrize(
    ("differences", "p"), [([0.0, 0.0, 0.0], 1.0), ([3.0], 1.0), ([0.5, 0.5], 0.0), ([1.0, -1.0], 1.0)]
)
def test_edges_of_the_paired_test(differences, p):
    assert paired_test(differences) == pytest.approx(p)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.001, 0.2))
def test_an_arm_is_significant_where_holms_procedure_rejects_it(p_values, alpha):
    rejected = set()
    for rank, (i, p) in enumerate(sorted(enumerate(p_values), key=lambda pair: pair[1])):
        if p * (len(p_values) - rank) > alpha:
            break
        rejected.add(i)
    assert {int(i) for i, p in holm({str(i): p for i, p in enumerate(p_values)}).items() if p <= alpha} == rejected


def test_seeds_are_compared_with_themselves():
    # the arm is better by 0.1 in every seed, though its mean lies within the spread of seeds
    cells = [cell(arm, seed, kl=seed + gain) for arm, gain in (("uniform", 0), ("disc", -0.1)) for seed in (1, 2, 3)]
    cells[-1]["kl"] -= 0.01
    found = compare(cells)
    assert found["disc"]["kl"]["difference"]["mean"] == pytest.approx(-0.31 / 3)
    assert found["disc"]["kl"]["difference"]["p_holm"] < 0.05 < stats.ttest_ind([1, 2, 3], [0.9, 1.9, 2.89]).pvalue
    assert verdict(found["disc"]["kl"]["difference"], "kl") == "better"
    assert verdict(found["disc"]["kl"]["difference"], "accuracy") == "worse"
    assert "difference" not in found["uniform"]["kl"]


def test_the_correction_counts_the_arms():
    spread = {"uniform": (0, 0, 0), "a": (1, 1.1, 1.2), "b": (0.1, -0.1, 0.05), "c": (0.2, -0.3, 0.1)}
    cells = [cell(arm, i, kl=v) for arm, values in spread.items() for i, v in enumerate(values)]
    found = compare(cells)
    assert found["a"]["kl"]["difference"]["p_holm"] == pytest.approx(3 * found["a"]["kl"]["difference"]["p"])
    assert verdict(found["b"]["kl"]["difference"], "kl") == "no difference shown"


def test_a_seed_that_one_side_lacks_is_left_out_of_the_difference():
    cells = [cell("uniform", 1, kl=1), cell("disc", 1, kl=2), cell("disc", 2, kl=9)]
    difference = compare(cells)["disc"]["kl"]["difference"]
    assert (difference["mean"], difference["seeds"], difference["p"]) == (1.0, 1, 1.0)


def test_a_figure_that_no_cell_has_is_not_compared():
    found = compare([cell("uniform", 1, accuracy_novel=None), cell("ce", 1, accuracy_novel=None)])
    assert "accuracy_novel" not in found["ce"] and "kl" in found["ce"]


def test_without_the_baseline_nothing_is_compared():
    with pytest.raises(ValueError, match="no cell of the baseline 'uniform'"):
        compare([cell("disc", 1)])


def test_a_missing_difference_is_no_difference():
    assert math.isclose(compare([cell("uniform", 1), cell("disc", 1)])["disc"]["kl"]["difference"]["mean"], 0)


@pytest.mark.parametrize(("right", "count"), [(0, 8), (8, 8), (3, 8), (150, 160)])
def test_wilsons_interval_is_its_formula_and_stays_within_shares(right, count):
    share, low, high = wilson(right, count)
    z, p = stats.norm.ppf(0.975), right / count
    middle, reach = (p + z * z / (2 * count)), z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    assert (share, low, high) == pytest.approx((p, (middle - reach) / scale, (middle + reach) / scale), abs=1e-9)
    assert -1e-12 <= low <= share <= high <= 1 + 1e-12


def test_a_table_has_a_row_per_arm_and_the_verdicts_order_them():
    gains = {"uniform": 0, "a": 1, "b": -1, "c": 2}
    cells = [cell(arm, i, kl=gain * (1 + i / 50) + i) for arm, gain in gains.items() for i in range(5)]
    summary = {"arms": compare(cells)}
    table = rows(summary, "kl")
    assert [row["arm"] for row in table] == list(gains) and "verdict" not in table[0]
    assert table[1]["difference"] == pytest.approx(1.04) and table[1]["from"] < 1.04 < table[1]["to"]
    assert verdicts(summary, "kl") == {"better": ["b"], "worse": ["a", "c"], "no difference shown": []}
    assert verdicts(summary, "accuracy")["no difference shown"] == ["a", "b", "c"]
