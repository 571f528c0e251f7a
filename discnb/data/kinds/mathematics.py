"""Problem kinds of Mathematics: calculus, algebra, series and numbers."""

from sympy import Integer, Symbol, binomial, diff, expand, gcd, integrate

from discnb.data.kinds.base import Problem, hence, kind, one_of, paren, show, whole

x = Symbol("x")


@kind("Mathematics", "derivative-at-point")
def derivative_at_point(rng):
    a, b, c, at = whole(rng, 1, 5), whole(rng, 1, 9), whole(rng, 1, 9), whole(rng, 1, 5)
    f = expand(a * x ** rng.choice([2, 3]) + b * x + c)
    slope = diff(f, x)
    lead = slope - b
    value = slope.subs(x, at)
    question = one_of(
        rng,
        f"Find the derivative of f(x) = {show(f)} at x = {at}.",
        f"What is the slope of y = {show(f)} at x = {at}?",
        f"Let f(x) = {show(f)}. Compute f'({at}).",
        f"How fast does f(x) = {show(f)} change with x at x = {at}?",
    )
    power = slope.as_poly(x).degree()
    coefficient = lead.coeff(x, power)
    steps = [
        one_of(rng, "By the power rule", "Differentiating term by term") + f", f'(x) = {show(slope)}.",
        f"At x = {at}, x^{power} = {at}^{power} = {at**power}." if power > 1 else f"Now let x = {at}.",
        f"The first term is {coefficient}*{at**power} = {lead.subs(x, at)}.",
        f"{hence(rng)} f'({at}) = {lead.subs(x, at)} + {b} = {value}.",
    ]
    return Problem(question, steps, f"f'({at}) = {value}")


@kind("Mathematics", "definite-integral")
def definite_integral(rng):
    a, b, top = whole(rng, 1, 6), whole(rng, 1, 9), whole(rng, 1, 4)
    n = rng.choice([1, 2])
    f = (n + 1) * a * x**n + b
    primitive = integrate(f, x)
    lead, rest = a * top ** (n + 1), b * top
    question = one_of(
        rng,
        f"Evaluate the integral of {show(f)} from 0 to {top}.",
        f"Find the area under y = {show(f)} between x = 0 and x = {top}.",
        f"Integrate f(x) = {show(f)} over [0, {top}].",
        f"What is the definite integral of {show(f)} with x running from 0 to {top}?",
    )
    steps = [
        one_of(rng, "An antiderivative is", "The power rule gives the antiderivative") + f" F(x) = {show(primitive)}.",
        one_of(rng, "By the fundamental theorem of calculus", "Since F' is the integrand")
        + f", the integral is F({top}) - F(0), and F(0) = 0.",
        f"The terms are {a}*{top}^{n + 1} = {a}*{top ** (n + 1)} = {lead} and {b}*{top} = {rest}.",
        f"{hence(rng)} F({top}) = {lead} + {rest} = {lead + rest}.",
    ]
    return Problem(question, steps, f"integral = {lead + rest}")


@kind("Mathematics", "quadratic-equation")
def quadratic_equation(rng):
    low, high = sorted(Integer(n) for n in rng.sample([n for n in range(-9, 10) if n], 2))
    total, product = low + high, low * high
    poly = expand((x - low) * (x - high))
    factors = f"({show(x - low)})*({show(x - high)})"
    question = one_of(
        rng,
        f"Solve {show(poly)} = 0.",
        f"Find both roots of the quadratic {show(poly)}.",
        f"For which x is {show(poly)} equal to zero?",
        f"Where does the parabola y = {show(poly)} cross the x axis?",
    )
    steps = [
        one_of(rng, "By Vieta", "Comparing coefficients")
        + f", the roots have the sum {total} and the product {product}.",
        (
            f"Two numbers that fit are {low} and {high}: "
            f"{low} + {paren(high)} = {total} and {paren(low)}*{paren(high)} = {product}."
        ),
        f"{hence(rng)} {show(poly)} = {factors}.",
        one_of(rng, "A product is zero when a factor is", "One of the factors must be zero")
        + f", so x = {low} or x = {high}.",
    ]
    return Problem(question, steps, f"x = {low} or x = {high}")


@kind("Mathematics", "arithmetic-series")
def arithmetic_series(rng):
    a, d, half_n = whole(rng, 1, 9), whole(rng, 1, 6), whole(rng, 2, 6)
    n = 2 * half_n
    last = a + (n - 1) * d
    pair = a + last
    thing = rng.choice(["sequence", "progression", "number series", "list of numbers"])
    question = one_of(
        rng,
        f"A {thing} starts at {a} and grows by {d} each time. Find the sum of its first {n} terms.",
        f"Find the sum of {n} terms of the {thing} {a}, {a + d}, {a + 2 * d}, ...",
        f"Add up the first {n} terms of the {thing} with first term {a} and difference {d}.",
        f"What is the sum of the {thing} {a}, {a + d}, ..., {last}, which has {n} terms?",
    )
    steps = [
        f"The last term is a + (n - 1)*d = {a} + {n - 1}*{d} = {a} + {(n - 1) * d} = {last}.",
        one_of(rng, "Pair the first term with the last", "Add the series to its reverse")
        + f": each pair is {a} + {last} = {pair}.",
        f"There are {n}/2 = {half_n} pairs.",
        f"{hence(rng)} S = {half_n}*{pair} = {half_n * pair}.",
    ]
    return Problem(question, steps, f"S = {half_n * pair}")


@kind("Mathematics", "geometric-series")
def geometric_series(rng):
    a, r, n = whole(rng, 1, 9), Integer(rng.choice([2, 2, 3])), whole(rng, 3, 6)
    if r == 3:
        n = min(n, Integer(4))
    power = r**n
    total = a * (power - 1) / (r - 1)
    question = one_of(
        rng,
        f"Find the sum of the first {n} terms of a geometric series with first term {a} and ratio {r}.",
        f"A geometric sequence begins {a}, {a * r}, {a * r**2}, ... Add its first {n} terms.",
        f"What is the sum of {n} terms of the geometric series {a} + {a * r} + ...?",
        f"The numbers {a}, {a * r}, ... grow by the factor {r}. Find the sum of the first {n} of them.",
    )
    steps = [
        one_of(rng, "Subtracting S from r*S", "Most terms of r*S - S cancel, which")
        + " gives S = a*(r^n - 1)/(r - 1).",
        f"Here r^n = {r}^{n} = {power} and r - 1 = {r} - 1 = {r - 1}.",
        f"The middle factor is ({power} - 1)/{r - 1} = {power - 1}/{r - 1} = {(power - 1) / (r - 1)}.",
        f"{hence(rng)} S = {a}*{(power - 1) / (r - 1)} = {total}.",
    ]
    return Problem(question, steps, f"S = {total}")


@kind("Mathematics", "euclid")
def euclid(rng):
    divisor, parts = whole(rng, 2, 12), [whole(rng, 2, 4), whole(rng, 1, 3), whole(rng, 1, 3)]
    b = divisor * parts[0]
    chain = [b, divisor]
    for quotient in parts[1:]:
        chain.insert(0, quotient * chain[0] + chain[1])
    a, b = chain[0], chain[1]
    question = one_of(
        rng,
        f"Find the greatest common divisor of {a} and {b} with Euclid's algorithm.",
        f"Compute gcd({a}, {b}).",
        f"What is the largest integer that divides both {a} and {b}?",
        f"Use repeated division with remainder to find gcd({a}, {b}).",
    )
    steps = [
        one_of(
            rng,
            "A common divisor also divides the remainder.",
            "Dividing with remainder keeps the gcd unchanged.",
        ),
        *(
            f"{chain[i]} = {chain[i] // chain[i + 1]}*{chain[i + 1]} + {chain[i] % chain[i + 1]}."
            for i in range(len(chain) - 1)
        ),
        one_of(rng, "The last remainder that is not zero is", "The last divisor is") + f" {divisor}.",
        f"{hence(rng)} gcd({a}, {b}) = {gcd(a, b)}.",
    ]
    return Problem(question, steps, f"gcd = {gcd(a, b)}")


@kind("Mathematics", "tangent-line")
def tangent_line(rng):
    a, b, at = whole(rng, 1, 4), whole(rng, -6, 6), whole(rng, 1, 5)
    f = a * x**2 + b * x
    slope, value = diff(f, x).subs(x, at), f.subs(x, at)
    line = expand(value + slope * (x - at))
    intercept = line.subs(x, 0)
    question = one_of(
        rng,
        f"Find the tangent to y = {show(f)} at x = {at}.",
        f"Which line touches the parabola y = {show(f)} at x = {at}?",
        f"Give the equation of the tangent of f(x) = {show(f)} at the point with x = {at}.",
        f"Linearise f(x) = {show(f)} about x = {at}.",
    )
    steps = [
        f"The value is f({at}) = {a}*{at**2} + {paren(b * at)} = {value}.",
        f"The derivative is f'(x) = {show(diff(f, x))}, so the slope is {2 * a}*{at} + {paren(b)} = {slope}.",
        one_of(rng, "The tangent is", "The line through the point is") + f" y = {value} + {paren(slope)}*(x - {at}).",
        f"Its constant term is {value} - {paren(slope)}*{at} = {value} - {paren(slope * at)} = {intercept}.",
        f"{hence(rng)} y = {show(line)}.",
    ]
    return Problem(question, steps, f"y = {show(line)}")


@kind("Mathematics", "combinations")
def combinations(rng):
    n = whole(rng, 4, 12)
    k = whole(rng, 2, 3)
    things = rng.choice(["books", "students", "cards", "flowers", "players", "songs", "stamps", "dishes"])
    ordered = n * (n - 1) if k == 2 else n * (n - 1) * (n - 2)
    product = f"{n}*{n - 1}" if k == 2 else f"{n}*{n - 1}*{n - 2}"
    orders = "2*1 = 2" if k == 2 else "3*2*1 = 6"
    question = one_of(
        rng,
        f"In how many ways can {k} of {n} {things} be chosen?",
        f"How many different sets of {k} {things} can be taken from {n}?",
        f"There are {n} {things}. Count the selections of {k} of them without regard to order.",
        f"Somebody picks {k} out of {n} {things}; the order does not matter. Count the choices.",
    )
    steps = [
        f"{one_of(rng, 'With order', 'In order')}, there are {product} = {ordered} choices.",
        f"Each set of {k} has been counted {orders} times.",
        one_of(rng, "We divide by the number of orders.", "The order does not matter, so we divide."),
        f"{hence(rng)} C({n}, {k}) = {ordered}/{2 if k == 2 else 6} = {binomial(n, k)}.",
    ]
    return Problem(question, steps, f"C({n}, {k}) = {binomial(n, k)}")
