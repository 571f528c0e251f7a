"""Problem kinds of Differential-Equations: separable, linear first order, constant coefficients."""

from sympy import Integer, Symbol, cos, diff, exp, expand, sin

from discnb.data.kinds.base import Problem, hence, kind, one_of, paren, show, whole

x, r = Symbol("x"), Symbol("r")


@kind("Differential-Equations", "growth-decay")
def growth_decay(rng):
    k = Integer(rng.choice([n for n in range(-9, 10) if n]))
    start = whole(rng, 1, 12)
    y = start * exp(k * x)
    equation = f"y' = {show(k * Symbol('y'))}"
    question = one_of(
        rng,
        f"Solve {equation} with y(0) = {start}.",
        f"Find the solution of {equation} that starts at y(0) = {start}.",
        f"A quantity obeys {equation} and y(0) = {start}. Find y(x).",
        f"Solve the initial value problem {equation}, y(0) = {start} by separation.",
    )
    steps = [
        one_of(rng, "Separating the variables", "We separate") + f", dy/y = {show(k)} dx.",
        f"Integrating both sides, ln(y) = {show(k * x)} + c, so y = C*{show(exp(k * x))}.",
        f"At x = 0 this is y(0) = C, so C = {start}.",
        f"{hence(rng)} y = {show(y)}.",
    ]
    return Problem(question, steps, f"y = {show(y)}")


@kind("Differential-Equations", "separable-gaussian")
def separable_gaussian(rng):
    k = Integer(rng.choice([n for n in range(-8, 9, 2) if n]))
    n, start = whole(rng, 1, 2), whole(rng, 1, 9)
    rate = k * x if n == 1 else 3 * k / 2 * x**2
    exponent = rate.integrate(x)
    y = start * exp(exponent)
    equation = f"y' = {show(rate * Symbol('y'))}"
    question = one_of(
        rng,
        f"Solve {equation} with y(0) = {start}.",
        f"Find y(x) if {equation} and y(0) = {start}.",
        f"Use separation of variables on {equation}, y(0) = {start}.",
        f"Which function satisfies {equation} and has the value {start} at x = 0?",
    )
    steps = [
        one_of(rng, "Separating the variables", "Dividing by y") + f", dy/y = {show(rate)} dx.",
        f"Integration gives ln(y) = {show(exponent)} + c.",
        f"At x = 0, ln({start}) = c.",
        f"{hence(rng)} y = {show(y)}.",
    ]
    return Problem(question, steps, f"y = {show(y)}")


@kind("Differential-Equations", "linear-first-order")
def linear_first_order(rng):
    a, level, c = whole(rng, 1, 9), whole(rng, 1, 9), whole(rng, 1, 9) * rng.choice([-1, 1])
    b, start = a * level, level + c
    y = c * exp(-a * x) + level
    left = f"y' + {show(a * Symbol('y'))}"
    question = one_of(
        rng,
        f"Solve {left} = {b} with y(0) = {start}.",
        f"Find the solution of {left} = {b} for y(0) = {start}.",
        f"Solve the linear equation {left} = {b}, y(0) = {start}.",
        f"A signal obeys {left} = {b} and y(0) = {start}. Find y(x).",
    )
    steps = [
        one_of(rng, "A constant solution has", "At equilibrium") + f" y' = 0, so y = {b}/{a} = {level}.",
        f"The homogeneous equation {left} = 0 has the solutions C*{show(exp(-a * x))}.",
        f"The general solution is y = C*{show(exp(-a * x))} + {level}.",
        f"From y(0) = {start} we get C = {start} - {level} = {c}.",
        f"{hence(rng)} y = {show(y)}.",
        f"Check: y(0) = {c} + {level} = {start}.",
    ]
    return Problem(question, steps, f"y = {show(y)}")


@kind("Differential-Equations", "direct-integration")
def direct_integration(rng):
    a, b, c = whole(rng, 1, 9), whole(rng, 1, 9), whole(rng, 0, 9)
    y = a * x**2 + b * x + c
    slope = diff(y, x)
    question = one_of(
        rng,
        f"Solve y' = {show(slope)} with y(0) = {c}.",
        f"Find y(x) if y' = {show(slope)} and y(0) = {c}.",
        f"The slope of a curve through (0, {c}) is {show(slope)} at every x. Find the curve.",
        f"Integrate y' = {show(slope)} under the condition y(0) = {c}.",
    )
    steps = [
        one_of(rng, "The right side depends on x only", "No y stands on the right") + ", so we integrate.",
        f"The integral of {show(2 * a * x)} is {show(a * x**2)}, for {2 * a}/2 = {a}.",
        f"The general solution is y = {show(a * x**2 + b * x)} + C.",
        f"From y(0) = {c} we get C = {c}.",
        f"{hence(rng)} y = {show(y)}.",
    ]
    return Problem(question, steps, f"y = {show(y)}")


@kind("Differential-Equations", "distinct-roots")
def distinct_roots(rng):
    low, high = sorted(Integer(n) for n in rng.sample([-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6], 2))
    total, product = low + high, low * high
    poly = expand((r - low) * (r - high))
    left = operator(-total, product)
    general = f"C1*{show(exp(low * x))} + C2*{show(exp(high * x))}"
    question = one_of(
        rng,
        f"Find the general solution of {left} = 0.",
        f"Solve {left} = 0.",
        f"Which functions y(x) satisfy {left} = 0?",
        f"Solve the second order equation {left} = 0 with constant coefficients.",
    )
    steps = [
        one_of(rng, "Trying y = exp(r*x)", "The ansatz y = exp(r*x)") + f" gives {show(poly)} = 0.",
        (
            f"The roots have the sum {low} + {paren(high)} = {total} and the product "
            f"{paren(low)}*{paren(high)} = {product}."
        ),
        f"The roots are r = {low} and r = {high}.",
        one_of(rng, "They are distinct and real", "Two different roots give two solutions") + ".",
        f"{hence(rng)} y = {general}.",
    ]
    return Problem(question, steps, f"y = {general}")


@kind("Differential-Equations", "repeated-root")
def repeated_root(rng):
    root = Integer(rng.choice([n for n in range(-9, 10) if n]))
    start, c = whole(rng, 1, 9), whole(rng, 1, 9)
    slope = root * start + c
    left = operator(-2 * root, root**2)
    y = (start + c * x) * exp(root * x)
    question = one_of(
        rng,
        f"Solve {left} = 0 with y(0) = {start} and y'(0) = {slope}.",
        f"Find y(x) if {left} = 0, y(0) = {start}, y'(0) = {slope}.",
        f"Solve the initial value problem {left} = 0, y(0) = {start}, y'(0) = {slope}.",
        f"A system obeys {left} = 0. With y(0) = {start} and y'(0) = {slope}, find y(x).",
    )
    steps = [
        f"The characteristic equation {show(expand((r - root) ** 2))} = 0 has the double root r = {root}.",
        one_of(rng, "The general solution is", "A double root gives") + f" y = (A + B*x)*{show(exp(root * x))}.",
        f"From y(0) = {start} we get A = {start}.",
        (
            f"From y'(0) = {root}*A + B we get B = {slope} - {paren(root)}*{start} = {slope} - "
            f"{paren(root * start)} = {c}."
        ),
        f"{hence(rng)} y = {show(y)}.",
    ]
    return Problem(question, steps, f"y = {show(y)}")


@kind("Differential-Equations", "harmonic")
def harmonic(rng):
    w, a, b = whole(rng, 2, 9), whole(rng, 1, 9), whole(rng, 1, 9)
    speed = b * w
    left = operator(Integer(0), w**2)
    question = one_of(
        rng,
        f"Solve {left} = 0 with y(0) = {a} and y'(0) = {speed}.",
        f"Find y(x) if {left} = 0, y(0) = {a}, y'(0) = {speed}.",
        f"An oscillator obeys {left} = 0. It starts with y(0) = {a} and y'(0) = {speed}. Find y(x).",
        f"Solve the initial value problem {left} = 0, y(0) = {a}, y'(0) = {speed}.",
    )
    steps = [
        f"The characteristic equation r^2 + {w**2} = 0 has the roots r = {w}*i and r = -{w}*i.",
        one_of(rng, "The general solution is", "Imaginary roots give")
        + f" y = A*{show(cos(w * x))} + B*{show(sin(w * x))}.",
        f"From y(0) = {a} we get A = {a}.",
        f"From y'(0) = {w}*B we get B = {speed}/{w} = {b}.",
        f"{hence(rng)} y = {plus(a * cos(w * x), b * sin(w * x))}.",
    ]
    return Problem(question, steps, f"y = {plus(a * cos(w * x), b * sin(w * x))}")


def plus(first, second) -> str:
    """Text of first + second in this order; SymPy would sort the terms."""
    return f"{show(first)} + {show(second)}"


def operator(a, b) -> str:
    """Text of y'' + a*y' + b*y without vanishing terms."""
    text = "y''"
    for coefficient, name in [(a, "y'"), (b, "y")]:
        if coefficient:
            factor = "" if abs(coefficient) == 1 else f"{abs(coefficient)}*"
            text += f" {'-' if coefficient < 0 else '+'} {factor}{name}"
    return text
