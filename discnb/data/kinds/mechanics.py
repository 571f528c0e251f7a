"""Problem kinds of Classical-Mechanics and Theoretical-Mechanics."""

from sympy import Integer, Rational, diff, divisors, expand, sqrt, symbols

from discnb.data.kinds.base import Problem, half, hence, insert, kind, paren, show, whole

OBJECTS = ["crate", "box", "stone", "block", "barrel", "trunk", "parcel", "case"]


@kind("Classical-Mechanics", "inelastic-collision")
def inelastic_collision(rng):
    m1, m2, j = whole(rng, 2, 6), whole(rng, 1, 6), whole(rng, 1, 3)
    v1, v = (m1 + m2) * j, m1 * j
    body = rng.choice(["cart", "wagon", "truck", "puck", "glider", "trolley"])
    question = rng.choice(
        [
            f"A {m1} kg {body} at {v1} m/s hits a {m2} kg {body} at rest and sticks to it. Find the common velocity.",
            f"A {body} of mass {m1} kg and speed {v1} m/s couples to a resting one of {m2} kg. How fast do they move on?",
            f"Two {body}s of {m1} kg and {m2} kg join in a collision. The first had {v1} m/s, the second none. Find their speed.",
            f"After a {m1} kg {body} with {v1} m/s has locked onto a still {m2} kg {body}, what is their velocity?",
        ]
    )
    steps = [
        rng.choice(["No external force acts, so momentum is conserved", "Momentum is conserved in the collision"])
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
    question = rng.choice(
        [
            f"A {pull} N force pulls a {m} kg {body} over a floor with mu = {show(mu)}. Find its acceleration (g = 10 m/s^2).",
            f"A {body} of mass {m} kg is pushed with {pull} N. The friction coefficient is {show(mu)}. Find a, with g = 10 m/s^2.",
            f"Find the acceleration of a {m} kg {body} dragged by {pull} N on level ground, mu = {show(mu)}, g = 10 m/s^2.",
            f"On a level floor (mu = {show(mu)}) a {m} kg {body} is pulled by {pull} N. How does it accelerate? Use g = 10 m/s^2.",
        ]
    )
    steps = [
        rng.choice(["By Newton's second law", "Along the floor"]) + ", F - mu*N = m*a.",
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
    question = rng.choice(
        [
            f"A {body} of mass {m} kg moves at {v} m/s on a circle of radius {r} m. Find the centripetal force.",
            f"What force keeps a {m} kg {body} on a circle of radius {r} m at {v} m/s?",
            f"A {m} kg {body} circles at {v} m/s. The radius is {r} m. How large is the force towards the centre?",
            f"Find the force towards the centre on a {body} ({m} kg) that goes round at {v} m/s with radius {r} m.",
        ]
    )
    steps = [
        rng.choice(["Uniform circular motion needs", "A body on a circle has"])
        + " the acceleration a = v^2/r towards the centre.",
        f"{insert(rng)}, a = {v}^2/{r} = {v**2}/{r} = {acceleration} m/s^2.",
        "By Newton's second law, F = m*a.",
        f"{hence(rng)} F = {m}*{acceleration} = {force} N.",
    ]
    return Problem(question, steps, f"F = {force} N")


@kind("Classical-Mechanics", "fall-from-height")
def fall_from_height(rng):
    v, m = whole(rng, 2, 20, 2), whole(rng, 1, 9)
    h = v**2 / Integer(20)
    body = rng.choice(OBJECTS)
    question = rng.choice(
        [
            f"A {m} kg {body} falls from rest through {show(h)} m. How fast is it then? Take g = 10 m/s^2, no air drag.",
            f"A {body} ({m} kg) slides without friction down a slope {show(h)} m high. Find its final speed, g = 10 m/s^2.",
            f"Find the speed of a {m} kg {body} dropped from a height of {show(h)} m. Use g = 10 m/s^2 and neglect drag.",
            f"A {body} of mass {m} kg is released {show(h)} m above the ground. With g = 10 m/s^2, find its speed at impact.",
        ]
    )
    steps = [
        rng.choice(["Energy is conserved", "The potential energy becomes kinetic energy"]) + ": m*g*h = (m/2)*v^2.",
        rng.choice(["The mass cancels", "Dividing by the mass"]) + ", so v^2 = 2*g*h.",
        f"{insert(rng)}, v^2 = 2*10*{show(h)} = {v**2} m^2/s^2.",
        f"{hence(rng)} v = sqrt({v**2}) = {v} m/s.",
    ]
    return Problem(question, steps, f"v = {v} m/s")


@kind("Classical-Mechanics", "torque")
def torque(rng):
    r, alpha, inertia = whole(rng, 1, 6), whole(rng, 2, 9), whole(rng, 2, 12)
    force = inertia * alpha / r
    moment = inertia * alpha
    if not force.is_integer:
        return torque(rng)
    body = rng.choice(["wheel", "drum", "pulley", "disc", "rotor", "gate"])
    question = rng.choice(
        [
            f"A force of {force} N acts at {r} m from the axis of a {body} with I = {inertia} kg*m^2. Find alpha.",
            f"A {body} of moment of inertia {inertia} kg*m^2 is turned by {force} N on an arm of {r} m. Find its angular acceleration.",
            f"What angular acceleration does {force} N at a radius of {r} m give a {body} with I = {inertia} kg*m^2?",
            f"A rope pulls with {force} N on a {body} at {r} m from its axle. I = {inertia} kg*m^2. How does it spin up?",
        ]
    )
    steps = [
        rng.choice(["For rotation about a fixed axis", "The rotational form of Newton's law says"]) + " M = I*alpha.",
        f"The torque is M = F*r = {force}*{r} = {moment} N*m.",
        "Solving for the angular acceleration, alpha = M/I.",
        f"{hence(rng)} alpha = {moment}/{inertia} = {alpha} rad/s^2.",
    ]
    return Problem(question, steps, f"alpha = {alpha} rad/s^2")


@kind("Theoretical-Mechanics", "lagrangian-oscillator")
def lagrangian_oscillator(rng):
    a, w = whole(rng, 1, 6), whole(rng, 2, 6)
    b = a * w**2
    name = rng.choice(["x", "q", "s", "y", "z", "u"])
    x, v = symbols(f"{name} v")
    lagrangian = a * v**2 - b * x**2
    momentum, force = diff(lagrangian, v), diff(lagrangian, x)
    text = f"{show(a * v**2)} - {show(b * x**2)}"
    question = rng.choice(
        [
            f"A system has the Lagrangian L = {text} with v = {name}'. Find its angular frequency.",
            f"Given L = {text}, where v = {name}', derive the equation of motion and its angular frequency.",
            f"Use the Euler-Lagrange equation for L = {text} (v = {name}') to find the frequency omega.",
            f"For L = {text} with v = {name}', show that {name} oscillates and find omega.",
        ]
    )
    steps = [
        rng.choice(["The Euler-Lagrange equation is", "The motion obeys"]) + f" d/dt(dL/dv) = dL/d{name}.",
        f"The derivatives are dL/dv = {show(momentum)} and dL/d{name} = {show(force)}.",
        f"The equation of motion is {2 * a}*{name}'' = {show(force)}, that is {name}'' = -{w**2}*{name}.",
        f"{hence(rng)} omega = sqrt({2 * b}/{2 * a}) = sqrt({w**2}) = {w} rad/s.",
    ]
    return Problem(question, steps, f"omega = {w} rad/s")


@kind("Theoretical-Mechanics", "hamilton-equations")
def hamilton_equations(rng):
    w, m = whole(rng, 2, 6), whole(rng, 1, 5)
    c = 2 * m * w**2
    name = rng.choice(["x", "q", "s", "y", "z", "u"])
    q, p = symbols(f"{name} p")
    hamiltonian = p**2 / (4 * m) + half(c) / 2 * q**2
    if not (half(c) / 2).is_integer:
        return hamilton_equations(rng)
    velocity, force = diff(hamiltonian, p), -diff(hamiltonian, q)
    text = f"{show(p**2 / (4 * m))} + {show(half(c) / 2 * q**2)}"
    question = rng.choice(
        [
            f"A particle has H = {text}. Use Hamilton's equations to find its angular frequency.",
            f"For the Hamiltonian H = {text}, derive {name}'' and the angular frequency.",
            f"Find omega of the motion of {name} generated by H = {text}.",
            f"Show from the canonical equations that H = {text} describes an oscillator, and find omega.",
        ]
    )
    steps = [
        rng.choice(["Hamilton's equations are", "The canonical equations read"])
        + f" {name}' = dH/dp and p' = -dH/d{name}.",
        f"They give {name}' = {show(velocity)} and p' = {show(force)}.",
        f"Differentiating, {name}'' = p'/{2 * m} = -{c // 2}*{name}/{2 * m} = -{w**2 // 2 if False else c // (4 * m)}*{name}.",
        f"{hence(rng)} omega = sqrt({c // (4 * m)}) rad/s.",
    ]
    return Problem(question, steps, f"omega = {w} rad/s")
