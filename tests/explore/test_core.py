"""The page computes what Python computes: core.js in Node against `discnb.signal`."""

import base64
import dataclasses
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from discnb.explore.explorer import STATIC
from discnb.explore.record import STEPS, pack
from discnb.objective import DiscObjective
from discnb.signal import discrepancy, gap_energy, pivots, singular_tokens

from .records import HOSTILE, made_up

SETTINGS = ("temperature", "window", "pivot_sigma", "align", "amplifier", "singular_sigma")


def node(**request):
    """What core.js answers, in one process; `make setup` installs Node where it is missing."""
    program = (STATIC / "core.js").read_text() + Path(__file__).with_name("core.mjs").read_text()
    assert shutil.which("node"), "there is no `node`: `make setup` installs it"
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", program], input=json.dumps(request), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def random_settings(rng):
    return {
        "temperature": float(rng.choice([1.0, 1.5, 2.0, 3.0])),
        "window": int(rng.integers(1, 9)),
        "pivot_sigma": float(rng.choice([0.0, 0.5, 1.0, 1.95, 2.0, 3.0])),
        "align": str(rng.choice(["forward", "backward", "rise"])),
        "amplifier": float(rng.choice([0.5, 1.0, 3.0, 4.25])),
        "singular_sigma": float(rng.choice([0.0, 0.7, 1.0, 2.0])),
    }


def sequences():
    """KL and entropy of 2,400 derivations: random of many shapes and scales, and the edges."""
    rng = np.random.default_rng(4)
    for number in range(2000):
        n = int(rng.integers(0, 160))
        shapes = (
            lambda n: rng.exponential(1.0, n),
            lambda n: rng.lognormal(-3.0, 2.5, n),
            lambda n: rng.integers(0, 4, n) / 4,  # many ties
            lambda n: np.abs(rng.standard_cauchy(n)),
            lambda n: np.repeat(rng.exponential(1.0, n // 5 + 1), 5)[:n],  # steps
            lambda n: 10.0 ** rng.uniform(-30, 15, n),
        )
        kl, entropy = (shapes[(number + shift) % len(shapes)](n).astype(np.float32) for shift in (0, 3))
        yield kl, entropy, random_settings(rng)
    for n in (0, 1, 2, 3, 7):  # too short for the window, or for anything to exceed
        for window in (1, 2, 8):
            values = rng.exponential(1.0, n).astype(np.float32)
            yield values, values[::-1].copy(), random_settings(rng) | {"window": window}
    for value in (0.0, 1.0, 0.1, 1e-30, 1e30, -1e-7):  # constant: nothing exceeds the mean, not even at 0σ
        for sigma in (0.0, 1.0, 2.0):
            constant = np.full(50, value, np.float32)
            yield constant, constant, random_settings(rng) | {"pivot_sigma": sigma, "singular_sigma": sigma}
    for scale in rng.lognormal(0.0, 6.0, 400):  # one outlier among n values lies sqrt(n − 1)·σ out: a tie, not a mark
        n = int(rng.choice([2, 5, 10]))
        kl, entropy = np.zeros((2, n + 1), np.float32)
        kl[-1] = entropy[rng.integers(n + 1)] = scale  # n differences, n + 1 entropies
        tied = {"pivot_sigma": math.sqrt(n - 1), "singular_sigma": math.sqrt(n), "window": 1}
        yield kl, entropy, random_settings(rng) | tied


def test_python_and_the_page_agree_on_every_mark_and_weight():
    cases = list(sequences())
    assert len(cases) >= 2400
    answers = node(cases=[{"kl": kl.tolist(), "entropy": entropy.tolist(), "settings": s} for kl, entropy, s in cases])[
        "answers"
    ]
    marked = 0
    for (kl, entropy, settings), answer in zip(cases, answers, strict=True):
        objective = DiscObjective(**settings)
        kl, entropy = torch.from_numpy(kl), torch.from_numpy(entropy)
        mask = torch.ones(len(kl), dtype=torch.bool)
        wide = kl.double()
        pivot = pivots(kl, mask, sigma=objective.pivot_sigma, window=objective.window, align=objective.align)
        weight = objective.kd_weights(pivot)
        assert answer["pivot"] == pivot.int().tolist()
        assert answer["singular"] == singular_tokens(entropy, mask, sigma=objective.singular_sigma).int().tolist()
        assert answer["weight"] == weight.tolist()
        D, defined = discrepancy(wide, mask, window=objective.window)
        assert answer["D"] == D[defined].tolist()
        close = {"rel": 1e-12, "abs": 1e-12}
        assert answer["energy"] == pytest.approx(gap_energy(wide, mask, window=objective.window).item(), **close)
        tokens = max(1, len(kl))
        kd = objective.temperature**2 * (weight.double() * wide).sum().item() / tokens
        assert answer["kd"] == pytest.approx(kd, **close)
        assert answer["jump"] == pytest.approx(wide[pivot].sum().item(), **close)
        assert answer["smooth"] == pytest.approx(wide[~pivot].sum().item(), **close)
        assert answer["meanWeight"] == pytest.approx(weight.double().sum().item() / tokens, **close)
        marked += int(pivot.sum())
    assert marked > 5000  # the agreement is not one of empty sets


def test_ties_with_the_threshold_are_not_marked_in_the_page_either():
    kl = [0.0, 0.0, 0.0, 0.0, 0.0, 0.7]  # D is one outlier among five: 2σ above its mean, to the bit or not
    settings = dataclasses.asdict(DiscObjective())
    below = {**settings, "pivot_sigma": 1.999}
    tie, under = node(cases=[{"kl": kl, "entropy": kl, "settings": s} for s in (settings, below)])["answers"]
    assert sum(tie["pivot"]) == 0 and under["pivot"] == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_refused_on_both_sides(bad):
    settings = dataclasses.asdict(DiscObjective())
    good, spoilt = [0.1, 0.2, 0.3], [0.1, bad, 0.3]
    cases = [{"kl": spoilt, "entropy": good}, {"kl": good, "entropy": spoilt}, {"kl": good, "entropy": good}]
    first, second, fine = node(cases=[case | {"settings": settings} for case in cases])["answers"]
    assert first["error"] == f"RangeError: KL 1 is {bad}; expected a finite number"
    assert second["error"] == f"RangeError: value 1 is {bad}; expected a finite number"
    assert "error" not in fine
    record = made_up(4)
    record.kl["after"][2, 1] = float(bad.replace("inity", ""))
    with pytest.raises(ValueError, match=r"KL of 'after' holds .*; expected finite numbers"):
        dataclasses.replace(record)


def test_an_align_the_page_does_not_know_is_refused():
    settings = dataclasses.asdict(DiscObjective()) | {"align": "x"}
    [answer] = node(cases=[{"kl": [1], "entropy": [1], "settings": settings}])["answers"]
    assert answer["error"] == "RangeError: align is x; expected one of forward, backward, rise"


def test_shares_are_parts_of_the_totals():
    kl = [0.2, 1.0, 0.4, 3.0, 0.1, 0.1, 0.1]
    [answer] = node(cases=[{"kl": kl, "entropy": kl, "settings": dataclasses.asdict(DiscObjective(pivot_sigma=1.0))}])[
        "answers"
    ]
    kd, energy = np.transpose(answer["shares"])
    assert kd.sum() == pytest.approx(1) and energy.sum() == pytest.approx(1)
    weighted = np.array(answer["weight"]) * kl
    assert kd == pytest.approx(weighted / weighted.sum())
    assert energy == pytest.approx(np.square([*answer["D"], 0]) / np.square(answer["D"]).sum())


def test_the_page_reads_what_python_packed():
    records = [made_up(23, 1, words=HOSTILE), made_up(1, 2), made_up(40, 3, domain="")]
    packed = base64.b64encode(pack(records, {"title": "a & b", "settings": {"window": 1}})).decode()
    read = node(packed=packed)["records"]
    assert read["title"] == "a & b" and read["settings"] == {"window": 1}
    assert read["models"] == ["before", "after", "teacher"] and read["temperatures"] == [1, 1.5, 2, 3, 4]
    for record, sample in zip(records, read["samples"], strict=True):
        assert sample["tokens"] == list(record.tokens)
        assert sample["proof"] == list(record.proof)
        assert (sample["title"], sample["domain"]) == (record.title, record.domain)
        assert [read["names"][i] for i in sample["labels"]] == [record.names[i] for i in record.labels.tolist()]
        for name, prediction in record.predictions.items():
            model = sample["models"][name]
            assert model["entropy"] == prediction.entropy.tolist()
            assert np.array(model["ce"]) / STEPS["ce"] == pytest.approx(prediction.ce, abs=0.5 / STEPS["ce"])
            if name in record.kl:
                assert model["kl"] == record.kl[name].tolist()  # what decides a pivot is not rounded
            for t, ranked in enumerate(model["first"]):
                assert [read["names"][c["name"]] for c in ranked] == [record.names[i] for i in prediction.candidates[t]]
                assert np.log([c["probability"] for c in ranked]) == pytest.approx(
                    prediction.log_probabilities[t], abs=0.51 / STEPS["falls"]
                )


def test_a_temperature_snaps_to_the_nearest_kept():
    assert node()["snapped"] == [1, 1, 1.5, 2]
