"""Problem kinds of Electromagnetism: circuits, forces on charges, induction and capacitors."""

from sympy import Integer

from discnb.data.kinds.base import Problem, half, hence, kind, one_of, substituting, whole

PARALLEL_PAIRS = [
    (2, 2),
    (3, 6),
    (4, 4),
    (4, 12),
    (5, 20),
    (6, 6),
    (6, 12),
    (6, 30),
    (8, 8),
    (10, 10),
    (12, 12),
]  # ohm


@kind("Electromagnetism", "ohm-power")
def ohm_power(rng):
    r, i = whole(rng, 2, 12), whole(rng, 2, 6)
    u, power = r * i, r * i * i
    load = rng.choice(["heater", "lamp", "motor winding", "kettle", "resistor", "toaster"])
    question = one_of(
        rng,
        f"A {load} of {r} ohm is connected to {u} V. What power does it draw?",
        f"Find the power taken by a {load} with resistance {r} ohm at a voltage of {u} V.",
        f"A battery of {u} V feeds a {load} of {r} ohm. How much power is dissipated?",
        f"The voltage across a {load} is {u} V and its resistance {r} ohm. Find the electric power.",
    )
    steps = [
        one_of(rng, "By Ohm's law the current is", "Ohm's law gives the current") + " I = U/R.",
        f"{substituting(rng)}, I = {u}/{r} = {i} A.",
        "The power is P = U*I.",
        f"{hence(rng)} P = {u}*{i} = {power} W.",
        f"Check: I^2*R = {i}^2*{r} = {i**2}*{r} = {power} W.",
    ]
    return Problem(question, steps, f"P = {power} W")


@kind("Electromagnetism", "series-parallel")
def series_parallel(rng):
    r2, r3 = (Integer(r) for r in rng.choice(PARALLEL_PAIRS))
    r1, i = whole(rng, 1, 9), whole(rng, 1, 6)
    pair = r2 * r3 / (r2 + r3)
    total = r1 + pair
    u = total * i
    question = one_of(
        rng,
        f"A {r1} ohm resistor is in series with {r2} ohm and {r3} ohm in parallel. What current flows at {u} V?",
        f"A source of {u} V feeds {r1} ohm in series with the parallel pair {r2} ohm and {r3} ohm. Find its current.",
        f"Find the current from {u} V through R1 = {r1} ohm followed by R2 = {r2} ohm and R3 = {r3} ohm in parallel.",
        (
            f"R2 = {r2} ohm and R3 = {r3} ohm are parallel, R1 = {r1} ohm is in series with them. "
            f"The source has {u} V. Find I."
        ),
    )
    steps = [
        one_of(rng, "The parallel pair acts as", "The pair can be replaced by") + " R = R2*R3/(R2 + R3).",
        f"{substituting(rng)}, R = {r2}*{r3}/({r2} + {r3}) = {r2 * r3}/{r2 + r3} = {pair} ohm.",
        f"In series, R1 + R = {r1} + {pair} = {total} ohm.",
        f"{hence(rng)}, by Ohm's law, I = {u}/{total} = {i} A.",
    ]
    return Problem(question, steps, f"I = {i} A")


@kind("Electromagnetism", "capacitor-energy")
def capacitor_energy(rng):
    c, u = whole(rng, 2, 12, 2), whole(rng, 2, 12)
    energy = half(c) * u**2
    plates = rng.choice(["flash unit", "filter", "radio", "pacemaker", "sensor", "timer"])
    question = one_of(
        rng,
        f"A {plates} holds a capacitor of {c} uF charged to {u} V. How much energy does it store?",
        f"Find the energy in a {c} uF capacitor of a {plates} at {u} V.",
        f"The {c} uF capacitor of a {plates} is charged to {u} V. Find the stored energy.",
        f"What energy is released when a {plates} discharges its {c} uF capacitor from {u} V?",
    )
    steps = [
        one_of(rng, "Charging to the voltage U takes the work", "A charged capacitor stores") + " E = (C/2)*U^2.",
        f"Half the capacitance is {c}/2 = {half(c)} uF.",
        f"The square of the voltage is U^2 = {u}^2 = {u**2} V^2.",
        f"{hence(rng)} E = {half(c)}*{u**2} = {energy} uJ.",
    ]
    return Problem(question, steps, f"E = {energy} uJ")


@kind("Electromagnetism", "lorentz-force")
def lorentz_force(rng):
    q, v, b = whole(rng, 2, 9), whole(rng, 10, 90, 10), whole(rng, 2, 5)
    charge = rng.choice(["droplet", "dust grain", "small sphere", "bead", "metal flake", "pellet"])
    qv = q * v
    question = one_of(
        rng,
        f"A {charge} with charge {q} uC moves at {v} m/s across a magnetic field of {b} T. Find the force on it.",
        f"Find the magnetic force on a {charge} of {q} uC with {v} m/s at a right angle to a field of {b} T.",
        f"A {charge} carries {q} uC and crosses a {b} T field at {v} m/s, perpendicular to it. What force acts?",
        f"How large is the Lorentz force on a {charge} ({q} uC, {v} m/s) perpendicular to B = {b} T?",
    )
    steps = [
        one_of(rng, "For a velocity perpendicular to the field", "At a right angle") + ", F = q*v*B.",
        f"First, q*v = {q}*{v} = {qv} uC*m/s.",
        f"Multiplying by the field, F = {qv}*{b} = {qv * b} uN.",
        one_of(
            rng,
            "The force is perpendicular to v and B and does no work.",
            "It bends the path but leaves the speed unchanged.",
        ),
    ]
    return Problem(question, steps, f"F = {qv * b} uN")


@kind("Electromagnetism", "induction")
def induction(rng):
    turns, rate, t = whole(rng, 10, 90, 10), whole(rng, 2, 9), whole(rng, 2, 9)
    change, emf = rate * t, turns * rate
    coil = rng.choice(["coil", "search coil", "solenoid", "winding", "pickup coil"])
    question = one_of(
        rng,
        f"The flux through each of the {turns} turns of a {coil} grows by {change} mWb in {t} s. Find the emf.",
        f"A {coil} has {turns} turns. In {t} s the flux in each changes by {change} mWb. What emf is induced?",
        f"Find the emf induced in a {coil} of {turns} turns when its flux rises steadily by {change} mWb in {t} s.",
        f"How large is the voltage across a {coil} with {turns} turns whose flux drops by {change} mWb in {t} s?",
    )
    steps = [
        one_of(rng, "By Faraday's law", "Faraday's law of induction says") + " |U| = N*dPhi/dt.",
        f"The flux changes at the rate dPhi/dt = {change}/{t} = {rate} mWb/s, and 1 Wb/s is 1 V.",
        f"{hence(rng)} |U| = {turns}*{rate} = {emf} mV.",
        one_of(
            rng,
            "By Lenz's rule its current opposes the change.",
            "Its direction opposes the change of flux (Lenz).",
        ),
    ]
    return Problem(question, steps, f"|U| = {emf} mV")


@kind("Electromagnetism", "coulomb-force")
def coulomb_force(rng):
    r = whole(rng, 1, 3)
    q1, q2 = whole(rng, 2, 9), whole(rng, 1, 9)
    if r == 2:
        q1 = 4 * whole(rng, 1, 3)
    product = q1 * q2
    force = 9 * product / r**2
    body = rng.choice(["sphere", "ball", "bead", "pellet"])
    question = one_of(
        rng,
        (
            f"Two {body}s carry {q1} uC and {q2} uC. They are {r} m apart. "
            "Find the force between them, k = 9*10^9 N*m^2/C^2."
        ),
        f"Find the repulsion of a {body} with {q1} uC and one with {q2} uC at {r} m. Use k = 9*10^9 N*m^2/C^2.",
        f"How strongly do charges of {q1} uC and {q2} uC on two {body}s repel at {r} m (k = 9*10^9 N*m^2/C^2)?",
        f"A {body} of {q1} uC hangs {r} m from a {body} of {q2} uC. With k = 9*10^9 N*m^2/C^2, find the force.",
    )
    steps = [
        one_of(rng, "By Coulomb's law", "Coulomb's law says") + " F = k*q1*q2/r^2.",
        "With charges in uC this is F = 9*q1*q2/r^2 in mN.",
        f"The product is q1*q2 = {q1}*{q2} = {product} and r^2 = {r}^2 = {r**2} m^2.",
        f"{hence(rng)} F = 9*{product}/{r**2} = {9 * product}/{r**2} = {force} mN.",
    ]
    return Problem(question, steps, f"F = {force} mN")


@kind("Electromagnetism", "plate-field")
def plate_field(rng):
    d, field, q = whole(rng, 2, 9), whole(rng, 2, 12), whole(rng, 2, 9)
    u = field * d
    body = rng.choice(["paint drop", "dust grain", "pollen grain", "mist drop", "smoke particle"])
    question = one_of(
        rng,
        f"Plates {d} mm apart are at {u} V. What force acts on a {body} with charge {q} nC between them?",
        f"A {body} of charge {q} nC floats between plates with {u} V and a gap of {d} mm. Find the electric force.",
        f"Find the force on a {body} ({q} nC) in a plate capacitor with U = {u} V and d = {d} mm.",
        f"A capacitor has {u} V across a gap of {d} mm. A {body} in it carries {q} nC. Which force does it feel?",
    )
    steps = [
        one_of(rng, "The field between the plates is uniform", "Between wide plates the field is uniform")
        + ": E = U/d.",
        f"{substituting(rng)}, E = {u}/{d} = {field} V/mm, and 1 V/mm is 1000 V/m.",
        "The force is F = q*E, and nC times V/mm gives uN.",
        f"{hence(rng)} F = {q}*{field} = {q * field} uN.",
    ]
    return Problem(question, steps, f"F = {q * field} uN")


@kind("Electromagnetism", "rc-time-constant")
def rc_time_constant(rng):
    r, c, n = whole(rng, 2, 6), whole(rng, 2, 5), whole(rng, 1, 3)
    tau, t = r * c, r * c * n
    device = rng.choice(["timer", "camera flash", "filter", "beeper", "dimmer"])
    question = one_of(
        rng,
        (
            f"In a {device} a {c} uF capacitor discharges through {r} kohm. "
            f"What fraction of its voltage is left after {t} ms?"
        ),
        f"A {device} has R = {r} kohm and C = {c} uF. Find U/U0 after {t} ms of discharge.",
        f"The capacitor ({c} uF) of a {device} empties through {r} kohm. Find the ratio U/U0 at t = {t} ms.",
        (
            f"What part of the voltage of a {c} uF capacitor in a {device} remains {t} ms after {r} kohm is "
            "connected to it?"
        ),
    )
    ratio = f"exp(-{n})"
    steps = [
        one_of(rng, "Kirchhoff's loop rule", "The loop equation")
        + " R*dQ/dt + Q/C = 0 gives U = U0*exp(-t/tau), tau = R*C.",
        f"The time constant is tau = {r}*{c} = {tau} ms.",
        f"In units of tau, t/tau = {t}/{tau} = {n}, for {n}*{tau} = {t}.",
        f"{hence(rng)} U/U0 = {ratio}.",
    ]
    return Problem(question, steps, f"U/U0 = {ratio}")
