"""Problem kinds of Physics: motion, heat, gases, waves, optics, atoms and relativity."""

from sympy import Rational, sqrt

from discnb.data.kinds.base import Problem, half, hence, kind, one_of, show, substituting, whole

VEHICLES = ["car", "train", "tram", "cyclist", "boat", "lorry", "sledge", "runner", "motorbike", "trolley"]
SPECIFIC_HEATS = {  # kJ/(kg*K)
    "water": Rational(42, 10),
    "wet soil": Rational(15, 10),
    "olive oil": Rational(2),
    "aluminium": Rational(9, 10),
    "glass": Rational(8, 10),
    "iron": Rational(45, 100),
    "copper": Rational(4, 10),
}
DENSITIES = {"water": 1000, "oil": 900, "alcohol": 800, "petrol": 700, "syrup": 1300, "brine": 1200}  # kg/m^3
WORK_FUNCTIONS = {  # eV
    "caesium": Rational(21, 10),
    "sodium": Rational(23, 10),
    "lithium": Rational(29, 10),
    "calcium": Rational(29, 10),
    "aluminium": Rational(42, 10),
    "zinc": Rational(43, 10),
    "copper": Rational(47, 10),
}


@kind("Physics", "uniform-acceleration")
def uniform_acceleration(rng):
    u, a, t = whole(rng, 1, 12), whole(rng, 2, 9), whole(rng, 2, 9)
    body = rng.choice(VEHICLES)
    gain = a * t
    v = u + gain
    question = one_of(
        rng,
        f"A {body} moves at {u} m/s and speeds up at {a} m/s^2 for {t} s. What is its final velocity?",
        f"Find the velocity of a {body} after {t} s if it starts at {u} m/s and its acceleration is {a} m/s^2.",
        f"A {body} with initial velocity {u} m/s accelerates at {a} m/s^2. How fast is it after {t} s?",
        f"The speed of a {body} is {u} m/s. It then gains {a} m/s in every second. Find its speed after {t} s.",
    )
    steps = [
        one_of(rng, "For constant acceleration, v = u + a*t.", "The acceleration is constant, so v = u + a*t."),
        one_of(rng, "The velocity gained is", "The change in velocity is") + f" a*t = {a}*{t} = {gain} m/s.",
        f"{hence(rng)} v = {u} + {gain} = {v} m/s.",
        f"Check: (v - u)/t = ({v} - {u})/{t} = {gain}/{t} = {a} m/s^2.",
    ]
    return Problem(question, steps, f"v = {v} m/s")


@kind("Physics", "displacement")
def displacement(rng):
    u, a, t = whole(rng, 1, 9), whole(rng, 2, 8, 2), whole(rng, 2, 6)
    body = rng.choice(VEHICLES)
    first, second = u * t, half(a) * t**2
    s = first + second
    question = one_of(
        rng,
        f"A {body} passes a sign at {u} m/s and accelerates at {a} m/s^2. How far does it go in {t} s?",
        f"Find the distance covered in {t} s by a {body} that starts at {u} m/s and accelerates at {a} m/s^2.",
        f"A {body} has velocity {u} m/s and constant acceleration {a} m/s^2. Find its displacement after {t} s.",
        f"How far does a {body} travel in {t} s if it begins at {u} m/s and gains {a} m/s every second?",
    )
    steps = [
        one_of(rng, "The displacement is", "For constant acceleration,") + " s = u*t + (a/2)*t^2.",
        f"The first term is u*t = {u}*{t} = {first} m.",
        f"The second term is (a/2)*t^2 = {half(a)}*{t}^2 = {half(a)}*{t**2} = {second} m.",
        f"{hence(rng)} s = {first} + {second} = {s} m.",
    ]
    return Problem(question, steps, f"s = {s} m")


@kind("Physics", "kinetic-energy")
def kinetic_energy(rng):
    m, v = whole(rng, 2, 12, 2), whole(rng, 2, 9)
    body = rng.choice(["ball", "stone", "cart", "dog", "sledge", "parcel", "drone", "shell"])
    energy = half(m) * v**2
    question = one_of(
        rng,
        f"A {body} of mass {m} kg moves at {v} m/s. What is its kinetic energy?",
        f"Find the kinetic energy of a {m} kg {body} that travels at {v} m/s.",
        f"How much work brings a {body} of mass {m} kg from rest to a speed of {v} m/s?",
        f"A {m} kg {body} is accelerated from rest to {v} m/s. Find the work done on it.",
    )
    steps = [
        one_of(
            rng,
            "The work done on a body from rest equals its kinetic energy, E = (m/2)*v^2.",
            "A body of mass m and speed v has the kinetic energy E = (m/2)*v^2.",
        ),
        f"Half the mass is m/2 = {m}/2 = {half(m)} kg.",
        f"The square of the speed is v^2 = {v}^2 = {v**2} m^2/s^2.",
        f"{hence(rng)} E = {half(m)}*{v**2} = {energy} J.",
    ]
    return Problem(question, steps, f"E = {energy} J")


@kind("Physics", "heating")
def heating(rng):
    material = rng.choice(list(SPECIFIC_HEATS))
    c, m, rise = SPECIFIC_HEATS[material], whole(rng, 2, 5), whole(rng, 10, 50, 10)
    start = whole(rng, 5, 20, 5)
    per_kelvin = m * c
    heat = per_kelvin * rise
    question = one_of(
        rng,
        f"How much heat warms {m} kg of {material} (c = {show(c)} kJ/(kg*K)) from {start} C to {start + rise} C?",
        (
            f"Find the heat that brings {m} kg of {material} from {start} C to {start + rise} C, "
            f"c = {show(c)} kJ/(kg*K)."
        ),
        (
            f"A sample of {m} kg of {material} goes from {start} C to {start + rise} C; "
            f"c = {show(c)} kJ/(kg*K). Find the heat."
        ),
        (
            f"With c = {show(c)} kJ/(kg*K), "
            f"what heat do {m} kg of {material} take up from {start} C to {start + rise} C?"
        ),
    )
    steps = [
        one_of(rng, "Without a change of phase", "As the phase does not change") + ", Q = m*c*dT.",
        f"The temperature rise is dT = {start + rise} - {start} = {rise} K.",
        f"The heat capacity is m*c = {m}*{show(c)} = {show(per_kelvin)} kJ/K.",
        f"{hence(rng)} Q = {show(per_kelvin)}*{rise} = {show(heat)} kJ.",
    ]
    return Problem(question, steps, f"Q = {show(heat)} kJ")


@kind("Physics", "isothermal-gas")
def isothermal_gas(rng):
    p1, v2, k = whole(rng, 1, 6), whole(rng, 2, 6), whole(rng, 2, 4)
    v1, p2 = v2 * k, p1 * k
    gas = rng.choice(["air", "helium", "nitrogen", "argon", "oxygen", "neon"])
    question = one_of(
        rng,
        (
            f"A cylinder holds {v1} L of {gas} at {p1} bar. "
            f"It is squeezed to {v2} L at constant temperature. Find the pressure."
        ),
        f"At constant temperature {v1} L of {gas} at {p1} bar is compressed to {v2} L. What is the new pressure?",
        f"A sample of {gas} fills {v1} L at {p1} bar. What pressure holds it in {v2} L at the same temperature?",
        (
            f"A piston slowly reduces the volume of {gas} from {v1} L to {v2} L. "
            f"The first pressure was {p1} bar. Find the last."
        ),
    )
    steps = [
        one_of(rng, "By Boyle's law", "For an ideal gas at fixed temperature") + ", p1*V1 = p2*V2.",
        f"{hence(rng)} p2 = p1*V1/V2.",
        f"The product is p1*V1 = {p1}*{v1} = {p1 * v1} bar*L.",
        f"Dividing by V2, p2 = {p1 * v1}/{v2} = {p2} bar.",
        f"Check: p2*V2 = {p2}*{v2} = {p1 * v1} bar*L, as before.",
    ]
    return Problem(question, steps, f"p2 = {p2} bar")


@kind("Physics", "wave-travel")
def wave_travel(rng):
    f, length, t = whole(rng, 2, 6), whole(rng, 2, 5), whole(rng, 2, 6)
    v = f * length
    d = v * t
    place = rng.choice(["long rope", "water channel", "steel cable", "taut string", "shallow tank", "slack wire"])
    question = one_of(
        rng,
        (
            f"A wave of frequency {f} Hz and wavelength {length} m runs along a {place}. "
            f"How long does it take for {d} m?"
        ),
        (
            f"In a {place} a wave has wavelength {length} m and frequency {f} Hz. "
            f"Find the time it needs to travel {d} m."
        ),
        (
            f"A source shakes a {place} at {f} Hz and makes waves {length} m long. "
            f"When does the wave reach a point {d} m away?"
        ),
        f"Waves with f = {f} Hz and a wavelength of {length} m cross a {place} over {d} m. Find the travel time.",
    )
    steps = [
        one_of(rng, "A wave moves one wavelength in each period", "The wave speed follows from one period")
        + ", so v = f*lambda.",
        f"{substituting(rng)}, v = {f}*{length} = {v} m/s.",
        "The travel time is t = d/v.",
        f"{hence(rng)} t = {d}/{v} = {t} s.",
        f"Check: in {t} s the wave covers {v}*{t} = {d} m.",
    ]
    return Problem(question, steps, f"t = {t} s")


@kind("Physics", "thin-lens")
def thin_lens(rng):
    d, n = whole(rng, 2, 9), whole(rng, 1, 5)
    f, u = d * n, d * (n + 1)
    v = n * u
    thing = rng.choice(["candle", "lamp", "pencil", "slide", "stamp", "flower"])
    question = one_of(
        rng,
        f"A {thing} stands {u} cm before a converging lens of focal length {f} cm. Where is the image?",
        f"A thin lens has focal length {f} cm. Find the image distance of a {thing} {u} cm away from it.",
        f"How far behind a lens with f = {f} cm is the image of a {thing} at a distance of {u} cm?",
        f"A {thing} is placed {u} cm from a thin convex lens (f = {f} cm). Find the distance of its image.",
    )
    steps = [
        one_of(rng, "The thin lens equation is", "For a thin lens,") + " 1/f = 1/u + 1/v.",
        "It gives v = m*u with the magnification m = f/(u - f).",
        f"Here u - f = {u} - {f} = {d} cm, so m = {f}/{d} = {n}.",
        f"{hence(rng)} v = {n}*{u} = {v} cm, a real image.",
        f"Check: 1/u + 1/v = 1/{u} + 1/{v} = 1/{f}.",
    ]
    return Problem(question, steps, f"v = {v} cm")


@kind("Physics", "half-life")
def half_life(rng):
    n, rest, period = whole(rng, 2, 4), whole(rng, 2, 12), whole(rng, 2, 12)
    start, t = rest * 2**n, n * period
    unit = rng.choice(["days", "hours", "years", "minutes"])
    sample = rng.choice(["tracer", "radioactive salt", "radioisotope", "medical source"])
    question = one_of(
        rng,
        f"A {sample} has a half-life of {period} {unit}. How much of {start} mg is left after {t} {unit}?",
        f"Of a {sample} there are {start} mg. Its half-life is {period} {unit}. Find the mass after {t} {unit}.",
        f"What remains of {start} mg of a {sample} after {t} {unit} if half of it decays every {period} {unit}?",
        (
            f"The half-life of a {sample} is {period} {unit}. "
            f"Starting from {start} mg, find what remains after {t} {unit}."
        ),
    )
    steps = [
        one_of(rng, "After n half-lives", "When n half-lives have passed,") + " the mass is N = N0/2^n.",
        f"The number of half-lives is n = {t}/{period} = {n}.",
        f"The mass has been halved {n} times: 2^{n} = {2**n}.",
        f"{hence(rng)} N = {start}/{2**n} = {rest} mg.",
        f"Check: N*2^n = {rest}*{2**n} = {start} mg.",
    ]
    return Problem(question, steps, f"N = {rest} mg")


@kind("Physics", "hydrostatic-pressure")
def hydrostatic_pressure(rng):
    liquid = rng.choice(list(DENSITIES))
    rho, h = DENSITIES[liquid], whole(rng, 2, 12)
    column = rho * h
    pressure = column * 10
    vessel = rng.choice(["tank", "well", "basin", "tower", "shaft"])
    question = one_of(
        rng,
        f"Find the pressure of {h} m of {liquid} ({rho} kg/m^3) on the floor of a {vessel}. Take g = 10 m/s^2.",
        (
            f"A {vessel} holds {h} m of {liquid} with rho = {rho} kg/m^3. "
            "What is the gauge pressure at its bottom (g = 10 m/s^2)?"
        ),
        f"How large is the gauge pressure {h} m deep in a {vessel} of {liquid} ({rho} kg/m^3)? Use g = 10 m/s^2.",
        (
            f"In a {vessel} {liquid} of {rho} kg/m^3 stands {h} m high. "
            "With g = 10 m/s^2, find the pressure it adds below."
        ),
    )
    steps = [
        one_of(
            rng,
            "The liquid above carries its weight over the area",
            "The weight of the column acts on its base",
        )
        + ", so p = rho*g*h.",
        f"{substituting(rng)}, rho*h = {rho}*{h} = {column} kg/m^2.",
        f"{hence(rng)} p = {column}*10 = {pressure} Pa.",
        f"In kPa this is {pressure}/1000 = {pressure // 1000} kPa.",
    ]
    return Problem(question, steps, f"p = {pressure // 1000} kPa")


@kind("Physics", "length-contraction")
def length_contraction(rng):
    beta = rng.choice([Rational(6, 10), Rational(8, 10)])
    rest = whole(rng, 10, 95, 5)
    factor = sqrt(1 - beta**2)
    seen = rest * factor
    body = rng.choice(["rod", "spaceship", "rocket", "probe", "station", "beam"])
    question = one_of(
        rng,
        f"A {body} of rest length {rest} m flies past at {show(beta)} c. What length is observed?",
        f"Find the observed length of a {body} that is {rest} m long at rest and moves at {show(beta)} c.",
        f"How long does a {rest} m {body} appear when it moves along its length at {show(beta)} c?",
        f"At a speed of {show(beta)} c, what is the length of a {body} whose proper length is {rest} m?",
    )
    steps = [
        one_of(rng, "A moving body is contracted", "Special relativity gives") + ": L = L0*sqrt(1 - b^2) with b = v/c.",
        f"Here b^2 = {show(beta)}^2 = {show(beta**2)}.",
        f"The factor is sqrt(1 - {show(beta**2)}) = sqrt({show(1 - beta**2)}) = {show(factor)}.",
        f"{hence(rng)} L = {rest}*{show(factor)} = {show(seen)} m.",
    ]
    return Problem(question, steps, f"L = {show(seen)} m")


@kind("Physics", "photoelectric-effect")
def photoelectric_effect(rng):
    metal = rng.choice(list(WORK_FUNCTIONS))
    phi, photon = WORK_FUNCTIONS[metal], Rational(whole(rng, 50, 95, 5), 10)
    energy = photon - phi
    question = one_of(
        rng,
        f"Photons of {show(photon)} eV strike {metal} (work function {show(phi)} eV). Find the stopping voltage.",
        (
            f"The work function of {metal} is {show(phi)} eV. "
            f"What voltage stops the electrons freed by {show(photon)} eV photons?"
        ),
        (
            f"Light with a photon energy of {show(photon)} eV falls on {metal}. "
            f"With phi = {show(phi)} eV, find the stopping voltage."
        ),
        (
            f"A plate of {metal} needs {show(phi)} eV to free an electron. "
            f"Find the stopping voltage for {show(photon)} eV photons."
        ),
    )
    steps = [
        one_of(rng, "Energy is conserved when a photon frees an electron", "By Einstein's photoelectric equation")
        + ", so E = h*f - phi.",
        f"{substituting(rng)}, E = {show(photon)} - {show(phi)} = {show(energy)} eV.",
        "The electron stops where e*U = E.",
        f"{hence(rng)} the stopping voltage is U = {show(energy)} V.",
        f"Check: phi + e*U = {show(phi)} + {show(energy)} = {show(photon)} eV.",
    ]
    return Problem(question, steps, f"U = {show(energy)} V")
