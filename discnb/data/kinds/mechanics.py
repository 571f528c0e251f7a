"""Problem kinds of Classical-Mechanics and Theoretical-Mechanics."""

from sympy import Integer, Rational, diff, divisors, expand, symbols

from discnb.data.kinds.base import Problem, hence, kind, one_of, show, substituting, whole

OBJECTS = ["crate", "box", "stone", "block", "barrel", "trunk", "parcel", "case"]


@kind("Classical-Mechanics", "inelastic-collision")
def inelastic_collision(rng):
    m1, m2, j = whole(rng, 2, 5), whole(rng, 1, 6), whole(rng, 1, 2)
    v1, v = (m1 + m2) * j, m1 * j
    body = rng.choice(["cart", "wagon", "truck", "puck", "glider", "trolley"])
    question = one_of(
        rng,
        f"A {m1} kg {body} at {v1} m/s hits a {m2} kg {body} at rest and sticks to it. Find the common velocity.",
        f"A {body} of mass {m1} kg and speed {v1} m/s couples to a resting one of {m2} kg. How fast do they move on?",
        (
            f"Two {body}s of {m1} kg and {m2} kg join in a collision. "
            f"The first had {v1} m/s, the second none. Find their speed."
        ),
        f"After a {m1} kg {body} with {v1} m/s has locked onto a still {m2} kg {body}, what is their velocity?",
    )
    steps = [
        one_of(rng, "No external force acts, so momentum is conserved", "Momentum is conserved in the collision")
        + ": m1*v1 = (m1 + m2)*v.",
        f"The momentum before is m1*v1 = {m1}*{v1} = {m1 * v1} kg*m/s.",
        f"The mass after is {m1} + {m2} = {m1 + m2} kg.",
        f"{hence(rng)} v = {m1 * v1}/{m1 + m2} = {v} m/s.",
    ]
    return Problem(question, steps, f"v = {v} m/s")


@kind("Classical-Mechanics", "sliding-friction")
def sliding_friction(rng):
    m, a, mu = whole(rng, 2, 9), whole(rng, 1, 6), Rational(whole(rng, 1, 5), 10)
    weight = 10 * m
    friction = mu * weight
    net = m * a
    pull = net + friction
    body = rng.choice(OBJECTS)
    question = one_of(
        rng,
        (
            f"A {pull} N force pulls a {m} kg {body} over a floor with mu = {show(mu)}. "
            "Find its acceleration (g = 10 m/s^2)."
        ),
        (
            f"A {body} of mass {m} kg is pushed with {pull} N. "
            f"The friction coefficient is {show(mu)}. Find a, with g = 10 m/s^2."
        ),
        (
            f"Find the acceleration of a {m} kg {body} dragged by {pull} N on level ground, "
            f"mu = {show(mu)}, g = 10 m/s^2."
        ),
        (
            f"On a level floor (mu = {show(mu)}) a {m} kg {body} is pulled by {pull} N. "
            "How does it accelerate? Use g = 10 m/s^2."
        ),
    )
    steps = [
        one_of(rng, "By Newton's second law", "Along the floor") + ", F - mu*N = m*a.",
        f"The normal force is N = m*g = {m}*10 = {weight} N.",
        f"The friction is mu*N = {show(mu)}*{weight} = {friction} N.",
        f"The net force is {pull} - {friction} = {net} N.",
        f"{hence(rng)} a = {net}/{m} = {a} m/s^2.",
    ]
    return Problem(question, steps, f"a = {a} m/s^2")


@kind("Classical-Mechanics", "circular-motion")
def circular_motion(rng):
    v, m = whole(rng, 2, 9), whole(rng, 2, 9)
    r = Integer(rng.choice([d for d in divisors(v**2) if d > 1]))
    acceleration = v**2 / r
    force = m * acceleration
    body = rng.choice(["ball", "stone", "model plane", "toy car", "bucket", "hammer"])
    question = one_of(
        rng,
        f"A {body} of mass {m} kg moves at {v} m/s on a circle of radius {r} m. Find the centripetal force.",
        f"What force keeps a {m} kg {body} on a circle of radius {r} m at {v} m/s?",
        f"A {m} kg {body} circles at {v} m/s. The radius is {r} m. How large is the force towards the centre?",
        f"Find the force towards the centre on a {body} ({m} kg) that goes round at {v} m/s with radius {r} m.",
    )
    steps = [
        one_of(rng, "Uniform circular motion needs", "A body on a circle has")
        + " the acceleration a = v^2/r towards the centre.",
        f"{substituting(rng)}, a = {v}^2/{r} = {v**2}/{r} = {acceleration} m/s^2.",
        "By Newton's second law, F = m*a.",
        f"{hence(rng)} F = {m}*{acceleration} = {force} N.",
    ]
    return Problem(question, steps, f"F = {force} N")


@kind("Classical-Mechanics", "fall-from-height")
def fall_from_height(rng):
    v, m = whole(rng, 2, 20, 2), whole(rng, 1, 9)
    h = v**2 / Integer(20)
    body = rng.choice(OBJECTS)
    question = one_of(
        rng,
        f"A {m} kg {body} falls from rest through {show(h)} m. How fast is it then? Take g = 10 m/s^2, no air drag.",
        (
            f"A {body} ({m} kg) slides without friction down a slope {show(h)} m high. "
            "Find its final speed, g = 10 m/s^2."
        ),
        f"Find the speed of a {m} kg {body} dropped from a height of {show(h)} m. Use g = 10 m/s^2 and neglect drag.",
        (
            f"A {body} of mass {m} kg is released {show(h)} m above the ground. "
            "With g = 10 m/s^2, find its speed at impact."
        ),
    )
    steps = [
        one_of(rng, "Energy is conserved", "The potential energy becomes kinetic energy") + ": m*g*h = (m/2)*v^2.",
        one_of(rng, "The mass cancels, so", "Dividing by the mass and doubling,") + " v^2 = 2*g*h.",
        f"{substituting(rng)}, v^2 = 2*10*{show(h)} = {v**2} m^2/s^2.",
        f"{hence(rng)} v = sqrt({v**2}) = {v} m/s.",
    ]
    return Problem(question, steps, f"v = {v} m/s")


@kind("Classical-Mechanics", "torque")
def torque(rng):
    r, alpha, ratio = whole(rng, 1, 4), whole(rng, 2, 9), whole(rng, 1, 6)
    inertia, force = r * ratio, ratio * alpha
    moment = force * r
    body = rng.choice(["wheel", "drum", "pulley", "disc", "rotor", "gate"])
    question = one_of(
        rng,
        f"A force of {force} N acts at {r} m from the axis of a {body} with I = {inertia} kg*m^2. Find alpha.",
        (
            f"A {body} of moment of inertia {inertia} kg*m^2 is turned by {force} N on an arm of {r} m. "
            "Find its angular acceleration."
        ),
        f"What angular acceleration does {force} N at a radius of {r} m give a {body} with I = {inertia} kg*m^2?",
        f"A rope pulls with {force} N on a {body} at {r} m from its axle. I = {inertia} kg*m^2. How does it spin up?",
    )
    steps = [
        one_of(rng, "For rotation about a fixed axis", "The rotational form of Newton's law says") + " M = I*alpha.",
        f"The torque is M = F*r = {force}*{r} = {moment} N*m.",
        "Solving for the angular acceleration, alpha = M/I.",
        f"{hence(rng)} alpha = {moment}/{inertia} = {alpha} rad/s^2.",
    ]
    return Problem(question, steps, f"alpha = {alpha} rad/s^2")


@kind("Theoretical-Mechanics", "lagrangian-oscillator")
def lagrangian_oscillator(rng):
    a, w = whole(rng, 1, 4), whole(rng, 2, 5)
    b = a * w**2
    name = rng.choice(["x", "q", "s", "y", "z", "u"])
    x, v = symbols(f"{name} v")
    lagrangian = a * v**2 - b * x**2
    momentum, force = diff(lagrangian, v), diff(lagrangian, x)
    text = f"{show(a * v**2)} - {show(b * x**2)}"
    question = one_of(
        rng,
        f"A system has the Lagrangian L = {text} with v = {name}'. Find its angular frequency.",
        f"Given L = {text}, where v = {name}', derive the equation of motion and its angular frequency.",
        f"Use the Euler-Lagrange equation for L = {text} (v = {name}') to find the frequency omega.",
        f"For L = {text} with v = {name}', show that {name} oscillates and find omega.",
    )
    steps = [
        one_of(rng, "The Euler-Lagrange equation is", "The motion obeys") + f" d/dt(dL/dv) = dL/d{name}.",
        f"The derivatives are dL/dv = {show(momentum)} and dL/d{name} = {show(force)}.",
        f"The equation of motion is {2 * a}*{name}'' = {show(force)}, that is {name}'' = -{w**2}*{name}.",
        f"{hence(rng)} omega = sqrt({2 * b}/{2 * a}) = sqrt({w**2}) = {w} rad/s.",
    ]
    return Problem(question, steps, f"omega = {w} rad/s")


@kind("Theoretical-Mechanics", "hamilton-equations")
def hamilton_equations(rng):
    m, w = whole(rng, 2, 4, 2), whole(rng, 2, 6)
    name = rng.choice(["x", "q", "s", "y", "z", "u"])
    q, p = symbols(f"{name} p")
    hamiltonian = p**2 / (2 * m) + m * w**2 * q**2 / 2
    velocity, force = diff(hamiltonian, p), -diff(hamiltonian, q)
    acceleration = expand(force / m)
    text = f"{show(p**2 / (2 * m))} + {show(m * w**2 * q**2 / 2)}"
    question = one_of(
        rng,
        f"A particle has H = {text}. Use Hamilton's equations to find its angular frequency.",
        f"For the Hamiltonian H = {text}, derive {name}'' and the angular frequency.",
        f"Find the angular frequency omega of the motion of {name} under H = {text}.",
        f"Show from the canonical equations that H = {text} is an oscillator, and find omega.",
    )
    steps = [
        one_of(rng, "Hamilton's equations are", "The canonical equations read")
        + f" {name}' = dH/dp and p' = -dH/d{name}.",
        f"They give {name}' = {show(velocity)} and p' = {show(force)}.",
        f"Differentiating once more, {name}'' = p'/{m} = {show(acceleration)}.",
        f"This is {name}'' = -omega^2*{name} with omega^2 = {m * w**2}/{m} = {w**2}.",
        f"{hence(rng)} omega = sqrt({w**2}) = {w} rad/s.",
    ]
    return Problem(question, steps, f"omega = {w} rad/s")


@kind("Theoretical-Mechanics", "small-oscillations")
def small_oscillations(rng):
    x = symbols("x")
    c, n = whole(rng, 1, 4), whole(rng, 1, 4)
    w = Integer(rng.choice([w for w in range(1, 7) if 6 * c * n % w**2 == 0]))
    stiffness = 6 * c * n
    mass = stiffness / w**2
    potential = c * x**3 - 3 * c * n**2 * x
    slope, curvature = diff(potential, x), diff(potential, x, 2)
    question = one_of(
        rng,
        f"A mass of {mass} kg moves in V(x) = {show(potential)}. Find omega of small oscillations about the minimum.",
        (
            f"Find the angular frequency of small oscillations of {mass} kg in the potential V = "
            f"{show(potential)}, x > 0."
        ),
        (
            f"The potential energy is V = {show(potential)} and the mass {mass} kg. "
            "How fast are small oscillations (x > 0)?"
        ),
        f"Expand V = {show(potential)} about its stable equilibrium and find omega for a mass of {mass} kg.",
    )
    steps = [
        f"Equilibrium requires V' = {show(slope)} = 0, so x^2 = {3 * c * n**2}/{3 * c} = {n**2}.",
        f"The curvature is V'' = {show(curvature)}, which is positive at x = {n}.",
        f"There the stiffness is V'' = {6 * c}*{n} = {stiffness} N/m.",
        one_of(rng, "For small oscillations", "To second order in the displacement") + ", omega = sqrt(V''/m).",
        f"{hence(rng)} omega = sqrt({stiffness}/{mass}) = sqrt({w**2}) = {w} rad/s.",
    ]
    return Problem(question, steps, f"omega = {w} rad/s")


@kind("Theoretical-Mechanics", "poisson-bracket")
def poisson_bracket(rng):
    q, p = symbols("q p")
    a, b = whole(rng, 1, 9), whole(rng, 1, 9)
    f = a * rng.choice([q, q**2, q * p, p**2])
    g = b * rng.choice([p, p**2, q * p, q**2])
    parts = diff(f, q), diff(g, p), diff(f, p), diff(g, q)
    first, second = expand(parts[0] * parts[1]), expand(parts[2] * parts[3])
    bracket = expand(first - second)
    question = one_of(
        rng,
        f"Compute the Poisson bracket {{f, g}} of f = {show(f)} and g = {show(g)}.",
        f"Find {{f, g}} for f = {show(f)} and g = {show(g)} in the canonical variables q, p.",
        f"Let f = {show(f)} and g = {show(g)}. What is their Poisson bracket?",
        f"On phase space (q, p), evaluate {{f, g}} where f = {show(f)} and g = {show(g)}.",
    )
    steps = [
        one_of(rng, "By definition", "The bracket is") + " {f, g} = (df/dq)*(dg/dp) - (df/dp)*(dg/dq).",
        f"For f: df/dq = {show(parts[0])} and df/dp = {show(parts[2])}.",
        f"For g: dg/dq = {show(parts[3])} and dg/dp = {show(parts[1])}.",
        f"The products are {show(first)} and {show(second)}.",
        f"{hence(rng)} {{f, g}} = {show(bracket)}.",
    ]
    return Problem(question, steps, f"{{f, g}} = {show(bracket)}")


@kind("Theoretical-Mechanics", "cyclic-coordinate")
def cyclic_coordinate(rng):
    k, r, w = whole(rng, 2, 3), whole(rng, 1, 3), whole(rng, 1, 6)
    far, fast = r * k, w * k**2
    body = rng.choice(["bead", "planet", "puck", "particle", "mass", "satellite"])
    question = one_of(
        rng,
        f"A {body} in a central potential has phi' = {w} rad/s at r = {far} m. Find phi' at r = {r} m.",
        (
            "L = (m/2)*(r'^2 + r^2*phi'^2) - V(r). "
            f"At r = {far} m a {body} has phi' = {w} rad/s. Find phi' at r = {r} m."
        ),
        f"Use the cyclic angle of a {body} in V(r) to find phi' at r = {r} m if phi' = {w} rad/s at r = {far} m.",
        (
            f"The radius of a {body} in a central field shrinks from {far} m to {r} m. "
            f"It had phi' = {w} rad/s. Find the new phi'."
        ),
    )
    steps = [
        one_of(rng, "The angle phi is cyclic", "The Lagrangian does not contain phi")
        + ", so dL/dphi' = m*r^2*phi' is conserved.",
        f"At the start, r^2*phi' = {far}^2*{w} = {far**2}*{w} = {far**2 * w} m^2/s.",
        f"At the end, r^2 = {r}^2 = {r**2} m^2.",
        f"{hence(rng)} phi' = {far**2 * w}/{r**2} = {fast} rad/s.",
    ]
    return Problem(question, steps, f"phi' = {fast} rad/s")


@kind("Theoretical-Mechanics", "legendre-transform")
def legendre_transform(rng):
    name = rng.choice(["x", "q", "s", "y"])
    q, v, p = symbols(f"{name} v p")
    a, c = whole(rng, 1, 6), whole(rng, 1, 9)
    potential = c * q ** rng.choice([1, 2, 3, 4])
    momentum = diff(a * v**2, v)
    velocity = p / (2 * a)
    kinetic = expand(p * velocity - a * velocity**2)
    question = one_of(
        rng,
        f"Find the Hamiltonian that belongs to L = {show(a * v**2)} - {show(potential)}, where v = {name}'.",
        f"Perform the Legendre transform of L = {show(a * v**2)} - {show(potential)} with v = {name}'.",
        (
            f"A system has L = {show(a * v**2)} - {show(potential)} and v = {name}'. "
            f"Derive H as a function of {name} and p."
        ),
        f"Pass from the Lagrangian L = {show(a * v**2)} - {show(potential)} (v = {name}') to the Hamiltonian.",
    )
    steps = [
        f"The momentum is p = dL/dv = {show(momentum)}, so v = {show(velocity)}.",
        one_of(rng, "By definition", "The Legendre transform is") + " H = p*v - L.",
        f"Here p*v = {show(p * velocity)} and {show(a * v**2)} = {show(a * velocity**2)}.",
        f"{hence(rng)} H = {show(kinetic)} + {show(potential)}.",
    ]
    return Problem(question, steps, f"H = {show(kinetic)} + {show(potential)}")
