"""Problem kinds of Physics: motion, heat, gases, waves, optics, atoms and relativity."""

from sympy import Rational, sqrt

from discnb.data.kinds.base import Problem, half, hence, insert, kind, show, whole

VEHICLES = ["car", "train", "tram", "cyclist", "boat", "lorry", "sledge", "runner", "motorbike", "trolley"]
SPECIFIC_HEATS = {  # kJ/(kg*K)
    "water": Rational(42, 10),
    "ice": Rational(21, 10),
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
    question = rng.choice(
        [
            f"A {body} moves at {u} m/s and speeds up at {a} m/s^2 for {t} s. What is its final velocity?",
            f"Find the velocity of a {body} after {t} s if it starts at {u} m/s and its acceleration is {a} m/s^2.",
            f"A {body} with initial velocity {u} m/s accelerates at {a} m/s^2. How fast is it after {t} s?",
            f"The speed of a {body} is {u} m/s. It then gains {a} m/s in every second. Find its speed after {t} s.",
        ]
    )
    steps = [
        rng.choice(["For constant acceleration, v = u + a*t.", "The acceleration is constant, so v = u + a*t."]),
        f"Here u = {u} m/s, a = {a} m/s^2 and t = {t} s.",
        rng.choice(["The velocity gained is", "The change in velocity is"]) + f" a*t = {a}*{t} = {gain} m/s.",
        f"{hence(rng)} v = {u} + {gain} = {v} m/s.",
    ]
    return Problem(question, steps, f"v = {v} m/s")


@kind("Physics", "displacement")
def displacement(rng):
    u, a, t = whole(rng, 1, 9), whole(rng, 2, 8, 2), whole(rng, 2, 6)
    body = rng.choice(VEHICLES)
    first, second = u * t, half(a) * t**2
    s = first + second
    question = rng.choice(
        [
            f"A {body} passes a sign at {u} m/s and accelerates at {a} m/s^2. How far does it go in {t} s?",
            f"Find the distance covered in {t} s by a {body} that starts at {u} m/s and accelerates at {a} m/s^2.",
            f"A {body} has velocity {u} m/s and constant acceleration {a} m/s^2. Find its displacement after {t} s.",
            f"How far does a {body} travel in {t} s if it begins at {u} m/s and gains {a} m/s every second?",
        ]
    )
    steps = [
        rng.choice(["The displacement is", "For constant acceleration,"]) + " s = u*t + (a/2)*t^2.",
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
    question = rng.choice(
        [
            f"A {body} of mass {m} kg moves at {v} m/s. What is its kinetic energy?",
            f"Find the kinetic energy of a {m} kg {body} that travels at {v} m/s.",
            f"How much work brings a {body} of mass {m} kg from rest to a speed of {v} m/s?",
            f"A {m} kg {body} is accelerated from rest to {v} m/s. Find the work done on it.",
        ]
    )
    steps = [
        rng.choice(
            [
                "The work done on a body from rest equals its kinetic energy, E = (m/2)*v^2.",
                "A body of mass m and speed v has the kinetic energy E = (m/2)*v^2.",
            ]
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
    start = whole(rng, 5, 20, 5) if material != "ice" else -60
    per_kelvin = m * c
    heat = per_kelvin * rise
    question = rng.choice(
        [
            f"How much heat warms {m} kg of {material} from {start} C to {start + rise} C?",
            f"Find the heat needed to bring {m} kg of {material} from {start} C to {start + rise} C.",
            f"The temperature of {m} kg of {material} rises from {start} C to {start + rise} C. What heat was absorbed?",
            f"A block of {material} of mass {m} kg is heated from {start} C to {start + rise} C. Find the heat it takes.",
        ]
        if material not in ("water", "olive oil")
        else [
            f"How much heat warms {m} kg of {material} from {start} C to {start + rise} C?",
            f"A pot holds {m} kg of {material} at {start} C. What heat brings it to {start + rise} C?",
            f"Find the heat needed to bring {m} kg of {material} from {start} C to {start + rise} C.",
            f"The temperature of {m} kg of {material} rises from {start} C to {start + rise} C. What heat was absorbed?",
        ]
    )
    steps = [
        rng.choice(["Without a change of phase", "As the phase does not change"])
        + f", Q = m*c*dT with c = {show(c)} kJ/(kg*K) for {material}.",
        f"The temperature rise is dT = {start + rise} - {start if start > 0 else f'({start})'} = {rise} K.",
        f"The heat capacity is m*c = {m}*{show(c)} = {show(per_kelvin)} kJ/K.",
        f"{hence(rng)} Q = {show(per_kelvin)}*{rise} = {show(heat)} kJ.",
    ]
    return Problem(question, steps, f"Q = {show(heat)} kJ")


@kind("Physics", "isothermal-gas")
def isothermal_gas(rng):
    p1, v2, k = whole(rng, 1, 9), whole(rng, 2, 9), whole(rng, 2, 5)
    v1, p2 = v2 * k, p1 * k
    gas = rng.choice(["air", "helium", "nitrogen", "argon", "oxygen", "neon"])
    question = rng.choice(
        [
            f"A cylinder holds {v1} L of {gas} at {p1} bar. It is squeezed to {v2} L at constant temperature. Find the pressure.",
            f"At constant temperature {v1} L of {gas} at {p1} bar is compressed to {v2} L. What is the new pressure?",
            f"A sample of {gas} fills {v1} L at {p1} bar. What pressure holds it in {v2} L at the same temperature?",
            f"A piston slowly reduces the volume of {gas} from {v1} L to {v2} L. The first pressure was {p1} bar. Find the last.",
        ]
    )
    steps = [
        rng.choice(["By Boyle's law", "For an ideal gas at fixed temperature"]) + ", p1*V1 = p2*V2.",
        f"{hence(rng)} p2 = p1*V1/V2.",
        f"The product is p1*V1 = {p1}*{v1} = {p1 * v1} bar*L.",
        f"Dividing by V2, p2 = {p1 * v1}/{v2} = {p2} bar.",
    ]
    return Problem(question, steps, f"p2 = {p2} bar")


@kind("Physics", "wave-travel")
def wave_travel(rng):
    f, length, t = whole(rng, 2, 9), whole(rng, 2, 9), whole(rng, 2, 9)
    v = f * length
    d = v * t
    place = rng.choice(["long rope", "water channel", "steel cable", "taut string", "shallow tank", "slack wire"])
    question = rng.choice(
        [
            f"A wave of frequency {f} Hz and wavelength {length} m runs along a {place}. How long does it take for {d} m?",
            f"In a {place} a wave has wavelength {length} m and frequency {f} Hz. Find the time it needs to travel {d} m.",
            f"A source shakes a {place} at {f} Hz and makes waves {length} m long. When does the wave reach a point {d} m away?",
            f"Waves with f = {f} Hz and a wavelength of {length} m cross a {place} over {d} m. Find the travel time.",
        ]
    )
    steps = [
        rng.choice(["A wave moves one wavelength in each period", "The wave speed follows from one period"])
        + ", so v = f*lambda.",
        f"{insert(rng)}, v = {f}*{length} = {v} m/s.",
        "The travel time is t = d/v.",
        f"{hence(rng)} t = {d}/{v} = {t} s.",
    ]
    return Problem(question, steps, f"t = {t} s")


@kind("Physics", "thin-lens")
def thin_lens(rng):
    d, n = whole(rng, 2, 9), whole(rng, 1, 5)
    f, u = d * n, d * (n + 1)
    v = n * u
    thing = rng.choice(["candle", "lamp", "pencil", "slide", "stamp", "flower"])
    question = rng.choice(
        [
            f"A {thing} stands {u} cm before a converging lens of focal length {f} cm. Where is the image?",
            f"A thin lens has focal length {f} cm. Find the image distance of a {thing} {u} cm away from it.",
            f"How far behind a lens with f = {f} cm is the image of a {thing} at a distance of {u} cm?",
            f"A {thing} is placed {u} cm from a thin convex lens (f = {f} cm). Find the distance of its image.",
        ]
    )
    steps = [
        rng.choice(["The thin lens equation is", "For a thin lens,"]) + " 1/f = 1/u + 1/v.",
        f"It gives v = m*u with the magnification m = f/(u - f).",  # noqa: F541
        f"Here u - f = {u} - {f} = {d} cm, so m = {f}/{d} = {n}.",
        f"{hence(rng)} v = {n}*{u} = {v} cm, a real image.",
    ]
    return Problem(question, steps, f"v = {v} cm")


@kind("Physics", "half-life")
def half_life(rng):
    n, rest, period = whole(rng, 2, 4), whole(rng, 2, 12), whole(rng, 2, 12)
    start, t = rest * 2**n, n * period
    unit = rng.choice(["days", "hours", "years", "minutes"])
    sample = rng.choice(["tracer", "radioactive salt", "isotope", "medical source"])
    question = rng.choice(
        [
            f"A {sample} has a half-life of {period} {unit}. How much of {start} mg is left after {t} {unit}?",
            f"Of a {sample} there are {start} mg. Its half-life is {period} {unit}. Find the mass after {t} {unit}.",
            f"What remains of {start} mg of a {sample} after {t} {unit} if half of it decays every {period} {unit}?",
            f"The half-life of a {sample} is {period} {unit}. Starting from {start} mg, find what remains after {t} {unit}.",
        ]
    )
    steps = [
        rng.choice(["After n half-lives", "When n half-lives have passed,"]) + " the mass is N = N0/2^n.",
        f"The number of half-lives is n = {t}/{period} = {n}.",
        f"The mass has been halved {n} times: 2^{n} = {2**n}.",
        f"{hence(rng)} N = {start}/{2**n} = {rest} mg.",
    ]
    return Problem(question, steps, f"N = {rest} mg")


@kind("Physics", "hydrostatic-pressure")
def hydrostatic_pressure(rng):
    liquid = rng.choice(list(DENSITIES))
    rho, h = DENSITIES[liquid], whole(rng, 2, 12)
    column = rho * h
    pressure = column * 10
    vessel = rng.choice(["tank", "well", "basin", "tower", "shaft"])
    question = rng.choice(
        [
            f"Find the pressure due to {h} m of {liquid} at the bottom of a {vessel}. Take g = 10 m/s^2.",
            f"A {vessel} is filled with {liquid} to a depth of {h} m. What is the gauge pressure at its bottom (g = 10 m/s^2)?",
            f"How large is the gauge pressure {h} m below the surface of the {liquid} in a {vessel}? Use g = 10 m/s^2.",
            f"In a {vessel} the {liquid} stands {h} m high. With g = 10 m/s^2, find the pressure it adds at the floor.",
        ]
    )
    steps = [
        rng.choice(["The liquid above carries its weight over the area", "The weight of the column acts on its base"])
        + ", so p = rho*g*h.",
        f"The density of {liquid} is rho = {rho} kg/m^3.",
        f"First, rho*h = {rho}*{h} = {column} kg/m^2.",
        f"{hence(rng)} p = {column}*10 = {pressure} Pa.",
    ]
    return Problem(question, steps, f"p = {pressure} Pa")


@kind("Physics", "length-contraction")
def length_contraction(rng):
    beta = rng.choice([Rational(6, 10), Rational(8, 10)])
    rest = whole(rng, 10, 95, 5)
    factor = sqrt(1 - beta**2)
    seen = rest * factor
    body = rng.choice(["rod", "spaceship", "rocket", "probe", "station", "beam"])
    question = rng.choice(
        [
            f"A {body} of rest length {rest} m flies past at {show(beta)} c. What length is observed?",
            f"Find the observed length of a {body} that is {rest} m long at rest and moves at {show(beta)} c.",
            f"How long does a {rest} m {body} appear when it moves along its length at {show(beta)} c?",
            f"At a speed of {show(beta)} c, what is the length of a {body} whose proper length is {rest} m?",
        ]
    )
    steps = [
        rng.choice(["A moving body is contracted", "Special relativity gives"]) + ": L = L0*sqrt(1 - b^2) with b = v/c.",
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
    question = rng.choice(
        [
            f"Photons of {show(photon)} eV strike {metal} (work function {show(phi)} eV). Find the stopping voltage.",
            f"The work function of {metal} is {show(phi)} eV. What voltage stops the electrons freed by {show(photon)} eV photons?",
            f"Light with a photon energy of {show(photon)} eV falls on {metal}. With phi = {show(phi)} eV, find the stopping voltage.",
            f"A plate of {metal} needs {show(phi)} eV to free an electron. Find the stopping voltage for {show(photon)} eV photons.",
        ]
    )
    steps = [
        rng.choice(["Energy is conserved when a photon frees an electron", "By Einstein's photoelectric equation"])
        + ", so E = h*f - phi.",
        f"{insert(rng)}, E = {show(photon)} - {show(phi)} = {show(energy)} eV.",
        "The electron stops where e*U = E.",
        f"{hence(rng)} the stopping voltage is U = {show(energy)} V.",
    ]
    return Problem(question, steps, f"U = {show(energy)} V")
