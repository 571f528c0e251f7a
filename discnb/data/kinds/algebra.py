"""Problem kinds of Linear-Algebra: determinants, inverses, eigenvalues, systems and products."""

from sympy import Integer, Matrix, Symbol, divisors, expand

from discnb.data.kinds.base import Problem, hence, kind, one_of, paren, rows, show, vector, whole

MATRICES = ["A", "B", "M", "P", "T"]


@kind("Linear-Algebra", "determinant")
def determinant(rng):
    a, b, c, d = whole(rng, 1, 9), whole(rng, -5, 9), whole(rng, 1, 9), whole(rng, 1, 9)
    matrix, name = Matrix([[a, b], [c, d]]), rng.choice(MATRICES)
    det = matrix.det()
    question = one_of(
        rng,
        f"Compute the determinant of {name} = {rows(matrix)}.",
        f"Is the matrix {name} = {rows(matrix)} invertible? Find its determinant.",
        f"Find det({name}) for {name} = {rows(matrix)}.",
        f"By what signed factor does {name} = {rows(matrix)} scale areas?",
    )
    steps = [
        one_of(rng, "For rows [a, b] and [c, d],", "A matrix [[a, b], [c, d]] has") + " det = a*d - b*c.",
        f"The main diagonal gives a*d = {a}*{d} = {a * d}.",
        f"The other diagonal gives b*c = {paren(b)}*{c} = {b * c}.",
        f"{hence(rng)} det({name}) = {a * d} - {paren(b * c)} = {det}.",
        f"As it is {'zero, the matrix is singular' if det == 0 else 'not zero, the matrix is invertible'}.",
    ]
    return Problem(question, steps, f"det({name}) = {det}")


@kind("Linear-Algebra", "inverse")
def inverse(rng):
    det = Integer(rng.choice([1, 1, -1, 2]))
    a, d = whole(rng, 1, 6), whole(rng, 1, 6)
    bc = a * d - det
    b = Integer(rng.choice(divisors(bc))) if bc else Integer(0)
    c = bc / b if b else whole(rng, 1, 9)
    matrix, name = Matrix([[a, b], [c, d]]), rng.choice(MATRICES)
    adjugate, result = matrix.adjugate(), matrix.inv()
    question = one_of(
        rng,
        f"Find the inverse of {name} = {rows(matrix)}.",
        f"Invert the matrix {name} = {rows(matrix)}.",
        f"Compute {name}^-1 for {name} = {rows(matrix)}.",
        f"Which matrix times {name} = {rows(matrix)} gives the identity?",
    )
    steps = [
        f"The determinant is {a}*{d} - {paren(b)}*{paren(c)} = {a * d} - {paren(bc)} = {det}.",
        one_of(rng, "Swap the diagonal and change the other signs", "The adjugate swaps a, d and negates b, c")
        + f": {rows(adjugate)}.",
        f"Dividing by {det} gives {rows(result)}.",
        f"Check: the first entry of the product is {a}*{paren(result[0, 0])} + {paren(b)}*{paren(result[1, 0])} = 1.",
    ]
    return Problem(question, steps, f"{name}^-1 = {rows(result)}")


@kind("Linear-Algebra", "eigenvalues")
def eigenvalues(rng):
    low, high = sorted(Integer(n) for n in rng.sample([-3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9], 2))
    shift = whole(rng, 1, 4)
    a, d = low + shift, high - shift  # trace low + high; b*c is what the determinant leaves
    bc = a * d - low * high
    b = Integer(rng.choice(divisors(bc))) if bc else Integer(0)
    c = bc / b if b else whole(rng, 0, 5)
    matrix, name, lam = Matrix([[a, b], [c, d]]), rng.choice(MATRICES), Symbol("t")
    poly = expand((lam - low) * (lam - high))
    question = one_of(
        rng,
        f"Find the eigenvalues of {name} = {rows(matrix)}.",
        f"For which t is det({name} - t*I) = 0, with {name} = {rows(matrix)}?",
        f"Compute the spectrum of the matrix {name} = {rows(matrix)}.",
        f"The matrix {name} = {rows(matrix)} stretches its eigenvectors. By which factors?",
    )
    steps = [
        f"The trace is {a} + {paren(d)} = {low + high}.",
        f"The determinant is {paren(a)}*{paren(d)} - {paren(b)}*{paren(c)} = {a * d} - {paren(bc)} = {low * high}.",
        one_of(rng, "The characteristic equation is", "The eigenvalues solve") + f" {show(poly)} = 0.",
        f"It factors as ({show(lam - low)})*({show(lam - high)}) = 0.",
        f"{hence(rng)} the eigenvalues are {low} and {high}.",
    ]
    return Problem(question, steps, f"t = {low} and t = {high}")


@kind("Linear-Algebra", "linear-system")
def linear_system(rng):
    x, y = whole(rng, -5, 9), whole(rng, -5, 9)
    a, b, k = whole(rng, 1, 5), whole(rng, 1, 5), whole(rng, 1, 3)
    c, d = a * k, b * k + whole(rng, 1, 4)
    first, second = a * x + b * y, c * x + d * y
    p, q = Symbol("x"), Symbol("y")
    top, bottom = f"{show(a * p + b * q)} = {first}", f"{show(c * p + d * q)} = {second}"
    rest, right = d - k * b, second - k * first
    left_over = first - b * y
    question = one_of(
        rng,
        f"Solve the system {top}, {bottom}.",
        f"Find x and y such that {top} and {bottom}.",
        f"Where do the lines {top} and {bottom} meet?",
        f"Use elimination to solve {top} and {bottom}.",
    )
    times = "the first equation" if k == 1 else f"{k} times the first equation"
    steps = [
        one_of(rng, "Subtract", "To eliminate x, subtract") + f" {times} from the second.",
        (
            f"The factor of y is {d} - {k}*{b} = {rest} and the right side is {paren(second)} - "
            f"{k}*{paren(first)} = {right}."
        ),
        f"{hence(rng)} y = {paren(right)}/{rest} = {y}.",
        f"Then {show(a * p)} = {paren(first)} - {b}*{paren(y)} = {left_over}, so x = {paren(left_over)}/{a} = {x}.",
    ]
    return Problem(question, steps, f"x = {x}, y = {y}")


@kind("Linear-Algebra", "matrix-vector")
def matrix_vector(rng):
    a, b, c, d = (whole(rng, 0, 9) for _ in range(4))
    x, y = whole(rng, 1, 9), whole(rng, 1, 9)
    matrix, v, name = Matrix([[a, b], [c, d]]), Matrix([x, y]), rng.choice(MATRICES)
    result = matrix * v
    question = one_of(
        rng,
        f"Compute {name}*v for {name} = {rows(matrix)} and v = {vector(v)}.",
        f"Where does {name} = {rows(matrix)} send the vector v = {vector(v)}?",
        f"Find the image of v = {vector(v)} under {name} = {rows(matrix)}.",
        f"Multiply the matrix {name} = {rows(matrix)} by the column v = {vector(v)}.",
    )
    steps = [
        one_of(rng, "Each entry is a row of the matrix times v.", "We take the dot product of each row with v."),
        f"The first entry is {a}*{x} + {b}*{y} = {a * x} + {b * y} = {result[0]}.",
        f"The second entry is {c}*{x} + {d}*{y} = {c * x} + {d * y} = {result[1]}.",
        f"{hence(rng)} {name}*v = {vector(result)}.",
    ]
    return Problem(question, steps, f"{name}*v = {vector(result)}")


@kind("Linear-Algebra", "orthogonality")
def orthogonality(rng):
    a, k = whole(rng, 1, 9), whole(rng, -9, 9)
    c = Integer(rng.choice([d for d in range(1, 10) if a * k % d == 0]))
    ends = -a * k / c
    u = Matrix([a, c])
    question = one_of(
        rng,
        f"For which k is [k, {ends}] orthogonal to u = {vector(u)}?",
        f"Find k so that u = {vector(u)} and v = [k, {ends}] are perpendicular.",
        f"The vectors u = {vector(u)} and v = [k, {ends}] form a right angle. Find k.",
        f"Choose k such that the dot product of u = {vector(u)} and [k, {ends}] vanishes.",
    )
    steps = [
        one_of(
            rng,
            "Vectors are orthogonal when their dot product is zero",
            "A right angle means a zero dot product",
        )
        + ".",
        f"The dot product is {a}*k + {c}*{paren(ends)} = {a}*k + {paren(c * ends)}.",
        f"It is zero when {a}*k = {-c * ends}.",
        f"{hence(rng)} k = {paren(-c * ends)}/{a} = {k}.",
        f"Check: {a}*{paren(k)} + {c}*{paren(ends)} = {a * k} + {paren(c * ends)} = 0.",
    ]
    return Problem(question, steps, f"k = {k}")


@kind("Linear-Algebra", "projection")
def projection(rng):
    b = Matrix(rng.choice([[1, 0], [1, 1], [1, 2], [2, 1], [1, -1], [1, 3], [3, 1], [2, -1], [3, 4]]))
    factor = Integer(rng.choice([n for n in range(-5, 10) if n]))
    step = whole(rng, -4, 4)
    a = factor * b + step * Matrix([-b[1], b[0]])
    dot, square = a.dot(b), b.dot(b)
    image = factor * b
    question = one_of(
        rng,
        f"Project a = {vector(a)} onto b = {vector(b)}.",
        f"Find the orthogonal projection of a = {vector(a)} on the line along b = {vector(b)}.",
        f"Which multiple of b = {vector(b)} is closest to a = {vector(a)}?",
        f"Decompose a = {vector(a)}: what is its component along b = {vector(b)}?",
    )
    steps = [
        one_of(rng, "The projection is", "The part of a along b is") + " p = ((a.b)/(b.b))*b.",
        f"The terms are {paren(a[0])}*{paren(b[0])} = {a[0] * b[0]} and {paren(a[1])}*{paren(b[1])} = {a[1] * b[1]}.",
        f"The dot product a.b is {a[0] * b[0]} + {paren(a[1] * b[1])} = {dot}.",
        f"The square b.b is {paren(b[0])}^2 + {paren(b[1])}^2 = {square}.",
        f"The factor is {paren(dot)}/{square} = {factor}.",
        f"{hence(rng)} p = {factor}*{vector(b)} = {vector(image)}.",
    ]
    return Problem(question, steps, f"p = {vector(image)}")


@kind("Linear-Algebra", "matrix-product")
def matrix_product(rng):
    left = Matrix(2, 2, [whole(rng, 0, 5) for _ in range(4)])
    right = Matrix(2, 2, [whole(rng, 0, 5) for _ in range(4)])
    product = left * right
    question = one_of(
        rng,
        f"Multiply A = {rows(left)} by B = {rows(right)}.",
        f"Compute A*B for A = {rows(left)} and B = {rows(right)}.",
        f"Find the matrix of B = {rows(right)} followed by A = {rows(left)}.",
        f"Let A = {rows(left)} and B = {rows(right)}. What is A*B?",
    )
    steps = [one_of(rng, "Each entry is a row of A times a column of B.", "Rows of A meet columns of B.")]
    for i, j in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        terms = f"{left[i, 0]}*{right[0, j]} + {left[i, 1]}*{right[1, j]}"
        steps.append(f"Row {i + 1}, column {j + 1}: {terms} = {product[i, j]}.")
    steps.append(f"{hence(rng)} A*B = {rows(product)}.")
    return Problem(question, steps, f"A*B = {rows(product)}")
