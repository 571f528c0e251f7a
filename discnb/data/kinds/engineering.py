"""Problem kinds of Engineering: strength, statics, heat, flow, drives and circuits."""

from sympy import Rational

from discnb.data.kinds.base import Problem, hence, kind, one_of, show, substituting, whole


@kind("Engineering", "axial-stress")
def axial_stress(rng):
    area, stress, safety = whole(rng, 2, 9), whole(rng, 10, 90, 10), whole(rng, 2, 4)
    area, strength = area * 10, stress * safety
    force = area * stress
    part = rng.choice(["tie rod", "bolt", "cable", "strut", "bar", "hanger"])
    question = one_of(
        rng,
        f"A {part} of {area} mm^2 carries {force} N and yields at {strength} MPa. Find its safety factor.",
        f"Find the safety factor of a {part} (area {area} mm^2, yield strength {strength} MPa) under {force} N.",
        (
            f"A force of {force} N pulls on a {part} with a section of {area} mm^2. "
            f"The yield strength is {strength} MPa. How safe is it?"
        ),
        (
            f"The yield strength of a {part} is {strength} MPa, its section {area} mm^2. "
            f"What is the safety factor at {force} N?"
        ),
    )
    steps = [
        one_of(rng, "The normal stress is", "The load spreads over the section:") + " s = F/A, and 1 N/mm^2 is 1 MPa.",
        f"{substituting(rng)}, s = {force}/{area} = {stress} MPa.",
        "The safety factor is the yield strength over the stress.",
        f"{hence(rng)} n = {strength}/{stress} = {safety}, for {safety}*{stress} = {strength}.",
    ]
    return Problem(question, steps, f"n = {safety}")


@kind("Engineering", "beam-reactions")
def beam_reactions(rng):
    span, k = whole(rng, 2, 6), whole(rng, 1, 5)
    a = whole(rng, 1, span - 1)
    load = span * k
    right, left = k * a, load - k * a
    what = rng.choice(["beam", "girder", "plank", "footbridge", "joist"])
    question = one_of(
        rng,
        f"A {what} of span {span} m carries {load} kN at {a} m from its left support. Find both reactions.",
        (
            f"Find the support forces of a simply supported {what}, "
            f"{span} m long, with {load} kN at {a} m from the left."
        ),
        (
            f"A load of {load} kN stands {a} m from the left end of a {span} m {what} on two supports. "
            "Find the reactions."
        ),
        f"A {span} m {what} rests on its ends. What do the supports carry if {load} kN acts {a} m from the left one?",
    )
    steps = [
        one_of(rng, "The moments about the left support balance", "Take moments about the left support")
        + f": R2*{span} = {load}*{a}.",
        f"The moment of the load is {load}*{a} = {load * a} kN*m.",
        f"{hence(rng)} R2 = {load * a}/{span} = {right} kN.",
        f"Vertical balance gives R1 = {load} - {right} = {left} kN.",
    ]
    return Problem(question, steps, f"R1 = {left} kN, R2 = {right} kN")


@kind("Engineering", "heat-conduction")
def heat_conduction(rng):
    k, area, gradient, d = whole(rng, 1, 5), whole(rng, 2, 9), whole(rng, 2, 9), whole(rng, 1, 5)
    rise = gradient * d
    k, d = Rational(k, 10), Rational(d, 10)
    gradient = rise / d
    flux = k * gradient
    flow = flux * area
    wall = rng.choice(["wall", "door", "panel", "slab", "floor", "furnace lining"])
    question = one_of(
        rng,
        (
            f"A {wall} of {area} m^2 is {show(d)} m thick, k = {show(k)} W/(m*K). "
            f"The sides differ by {rise} K. Find the heat flow."
        ),
        (
            f"Find the heat flow through a {wall}: area {area} m^2, "
            f"thickness {show(d)} m, k = {show(k)} W/(m*K), dT = {rise} K."
        ),
        (
            f"How much heat per second crosses a {wall} with A = {area} m^2, "
            f"d = {show(d)} m, k = {show(k)} W/(m*K) at dT = {rise} K?"
        ),
        (
            f"The two faces of a {wall} ({area} m^2, {show(d)} m thick, "
            f"k = {show(k)} W/(m*K)) are {rise} K apart. Find the heat loss."
        ),
    )
    steps = [
        one_of(rng, "By Fourier's law", "In the steady state") + ", P = k*A*dT/d.",
        f"The temperature gradient is dT/d = {rise}/{show(d)} = {gradient} K/m.",
        f"The heat flux is k*dT/d = {show(k)}*{gradient} = {flux} W/m^2.",
        f"{hence(rng)} P = {area}*{flux} = {flow} W.",
    ]
    return Problem(question, steps, f"P = {flow} W")


@kind("Engineering", "continuity")
def continuity(rng):
    a2, v1, k = whole(rng, 2, 9), whole(rng, 1, 9), whole(rng, 2, 6)
    a1, v2 = a2 * k, v1 * k
    fluid = rng.choice(["Water", "Oil", "Coolant", "Fuel", "Brine", "Milk"])
    question = one_of(
        rng,
        f"{fluid} flows at {v1} m/s in a pipe of {a1} cm^2 that narrows to {a2} cm^2. Find the speed there.",
        f"{fluid} moves through {a1} cm^2 at {v1} m/s and then through a throat of {a2} cm^2. How fast is it there?",
        f"{fluid} enters a nozzle of {a1} cm^2 at {v1} m/s. What is its speed at the outlet of {a2} cm^2?",
        (
            f"{fluid} fills a duct. The section shrinks from {a1} cm^2 to {a2} cm^2 and the first speed is "
            f"{v1} m/s. Find the second."
        ),
    )
    steps = [
        one_of(rng, "The flow is incompressible", "What flows in must flow out") + ", so A1*v1 = A2*v2.",
        f"The sections have the ratio A1/A2 = {a1}/{a2} = {k}.",
        "The speed grows by the same ratio, v2 = v1*A1/A2.",
        f"{hence(rng)} v2 = {v1}*{k} = {v2} m/s.",
        f"Check: A1*v1 = {a1}*{v1} = {a1 * v1} and A2*v2 = {a2}*{v2} = {a2 * v2}.",
    ]
    return Problem(question, steps, f"v2 = {v2} m/s")


@kind("Engineering", "gear-train")
def gear_train(rng):
    z1, k = whole(rng, 10, 20), whole(rng, 2, 5)
    slow, moment = whole(rng, 20, 90, 10), whole(rng, 2, 9)
    z2, fast = z1 * k, slow * k
    machine = rng.choice(["winch", "hoist", "mixer", "lathe", "conveyor", "crane"])
    question = one_of(
        rng,
        (
            f"In a {machine} a pinion with {z1} teeth, "
            f"{fast} rpm and {moment} N*m drives a gear with {z2} teeth. Find its speed and torque."
        ),
        (
            f"A {machine} has gears of {z1} and {z2} teeth. "
            f"The input is {fast} rpm and {moment} N*m. Find the output, no losses."
        ),
        (
            f"The motor of a {machine} gives {moment} N*m at {fast} rpm to gears {z1}:{z2}. "
            "Find speed and torque at the output."
        ),
        (
            f"Find speed and torque after a {machine}'s gear pair ({z1} to {z2} teeth) fed with {fast} rpm "
            f"and {moment} N*m."
        ),
    )
    steps = [
        one_of(rng, "The gear ratio is", "The teeth give the ratio") + f" i = {z2}/{z1} = {k}.",
        one_of(rng, "The speed falls by this ratio", "The output turns slower") + f": n2 = {fast}/{k} = {slow} rpm.",
        f"Without losses the power is kept, so the torque grows: M2 = {moment}*{k} = {moment * k} N*m.",
    ]
    return Problem(question, steps, f"n2 = {slow} rpm, M2 = {moment * k} N*m")


@kind("Engineering", "hydraulic-press")
def hydraulic_press(rng):
    a1, pressure, k = whole(rng, 1, 4), whole(rng, 2, 9), whole(rng, 2, 5)
    a2, f1 = a1 * k, pressure * a1
    f2 = pressure * a2
    device = rng.choice(["press", "jack", "brake", "lift", "clamp"])
    question = one_of(
        rng,
        (
            f"A hydraulic {device} has pistons of {a1} cm^2 and {a2} cm^2. "
            f"The small one is pushed with {f1} N. Find the other force."
        ),
        f"In a hydraulic {device}, {f1} N acts on {a1} cm^2. What force appears on {a2} cm^2?",
        f"Find the force on the {a2} cm^2 piston of a hydraulic {device} when {f1} N acts on its {a1} cm^2 piston.",
        (
            f"The pistons of a hydraulic {device} measure {a1} cm^2 and {a2} cm^2. "
            f"How much does {f1} N on the first lift?"
        ),
    )
    steps = [
        one_of(rng, "By Pascal's principle", "In a liquid at rest") + " the pressure is the same on both pistons.",
        f"It is p = F1/A1 = {f1}/{a1} = {pressure} N/cm^2.",
        "On the large piston F2 = p*A2.",
        f"{hence(rng)} F2 = {pressure}*{a2} = {f2} N.",
        f"Check: F2/F1 = {f2}/{f1} = {k} and A2/A1 = {a2}/{a1} = {k}.",
    ]
    return Problem(question, steps, f"F2 = {f2} N")


@kind("Engineering", "machine-efficiency")
def machine_efficiency(rng):
    mass, height, t = whole(rng, 1, 4), whole(rng, 2, 6), whole(rng, 2, 4)
    mass = mass * t
    work = mass * 10 * height
    useful = work / t
    efficiency = Rational(rng.choice([2, 4, 5, 8]), 10)
    drawn = useful / efficiency
    machine = rng.choice(["hoist", "lift", "winch", "crane", "pulley block"])
    question = one_of(
        rng,
        (
            f"A {machine} draws {show(drawn)} W and raises {mass} kg by {height} m in {t} s. "
            "Find its efficiency, g = 10 m/s^2."
        ),
        (
            f"Find the efficiency of a {machine} that lifts {mass} kg through {height} m in {t} s with "
            f"{show(drawn)} W (g = 10 m/s^2)."
        ),
        (
            f"A {machine} takes {t} s to raise {mass} kg by {height} m. "
            f"It uses {show(drawn)} W. With g = 10 m/s^2, how efficient is it?"
        ),
        (
            f"What part of the {show(drawn)} W drawn by a {machine} is useful if {mass} kg go up {height} m "
            f"in {t} s? Use g = 10 m/s^2."
        ),
    )
    steps = [
        one_of(rng, "The useful work is", "Lifting takes the work")
        + f" W = m*g*h = {mass}*10*{height} = {10 * mass}*{height} = {work} J.",
        f"The useful power is W/t = {work}/{t} = {useful} W.",
        "The efficiency is useful power over drawn power.",
        f"{hence(rng)} eta = {useful}/{show(drawn)} = {show(efficiency)}.",
    ]
    return Problem(question, steps, f"eta = {show(efficiency)}")


@kind("Engineering", "inverting-amplifier")
def inverting_amplifier(rng):
    r1, gain, u = whole(rng, 1, 9), whole(rng, 2, 9), Rational(whole(rng, 1, 9), 10)
    r2 = r1 * gain
    out = -gain * u
    source = rng.choice(["sensor", "microphone", "probe", "thermocouple", "photodiode stage"])
    question = one_of(
        rng,
        (
            f"An inverting amplifier with R1 = {r1} kohm and R2 = {r2} kohm gets {show(u)} V from a "
            f"{source}. Find its output."
        ),
        (
            f"A {source} feeds {show(u)} V into an inverting op-amp stage with {r1} kohm in and {r2} kohm in "
            "feedback. Find U2."
        ),
        (
            f"Find the output of an ideal inverting stage (R1 = {r1} kohm, "
            f"R2 = {r2} kohm) for {show(u)} V from a {source}."
        ),
        (
            f"The {source} gives {show(u)} V. "
            f"An op-amp inverts it with R2 = {r2} kohm over R1 = {r1} kohm. What comes out?"
        ),
    )
    steps = [
        one_of(rng, "The inverting input is a virtual ground", "No current enters the ideal op-amp")
        + ", so U1/R1 = -U2/R2.",
        f"The gain is -R2/R1 = -{r2}/{r1} = -{gain}.",
        "The output is the gain times the input.",
        f"{hence(rng)} U2 = -{gain}*{show(u)} = {show(out)} V.",
    ]
    return Problem(question, steps, f"U2 = {show(out)} V")
