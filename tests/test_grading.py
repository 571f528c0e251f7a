"""Right answers are right however they are written, wrong ones wrong, and no text stops the grader."""

import threading
import time
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from discnb.data.classics import CLASSICS
from discnb.data.kinds import KINDS
from discnb.grading import LONGEST, grade

RIGHT = [
    ("39 m", "L = 39 m"),
    ("L = 3900 cm", "L = 39 m"),
    ("L=39m", "L = 39 m"),
    ("x = 5 or x = -3", "x = -3 or x = 5"),
    ("-3, 5", "x = -3 or x = 5"),
    ("t = 1, -1", "t = -1 and t = 1"),
    ("[[0,0],[5,4]]", "A*B = [[0, 0], [5, 4]]"),
    (r"A B = \begin{pmatrix}0&0\\5&4\end{pmatrix}", "A*B = [[0, 0], [5, 4]]"),
    ("(8,-8)", "p = [8, -8]"),
    (r"\begin{pmatrix}8\\-8\end{pmatrix}", "p = [8, -8]"),
    ("e^{-7x}(1+5x)", "y = (5*x + 1)*exp(-7*x)"),
    ("R2 = 2 kN, R1 = 4000 N", "R1 = 4 kN, R2 = 2 kN"),
    ("56", "56 amino acids"),
    ("15", "C(6, 2) = 15"),
    ("0.18", "A = 18 %"),
    ("18%", "A = 18 %"),
    ("U/U0 = 0.36788", "U/U0 = exp(-1)"),
    ("1/e", "U/U0 = exp(-1)"),
    ("0", "{f, g} = 0"),
    ("4x^2 + p^2/8", "H = p^2/8 + 4*x^2"),
    ("U = 0.12 V", "|U| = 120 mV"),
    (r"\frac{1}{2}", "0.5"),
    ("42", "thus #### 42"),
    (r"\boxed{42}", "#### 42"),
    ("$18", "#### 18"),
    ("18 dollars", "#### 18"),
    ("1,234", "#### 1234"),
    ("0.5", r"\boxed{\frac{1}{2}}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    ("22 °C", "Tm = 22 C"),
    ("295.15 K", "Tm = 22 C"),
    ("22 celsius", "Tm = 22 C"),
    ("9 m/s²", "a = 9 m/s^2"),
    ("9 m s^-2", "a = 9 m/s^2"),
    ("2 L/min", "VA = 2 L/min"),
    ("2000 mL/min", "VA = 2 L/min"),
    ("6 J", "M2 = 6 N*m"),
    ("3, 4", "x = 3, y = 4"),
    ("y = 4, x = 3", "x = 3, y = 4"),
    ("x = (-b ± sqrt(b^2-4ac))/(2a)", "x = (-b +- sqrt(b^2 - 4*a*c))/(2*a)"),
    (r"x = \frac{-b \pm \sqrt{b^2-4ac}}{2a}", "x = (-b +- sqrt(b^2 - 4*a*c))/(2*a)"),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"x\in[-2,7]", "[-2,7]"),
    ("[-2, 7]", "[-2,7]"),
    ("Evelyn", r"\text{Evelyn}"),
    (r"\left(3,\frac{\pi}{2}\right)", r"\left( 3, \frac{\pi}{2} \right)"),
    ("(3, pi/2)", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"90^\circ", "90"),
    ("2pq = 0.42", "2*p*q = 0.42"),
    ("ω = 2 rad/s", "omega = 2 rad/s"),
    ("2/s", "omega = 2 rad/s"),
    ("L = 3*13 m = 39 m", "L = 39 m"),
    ("[[2.5,-0.5],[-9,2]]", "P^-1 = [[5/2, -1/2], [-9, 2]]"),
    ("242 µJ", "E = 242 uJ"),
    ("2.42e-4 J", "E = 242 uJ"),
    ("2.42*10^-4 J", "E = 242 uJ"),
    (r"2.42 \times 10^{-4}\,\mathrm{J}", "E = 242 uJ"),
    (r"39\ \text{m}", "L = 39 m"),
    ("1,-2", "-2,1"),
    (r"3\sqrt{13}", "sqrt(117)"),
    (r"\frac 59", "5/9"),
    (r"\frac59", r"\frac{5}{9}"),
    (r"11\sqrt2", "11*sqrt(2)"),
    ("6 - 5i", "-5i+6"),
    (r"\{1, 2\}", "2, 1"),
    ("p - q", "p-q"),
    ("T = sqrt(m/k)*2*pi", "T = 2*pi*sqrt(m/k)"),
    ("L = 3*12 m = 39 m", "L = 39 m"),
    ("1e-5*x", "y = x/100000"),
    ("3000 mC", "Q = 3 C"),
    ("y = B*exp(-x)", "y = exp(-x)*B"),
    ("30 rpm", "n2 = 30 rpm"),
    (r"1\frac{1}{2}", "3/2"),
    ("A^2 - (a + d)*A + (a*d - b*c)*I=0", "A^2 - (a + d)*A + (a*d - b*c)*I = 0"),
    ("y(x) = 2x", "y = 2*x"),
    ("39 meters", "L = 39 m"),
    (r"x \ge 3", r"3 \le x"),
]

WRONG = [
    ("40 m", "L = 39 m"),
    ("39", "L = 39 m"),
    ("39 cm", "L = 39 m"),
    ("39 kg", "L = 39 m"),
    ("39 m or 40 m", "L = 39 m"),
    ("L = 39 m, L = 40 m", "L = 39 m"),
    ("39 m long", "L = 39 m"),
    ("x = 5", "x = -3 or x = 5"),
    ("x = 3 or x = 5", "x = -3 or x = 5"),
    ("x = 4, y = 3", "x = 3, y = 4"),
    ("4, 3", "x = 3, y = 4"),
    ("[[0, 0], [4, 5]]", "A*B = [[0, 0], [5, 4]]"),
    ("[[0, 5], [0, 4]]", "A*B = [[0, 0], [5, 4]]"),
    ("(5x+1)exp(7x)", "y = (5*x + 1)*exp(-7*x)"),
    ("56 base pairs", "56 amino acids"),
    ("0", "A^2 - (a + d)*A + (a*d - b*c)*I = 0"),
    ("18", "A = 18 %"),
    ("1001", "1000"),
    ("9**9**9**9", "1"),
    ("(-2,7)", "[-2,7]"),
    ("(8,-7)", "p = [8, -8]"),
    ("T = 39 m", "L = 39 m"),
    ("L = 39 m = 38 m", "L = 39 m"),
    ("t'' = 3*x", "t' = 3*x"),
    ("C(50, 25) = 126410606437751", "C(50, 25) = 126410606437752"),
    ("2*t", "x = 2"),
    ("0.18 chickens", "A = 18 %"),
    ("2516", "2516_8"),
    ("x", "|x|"),
    ("0.49", r"\frac12"),
    (r"\frac{1}{3}", r"\frac12"),
    ("120", "|U| = 120 mV"),
    ("U = -120 mV", "|U| = 120 mV"),
    ("22 K", "Tm = 22 C"),
    ("22", "Tm = 22 C"),
    ("5 5", "25"),
    ("", "3"),
    ("56, 57", "56 amino acids"),
    ("42 is the answer", "42"),
    ("__import__('os')", "1"),
    (r"\boxed{1} or \boxed{2}", "1"),
    ("[8, -8, 0]", "p = [8, -8]"),
    ("8", "p = [8, -8]"),
    ("3 m", "gcd = 4"),
    ("39 m/s", "L = 39 m"),
    ("6 N/m", "M2 = 6 N*m"),
    ("R1 = 2 kN, R2 = 4 kN", "R1 = 4 kN, R2 = 2 kN"),
    ("39 m, I think", "L = 39 m"),
    ("L = 39 m or so", "L = 39 m"),
]

UNDECIDED = [
    ("3*13 m", "L = 39 m"),
    ("9!", "362880"),
    (r"\int_0^1 x\,dx", "1/2"),
    (r"\binom{6}{2}", "15"),
    ("x^999", "y = x^999 + 0"),
    ("(x + 1)^9 - 1", "y = (x + 1)^9"),
    ("three", "3 m"),
    ("The answer is 39 m", "L = 39 m"),
    ("sqrt(2) is rational", "sqrt(2) is irrational"),
    ("2516_7", "2516_8"),
]
"""Pairs that are called unreadable, and thereby wrong, whatever they say."""

MISTAKEN = [
    ("T = 2*pi*sqrt(m)/sqrt(k)", "T = 2*pi*sqrt(m/k)", False),  # a letter may be negative
    ("22 degrees Celsius", "Tm = 22 C", False),
    ("L = 38 m = 39 m", "L = 39 m", True),
    ("I = exp(-A*x)", "I = exp(-a*x)", True),
]
"""Pairs whose grade is not what one would wish."""


@pytest.mark.parametrize(("answer", "reference"), RIGHT)
def test_the_same_answer_in_other_words_is_right(answer, reference):
    assert grade(answer, reference).correct, grade(answer, reference)


@pytest.mark.parametrize(("answer", "reference"), WRONG)
def test_another_answer_is_wrong(answer, reference):
    assert not grade(answer, reference).correct, grade(answer, reference)


@pytest.mark.parametrize(("answer", "reference"), UNDECIDED)
def test_what_cannot_be_read_is_wrong_and_says_so(answer, reference):
    assert grade(answer, reference) == (False, "unreadable")


@pytest.mark.parametrize(("answer", "reference", "correct"), MISTAKEN)
def test_known_mistakes_are_still_made(answer, reference, correct):
    assert grade(answer, reference).correct == correct


def test_no_answer_is_wrong_and_says_so():
    for nothing in (None, "", " \n"):
        assert grade(nothing, "3") == (False, "no answer")


@pytest.mark.parametrize(
    ("answer", "reference", "how"),
    [
        ("39 m", "39 m", "same text"),
        ("3900 cm", "L = 39 m", "quantity"),
        ("39", "L = 39 m", "no unit"),
        ("39 kg", "L = 39 m", "other unit"),
        ("40 m", "L = 39 m", "differs"),
        ("exp(-7*x) + 5*x*exp(-7*x)", "y = (5*x + 1)*exp(-7*x)", "symbolic"),
        ("x = 5 or x = -3", "x = -3 or x = 5", "quantity"),
        ("(8, -8)", "p = [8, -8]", "symbolic"),
        (r"(2, \infty) \cup \{1\}", r"\{1\} \cup (2, \infty)", "symbolic"),
        ("because", "3", "differs"),
        ("(((", "3", "unreadable"),
    ],
)
def test_the_grade_says_why(answer, reference, how):
    assert grade(answer, reference).how == how


def test_the_tolerance_is_for_numbers_with_a_decimal_point():
    assert grade("0.3333", "x = 1/3").correct and not grade("0.33", "x = 1/3").correct
    assert grade("0.33", "x = 1/3", tolerance=0.02).correct
    assert not grade("1001", "S = 1000").correct and not grade("S = 1001", "S = 1000", tolerance=0.1).correct
    assert not grade("333/1000", "x = 1/3").correct
    assert not grade("1e-12 m", "d = 2e-12 m").correct


@pytest.mark.parametrize(("domain", "name"), [(domain, name) for domain in KINDS for name in KINDS[domain]])
def test_every_kinds_references_are_told_apart(domain, name):
    rng = Random(7)
    responses = list(dict.fromkeys(KINDS[domain][name](rng).response for _ in range(30)))[:8]
    for mine in responses:
        assert grade(f" {mine}.\n", mine).correct
        assert grade(mine.replace(" = ", "="), mine).correct
        for other in responses:
            assert grade(other, mine).correct == (other == mine), (other, mine)


def test_the_classics_references_are_told_apart():
    for mine in CLASSICS:
        for other in CLASSICS:
            assert grade(other["response"], mine["response"]).correct == (mine is other)


BOMBS = [
    "9**9**9**9", "9^9^9^9", "9^{9^{9^9}}", "9!!!!", "exp(exp(exp(exp(9))))", "1e999999 m", "5 m^9^9",
    "(" * 999, "[" * 999, "{" * 999, "-" * 999 + "1", "1" * 999, "2^" * 400 + "2", "|1" * 300, "1±" * 300 + "1",
    "," * 900, "1," * 400 + "1", " or " * 200, "m/" * 400 + "m", "5 " + "m*" * 25 + "m", "\\" * 999, "a" * 10**6,
    r"\frac{" * 150, r"\sqrt{" * 140 + "2" + "}" * 140, r"\begin{pmatrix}" * 60, r"(9^{99})^{99} \cup (1, 2)",
    r"[\frac{9^{99}}{7}, 99^{99}]", r"x \ge " + "(x+1)" * 20, r"x^{99} + x^{98} + 3x \ge 3", "\x00", "\ud800",
    "__import__('os').getpid()", "5 __import__('os').getpid()", "exp(exp(exp(9)))", "((((9^99)^99)^99)^99)^99",
    "(x + y + z + 1)^9*(x - y)^9", "((((x + 1)^2 + y)^2 + z)^2 + 1)^2", r"\gcd(9^{9^9}, 7)", r"\binom{9^9}{9^8}",
    r"\sum_{n=1}^{9^9} n^n", r"9^{9^9} \mod 7", r"\int_0^1 x^x dx", "(9!)!", "1/0", "1e999", "x^x^x^x",
]  # fmt: skip
REFERENCES = [
    "L = 39 m",
    "x = -3 or x = 5",
    "A = [[0, 0], [5, 4]]",
    "y = exp(-7*x)",
    r"\frac{1}{2}",
    "[-2, 7]",
    r"x \ge 3",
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_hostile_text_is_wrong_soon(bomb):
    grade("2 m", "3 m"), grade("x*(x + 1)", "x^2 + x")  # what is loaded at the first use
    for reference in REFERENCES:
        begin = time.process_time()
        assert not grade(bomb, reference).correct
        assert time.process_time() - begin < 2


def test_a_long_text_is_read_if_it_is_the_reference():
    text = "x + " * LONGEST + "x"
    assert grade(text, text).correct
    assert grade(f"{text} + 0", text) == (False, "unreadable")


COMMANDS = r"\frac \sqrt \ge \cup \infty \pi \text{ \pm ^{ exp m or \boxed{ #### \left( \begin{pmatrix} \end{pmatrix}"
ALPHABET = st.sampled_from([*"0123456789xyzab+-*/^(){}[],.=| ±%°_'&\\", *COMMANDS.split()])


@given(st.one_of(st.text(), st.lists(ALPHABET, max_size=60).map("".join)), st.sampled_from(REFERENCES))
@example("1/0", "1").via("a division by zero")
def test_no_text_raises(text, reference):
    assert grade(text, reference).how and grade(reference, text).how
    assert grade(text, text).correct == bool(text.strip())


def test_another_thread_grades_alike():
    grades = []
    pairs = [*RIGHT, *WRONG]
    thread = threading.Thread(target=lambda: grades.extend(grade(*pair) for pair in pairs))
    thread.start()
    thread.join()
    assert grades == [grade(*pair) for pair in pairs]


def test_quantities_are_graded_quickly():
    pairs = [pair for pair in [*RIGHT, *WRONG] if grade(*pair).how in ("quantity", "no unit", "other unit")]
    begin = time.process_time()
    for pair in pairs:
        grade(*pair)
    assert len(pairs) > 30 and (time.process_time() - begin) / len(pairs) < 0.001
