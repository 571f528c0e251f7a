"""Problem kinds of Physiology and Molecular-Biology."""

from sympy import Integer, Rational, log

from discnb.data.kinds.base import Problem, hence, kind, one_of, paren, show, substituting, whole

NERNST_SLOPE = 61  # mV per decade at 37 C, for a charge of one


@kind("Physiology", "cardiac-output")
def cardiac_output(rng):
    rate, stroke = whole(rng, 50, 90, 10), whole(rng, 50, 90, 10)
    per_minute = rate * stroke
    litres = per_minute / 1000
    person = rng.choice(["runner", "patient", "student", "swimmer", "nurse", "pilot"])
    question = one_of(
        rng,
        (
            f"The heart of a {person} beats {rate} times a minute and ejects {stroke} mL each time. "
            "Find the cardiac output."
        ),
        (
            f"A {person} has a heart rate of {rate} per minute and a stroke volume of {stroke} mL. "
            "What is the cardiac output?"
        ),
        f"Find the cardiac output of a {person} with {rate} beats per minute and {stroke} mL per beat.",
        (
            f"How many litres per minute does the heart of a {person} pump at {rate} beats per minute and "
            f"{stroke} mL a beat?"
        ),
    )
    steps = [
        one_of(rng, "Cardiac output is heart rate times stroke volume", "Each beat adds one stroke volume")
        + ": CO = HR*SV.",
        f"{substituting(rng)}, CO = {rate}*{stroke} = {per_minute} mL/min.",
        "One litre is 1000 mL.",
        f"{hence(rng)} CO = {per_minute}/1000 = {show(litres)} L/min.",
    ]
    return Problem(question, steps, f"CO = {show(litres)} L/min")


@kind("Physiology", "renal-clearance")
def renal_clearance(rng):
    flow, plasma, concentration_ratio = whole(rng, 1, 4), whole(rng, 1, 5), whole(rng, 20, 40, 10)
    urine = plasma * concentration_ratio
    clearance, excreted = concentration_ratio * flow, urine * flow
    substance = rng.choice(["inulin", "a tracer", "urea", "a drug"])
    question = one_of(
        rng,
        f"Urine flows at {flow} mL/min with {urine} mM of {substance}; plasma has {plasma} mM. Find the clearance.",
        f"Find the clearance of {substance}: urine {urine} mM, plasma {plasma} mM, urine flow {flow} mL/min.",
        (
            f"The kidneys make {flow} mL/min of urine with {urine} mM of {substance}. "
            f"Plasma holds {plasma} mM. What is C?"
        ),
        f"For {substance}, U = {urine} mM, V = {flow} mL/min and P = {plasma} mM. Compute the renal clearance.",
    )
    steps = [
        one_of(rng, "What leaves the plasma appears in the urine", "By conservation of mass") + ": C*P = U*V.",
        f"The excretion rate is U*V = {urine}*{flow} = {excreted} umol/min.",
        "Dividing by the plasma concentration gives the clearance.",
        f"{hence(rng)} C = {excreted}/{plasma} = {clearance} mL/min.",
    ]
    return Problem(question, steps, f"C = {clearance} mL/min")


@kind("Physiology", "mean-arterial-pressure")
def mean_arterial_pressure(rng):
    diastolic, third = whole(rng, 60, 90, 5), whole(rng, 10, 20)
    pulse = 3 * third
    systolic = diastolic + pulse
    person = rng.choice(["patient", "student", "teacher", "driver", "farmer", "nurse"])
    question = one_of(
        rng,
        f"A {person} has a blood pressure of {systolic}/{diastolic} mmHg. Estimate the mean arterial pressure.",
        (
            f"Find the mean arterial pressure of a {person} with {systolic} mmHg systolic and {diastolic} "
            "mmHg diastolic."
        ),
        f"The cuff on a {person} reads {systolic} over {diastolic} mmHg. What is the mean arterial pressure?",
        f"Estimate MAP from the values {systolic}/{diastolic} mmHg of a {person}.",
    )
    steps = [
        one_of(rng, "Diastole lasts about twice as long as systole", "Two thirds of the cycle are diastole")
        + ", so MAP = DP + (SP - DP)/3.",
        f"The pulse pressure is {systolic} - {diastolic} = {pulse} mmHg.",
        f"A third of it is {pulse}/3 = {third} mmHg.",
        f"{hence(rng)} MAP = {diastolic} + {third} = {diastolic + third} mmHg.",
    ]
    return Problem(question, steps, f"MAP = {diastolic + third} mmHg")


@kind("Physiology", "nernst-potential")
def nernst_potential(rng):
    power = Integer(rng.choice([-2, -1, 1, 2]))
    low = whole(rng, 1, 15) if abs(power) == 1 else whole(rng, 1, 3)
    high = low * 10 ** abs(power)
    outside, inside = (high, low) if power > 0 else (low, high)
    ratio = Rational(outside, inside)
    exponent = log(ratio, 10)
    potential = NERNST_SLOPE * exponent
    ion = rng.choice(["Na+" if power > 0 else "K+", "a monovalent cation"])
    cell = rng.choice(["neuron", "muscle cell", "glial cell", "red cell"])
    question = one_of(
        rng,
        f"A {cell} has {inside} mM of {ion} inside and {outside} mM outside. Find its equilibrium potential at 37 C.",
        f"Find the Nernst potential of {ion} in a {cell} at 37 C: {outside} mM outside, {inside} mM inside.",
        (
            f"At which voltage is {ion} in equilibrium across a {cell} membrane ({inside} mM in, "
            f"{outside} mM out, 37 C)?"
        ),
        f"The concentration of {ion} is {outside} mM outside and {inside} mM inside a {cell}. Compute E at 37 C.",
    )
    steps = [
        one_of(rng, "At 37 C and charge +1 the Nernst equation is", "For a charge of +1 at 37 C,")
        + f" E = {NERNST_SLOPE}*log10(out/in) in mV.",
        f"The ratio is out/in = {outside}/{inside} = {show(ratio)}.",
        f"Its logarithm is log10({show(ratio)}) = {exponent}.",
        f"{hence(rng)} E = {NERNST_SLOPE}*{paren(exponent)} = {potential} mV.",
    ]
    return Problem(question, steps, f"E = {potential} mV")


@kind("Physiology", "alveolar-ventilation")
def alveolar_ventilation(rng):
    rate, dead, fresh = whole(rng, 8, 20), whole(rng, 100, 200, 50), whole(rng, 200, 500, 100)
    tidal = dead + fresh
    person = rng.choice(["patient", "sleeper", "climber", "singer", "diver"])
    question = one_of(
        rng,
        (
            f"A {person} takes {rate} breaths per minute of {tidal} mL; the dead space is {dead} mL. "
            "Find the alveolar ventilation."
        ),
        (
            f"Find the alveolar ventilation of a {person}: {rate} breaths/min, "
            f"tidal volume {tidal} mL, dead space {dead} mL."
        ),
        (
            f"The tidal volume of a {person} is {tidal} mL with {dead} mL dead space. "
            f"How much air reaches the alveoli at {rate} breaths/min?"
        ),
        f"At {rate} breaths/min a {person} moves {tidal} mL each time, {dead} mL of it in the dead space. Find VA.",
    )
    steps = [
        one_of(
            rng,
            "Only air beyond the dead space exchanges gas",
            "The dead space takes no part in gas exchange",
        )
        + ": VA = f*(VT - VD).",
        f"Fresh air per breath is VT - VD = {tidal} - {dead} = {fresh} mL.",
        f"{hence(rng)} VA = {rate}*{fresh} = {rate * fresh} mL/min.",
        f"In litres this is {rate * fresh}/1000 = {show(rate * fresh / 1000)} L/min.",
    ]
    return Problem(question, steps, f"VA = {show(rate * fresh / 1000)} L/min")


@kind("Molecular-Biology", "hardy-weinberg")
def hardy_weinberg(rng):
    q = Rational(whole(rng, 1, 9), 10)
    p = 1 - q
    population = rng.choice(["moths", "beans", "mice", "snails", "peas", "fish", "people", "birds"])
    question = one_of(
        rng,
        f"In a population of {population}, {show(q**2)} of all show a recessive trait. What fraction are carriers?",
        (
            f"The recessive phenotype has frequency {show(q**2)} among {population} in equilibrium. "
            "Find the carriers' frequency."
        ),
        (
            f"Among {population} in Hardy-Weinberg equilibrium the genotype aa has frequency {show(q**2)}. "
            "Find that of Aa."
        ),
        (
            f"Find the frequency of heterozygotes among {population} if {show(q**2)} are homozygous "
            "recessive (equilibrium)."
        ),
    )
    steps = [
        one_of(rng, "In Hardy-Weinberg equilibrium", "With random mating")
        + ", aa has frequency q^2 and Aa has frequency 2*p*q.",
        f"The allele frequency is q = sqrt({show(q**2)}) = {show(q)}.",
        f"The other allele has p = 1 - {show(q)} = {show(p)}.",
        f"{hence(rng)} 2*p*q = 2*{show(p)}*{show(q)} = {show(2 * p)}*{show(q)} = {show(2 * p * q)}.",
    ]
    return Problem(question, steps, f"2*p*q = {show(2 * p * q)}")


@kind("Molecular-Biology", "pcr-copies")
def pcr_copies(rng):
    start, n = whole(rng, 2, 12), whole(rng, 3, 6)
    copies = start * 2**n
    gene = rng.choice(["gene", "fragment", "marker", "plasmid insert"])
    question = one_of(
        rng,
        f"A PCR begins with {start} copies of a {gene}. How many are there after {n} ideal cycles?",
        f"Find the number of copies of a {gene} after {n} cycles of ideal PCR from {start} templates.",
        f"How many copies do {n} perfect PCR cycles make from {start} molecules of a {gene}?",
        f"PCR doubles a {gene} in each cycle. Starting with {start} copies, what is there after {n} cycles?",
    )
    steps = [
        one_of(rng, "Every cycle doubles each molecule", "Each cycle doubles the number") + ", so N = N0*2^n.",
        f"After {n} cycles the factor is 2^{n} = {2**n}.",
        f"{hence(rng)} N = {start}*{2**n} = {copies} copies.",
    ]
    return Problem(question, steps, f"N = {copies} copies")


@kind("Molecular-Biology", "protein-length")
def protein_length(rng):
    codons = whole(rng, 20, 99)
    bases = 3 * codons
    acids = codons - 1
    organism = rng.choice(["yeast", "bacterial", "human", "plant", "viral", "mouse"])
    question = one_of(
        rng,
        f"A {organism} reading frame is {bases} bases long, including the stop codon. How long is its protein?",
        f"How many amino acids does a {organism} reading frame of {bases} bases (stop codon included) encode?",
        (
            f"Find the length of the protein from a {organism} reading frame with {bases} bases and one stop "
            "codon at its end."
        ),
        f"A {organism} mRNA has {bases} bases from its start codon through its stop codon. Count the amino acids.",
    )
    steps = [
        one_of(rng, "Three bases form one codon.", "The code is read in triplets."),
        f"The number of codons is {bases}/3 = {codons}.",
        one_of(rng, "The stop codon adds no amino acid.", "No amino acid belongs to the stop codon."),
        f"{hence(rng)} the length is {codons} - 1 = {acids} amino acids.",
    ]
    return Problem(question, steps, f"{acids} amino acids")


@kind("Molecular-Biology", "chargaff")
def chargaff(rng):
    guanine = whole(rng, 11, 39)
    gc = 2 * guanine
    at = 100 - gc
    organism = rng.choice(["bacterium", "yeast", "plant", "fish", "fungus", "bird"])
    question = one_of(
        rng,
        f"The DNA of a {organism} holds {guanine} % guanine. What percentage is adenine?",
        f"In the double-stranded DNA of a {organism}, {guanine} % of the bases are G. Find the share of A.",
        f"Guanine makes up {guanine} % of the DNA of a {organism}. Find the percentage of adenine.",
        f"Use Chargaff's rules: a {organism} has {guanine} % G in its DNA. How much A does it have?",
    )
    steps = [
        one_of(rng, "Bases pair as G with C and A with T, so", "By Chargaff's rules,") + " G = C and A = T.",
        f"Together G and C make up 2*{guanine} = {gc} %.",
        f"For A and T there remain 100 - {gc} = {at} %.",
        f"{hence(rng)} A = {at}/2 = {at / 2} %.",
    ]
    return Problem(question, steps, f"A = {at / 2} %")


@kind("Molecular-Biology", "primer-melting")
def primer_melting(rng):
    primer = "".join(rng.choice("ACGT") for _ in range(rng.randrange(8, 13)))
    weak = Integer(primer.count("A") + primer.count("T"))
    strong = len(primer) - weak
    tm = 2 * weak + 4 * strong
    question = one_of(
        rng,
        f"Estimate the melting temperature of the primer {primer} with the Wallace rule.",
        f"Find Tm of the oligonucleotide {primer} by the Wallace rule.",
        f"What melting temperature does the Wallace rule give for {primer}?",
        f"The primer {primer} is ordered. Estimate its Tm with 2 C per A or T and 4 C per G or C.",
    )
    steps = [
        one_of(rng, "The Wallace rule is", "For short primers") + " Tm = 2*(A + T) + 4*(G + C) in C.",
        f"The primer has {weak} bases A or T and {strong} bases G or C.",
        f"Their parts are 2*{weak} = {2 * weak} and 4*{strong} = {4 * strong}.",
        f"{hence(rng)} Tm = {2 * weak} + {4 * strong} = {tm} C.",
    ]
    return Problem(question, steps, f"Tm = {tm} C")
