"""Hand-written derivations of classical results, spread over the domains of the built-in corpus."""


def classic(domain: str, question: str, cot: str, response: str) -> dict[str, str]:
    """One classical derivation as a record of the corpus."""
    return {"question": question, "cot": cot, "response": response, "domain": domain, "kind": "classic"}


CLASSICS = [
    classic(
        "Mathematics",
        "Prove that sqrt(2) is irrational.",
        """Suppose sqrt(2) = a/b with integers a and b that share no factor.
Squaring gives a^2 = 2*b^2, so a^2 is even.
The square of an odd number is odd, so a itself is even: a = 2*c.
Then 4*c^2 = 2*b^2, that is b^2 = 2*c^2, so b is even too.
Now a and b share the factor 2, which contradicts the choice of a/b.
Hence no such fraction exists.""",
        "sqrt(2) is irrational",
    ),
    classic(
        "Mathematics",
        "Derive the formula for the roots of a*x^2 + b*x + c = 0 with a not zero.",
        """Divide by a and move the constant: x^2 + (b/a)*x = -c/a.
Add b^2/(4*a^2) on both sides to complete the square.
The left side becomes (x + b/(2*a))^2.
The right side becomes (b^2 - 4*a*c)/(4*a^2).
Taking roots, x + b/(2*a) = +sqrt(b^2 - 4*a*c)/(2*a) or the same with a minus sign.
Subtracting b/(2*a) isolates x.""",
        "x = (-b +- sqrt(b^2 - 4*a*c))/(2*a)",
    ),
    classic(
        "Mathematics",
        "Show by induction what 1 + 2 + ... + n is.",
        """Claim: S(n) = n*(n + 1)/2.
For n = 1 both sides are 1.
Suppose the claim holds for n.
Then S(n + 1) = S(n) + (n + 1) = n*(n + 1)/2 + (n + 1).
Taking out the factor n + 1 gives S(n + 1) = (n + 1)*(n + 2)/2.
This is the claim for n + 1, so it holds for every n >= 1.""",
        "S(n) = n*(n + 1)/2",
    ),
    classic(
        "Mathematics",
        "Prove that there are infinitely many primes.",
        """Take any finite list of primes p1, p2, ..., pk.
Form the number N = p1*p2*...*pk + 1.
Dividing N by a prime of the list leaves the remainder 1, so none of them divides N.
But N > 1 has some prime divisor q.
This q is missing from the list.
No finite list is complete, so there are infinitely many primes.""",
        "there are infinitely many primes",
    ),
    classic(
        "Linear-Algebra",
        "Verify the Cayley-Hamilton theorem for A = [[a, b], [c, d]].",
        """The characteristic polynomial is p(t) = t^2 - (a + d)*t + (a*d - b*c).
The square is A^2 = [[a^2 + b*c, b*(a + d)], [c*(a + d), d^2 + b*c]].
In the upper left entry, p(A) is a^2 + b*c - (a + d)*a + a*d - b*c = 0.
In the upper right entry, p(A) is b*(a + d) - (a + d)*b = 0.
The lower entries vanish in the same way with c for b and d for a.
Hence the matrix satisfies its own characteristic equation.""",
        "A^2 - (a + d)*A + (a*d - b*c)*I = 0",
    ),
    classic(
        "Linear-Algebra",
        "Show that the trace of a 2x2 matrix is the sum of its eigenvalues.",
        """Let A = [[a, b], [c, d]] have the eigenvalues s and t.
They are the roots of p(x) = det(A - x*I) = (a - x)*(d - x) - b*c.
Expanding, p(x) = x^2 - (a + d)*x + (a*d - b*c).
Since s and t are its roots, p(x) = (x - s)*(x - t) = x^2 - (s + t)*x + s*t.
Comparing the coefficients of x gives s + t = a + d.
The constant terms give s*t = det(A) as well.""",
        "s + t = a + d",
    ),
    classic(
        "Linear-Algebra",
        "Show that eigenvectors of a symmetric matrix A with different eigenvalues are orthogonal.",
        """Let A*u = s*u and A*v = t*v with s and t different.
Consider the number u.(A*v) in two ways.
On the one hand u.(A*v) = t*(u.v).
As A is symmetric, u.(A*v) = (A*u).v = s*(u.v) on the other hand.
Subtracting, (s - t)*(u.v) = 0.
Since s - t is not zero, the product u.v must vanish.""",
        "u.v = 0",
    ),
    classic(
        "Differential-Equations",
        "Solve m*x'' + c*x' + k*x = 0 when c^2 < 4*m*k.",
        """The trial function x = exp(r*t) leads to m*r^2 + c*r + k = 0.
Its discriminant c^2 - 4*m*k is negative, so the roots are complex.
They are r = -g + i*w and r = -g - i*w with g = c/(2*m) and w = sqrt(k/m - g^2).
The real and imaginary parts of exp(r*t) are real solutions.
They are exp(-g*t)*cos(w*t) and exp(-g*t)*sin(w*t), and they are independent.
Every solution is a combination of the two: a damped oscillation.""",
        "x = exp(-g*t)*(A*cos(w*t) + B*sin(w*t)), g = c/(2*m), w = sqrt(k/m - g^2)",
    ),
    classic(
        "Differential-Equations",
        "Solve the logistic equation y' = r*y*(1 - y/K) with y(0) = a.",
        """Put u = 1/y, so that u' = -y'/y^2.
Inserting the equation, u' = -r/y + r/K = -r*u + r/K.
This is linear with the constant solution u = 1/K.
Its general solution is u = 1/K + C*exp(-r*t).
From u(0) = 1/a we get C = 1/a - 1/K = (K - a)/(a*K).
Inverting u gives y, which tends to K as t grows (r > 0).""",
        "y = K/(1 + ((K - a)/a)*exp(-r*t))",
    ),
    classic(
        "Classical-Mechanics",
        "Prove that the work of the net force equals the change of kinetic energy (motion along a line).",
        """The work is W = integral of F dx along the path.
By Newton's second law F = m*dv/dt, and dx = v*dt.
So W = integral of m*(dv/dt)*v dt.
The integrand is the derivative of (m/2)*v^2.
Integrating from the first to the last instant leaves the end values.
Hence W = (m/2)*v2^2 - (m/2)*v1^2.""",
        "W = (m/2)*v2^2 - (m/2)*v1^2",
    ),
    classic(
        "Classical-Mechanics",
        "Derive the parallel axis theorem.",
        """Put the origin at the centre of mass and let the axis through it be parallel to z.
A second parallel axis passes through the point (d, 0).
A mass element dm at (x, y) has the squared distance (x - d)^2 + y^2 from it.
So I = integral of (x^2 + y^2 - 2*d*x + d^2) dm.
The first two terms give I0, the moment about the centre of mass.
The integral of x dm is zero by the choice of origin, and the last term gives M*d^2.""",
        "I = I0 + M*d^2",
    ),
    classic(
        "Classical-Mechanics",
        "Show that a mass m on a spring of stiffness k oscillates, and find its period.",
        """Hooke's law gives the force F = -k*x.
Newton's second law then reads m*x'' = -k*x.
Try x = A*cos(w*t): its second derivative is x'' = -w^2*x.
The equation holds if w^2 = k/m.
One oscillation is complete when w*T = 2*pi.
Hence T = 2*pi/w, whatever the amplitude A.""",
        "T = 2*pi*sqrt(m/k)",
    ),
    classic(
        "Theoretical-Mechanics",
        "Derive the equation of motion of a simple pendulum (length l, mass m) from its Lagrangian.",
        """With the angle q from the vertical, the speed of the mass is l*q'.
The kinetic energy is T = (m/2)*l^2*q'^2.
The potential energy is V = -m*g*l*cos(q), so L = T - V.
The derivatives are dL/dq' = m*l^2*q' and dL/dq = -m*g*l*sin(q).
The Euler-Lagrange equation gives m*l^2*q'' = -m*g*l*sin(q).
Dividing by m*l^2, the mass drops out.""",
        "q'' = -(g/l)*sin(q)",
    ),
    classic(
        "Theoretical-Mechanics",
        "Show that a Hamiltonian H(q, p) without explicit time is conserved.",
        """By the chain rule dH/dt = (dH/dq)*q' + (dH/dp)*p'.
Hamilton's equations are q' = dH/dp and p' = -dH/dq.
Inserting them, dH/dt = (dH/dq)*(dH/dp) - (dH/dp)*(dH/dq).
The two terms are equal and cancel.
So H keeps its value along every motion.""",
        "dH/dt = 0",
    ),
    classic(
        "Electromagnetism",
        "Use Gauss's law to find the field of an infinite line with charge s per length.",
        """By symmetry the field points away from the line and depends only on the distance r.
Take a coaxial cylinder of radius r and length l as the closed surface.
The field is parallel to the end caps, so they carry no flux.
The mantle has the area 2*pi*r*l, so the flux is E*2*pi*r*l.
The enclosed charge is s*l, and Gauss's law says E*2*pi*r*l = s*l/eps0.
The length cancels.""",
        "E = s/(2*pi*eps0*r)",
    ),
    classic(
        "Electromagnetism",
        "A capacitor C with charge Q0 discharges through a resistor R. Derive Q(t).",
        """Around the loop the voltages add to zero: Q/C + R*I = 0 with I = dQ/dt.
So dQ/dt = -Q/(R*C).
Separating, dQ/Q = -dt/(R*C).
Integrating from 0 to t, ln(Q/Q0) = -t/(R*C).
Taking the exponential gives Q, which falls to Q0/e after the time R*C.""",
        "Q = Q0*exp(-t/(R*C))",
    ),
    classic(
        "Electromagnetism",
        "Derive the radius of the circle on which a charge q moves with speed v perpendicular to a field B.",
        """The magnetic force has the size q*v*B and is always perpendicular to the velocity.
It does no work, so the speed stays constant.
A constant force perpendicular to the velocity bends the path into a circle.
The force supplies the centripetal force: q*v*B = m*v^2/r.
Solving for the radius gives r.""",
        "r = m*v/(q*B)",
    ),
    classic(
        "Engineering",
        "Derive the hoop stress in a thin-walled pipe of radius r and wall thickness t under the pressure p.",
        """Cut a length l of the pipe in two halves along its axis.
The pressure acts on the projected area 2*r*l and pushes with the force p*2*r*l.
The two cut walls have the area 2*t*l together.
A stress s in them pulls back with the force s*2*t*l.
Equilibrium demands s*2*t*l = p*2*r*l.
Dividing by 2*t*l gives the stress.""",
        "s = p*r/t",
    ),
    classic(
        "Engineering",
        "For a source with inner resistance R, which load X draws the most power?",
        """The current is I = U/(R + X), so the load takes P = I^2*X = U^2*X/(R + X)^2.
At the maximum dP/dX is zero.
By the quotient rule dP/dX = U^2*(R + X - 2*X)/(R + X)^3.
This vanishes when R - X = 0.
For smaller X it is positive and for larger X negative, so this is the maximum.
There P = U^2/(4*R).""",
        "X = R",
    ),
    classic(
        "Physics",
        "Derive the escape velocity from a planet of mass M and radius R.",
        """A body that just escapes comes to rest infinitely far away, where its energy is zero.
At the surface its energy is (m/2)*v^2 - G*M*m/R.
Energy is conserved, so (m/2)*v^2 = G*M*m/R.
The mass m of the body cancels: v^2 = 2*G*M/R.
Taking the positive root gives the velocity.""",
        "v = sqrt(2*G*M/R)",
    ),
    classic(
        "Physics",
        "Derive the Beer-Lambert law for light in an absorbing medium.",
        """A thin layer dx absorbs a share of the light in proportion to its thickness: dI = -a*I*dx.
Separating the variables, dI/I = -a*dx.
Integrating from 0 to x, ln(I/I0) = -a*x.
Taking the exponential gives the intensity at depth x.
It halves over every distance ln(2)/a.""",
        "I = I0*exp(-a*x)",
    ),
    classic(
        "Physics",
        "Show that the range of a projectile on level ground is greatest at 45 degrees.",
        """The velocity components are v*cos(a) and v*sin(a).
The height v*sin(a)*t - (g/2)*t^2 returns to zero at t = 2*v*sin(a)/g.
The range is R = v*cos(a)*t = 2*v^2*sin(a)*cos(a)/g.
Since 2*sin(a)*cos(a) = sin(2*a), R = v^2*sin(2*a)/g.
The sine is at most 1, and it reaches 1 when 2*a is a right angle.
Hence the best angle is 45 degrees.""",
        "a = 45 degrees, R = v^2/g",
    ),
    classic(
        "Physics",
        "Derive Kepler's third law for a circular orbit of radius r about a mass M.",
        """Gravity supplies the centripetal force: G*M*m/r^2 = m*w^2*r.
The mass m cancels and w^2 = G*M/r^3.
The period is T = 2*pi/w, so T^2 = 4*pi^2/w^2.
Inserting w^2 gives T^2 = 4*pi^2*r^3/(G*M).
The square of the period grows as the cube of the radius.""",
        "T^2 = 4*pi^2*r^3/(G*M)",
    ),
    classic(
        "Physiology",
        "By Poiseuille's law, how does the flow change when the radius of a vessel falls to half?",
        """For laminar flow Q = pi*r^4*dp/(8*n*l).
The pressure drop dp, the viscosity n and the length l stay the same.
So Q is proportional to r^4, and the ratio of the flows is the fourth power of the ratio of the radii.
Here it is (1/2)^4 = 1/16.
A small narrowing therefore has a large effect on the flow.""",
        "the flow falls to 1/16",
    ),
    classic(
        "Physiology",
        "Derive Fick's formula for the cardiac output CO from the oxygen uptake VO2.",
        """In one minute the lungs receive the blood volume CO.
It arrives with the oxygen content Cv and leaves with Ca.
So the blood takes up CO*(Ca - Cv) of oxygen per minute.
In the steady state this equals the oxygen uptake: VO2 = CO*(Ca - Cv).
Dividing by the difference of the contents gives the output.""",
        "CO = VO2/(Ca - Cv)",
    ),
    classic(
        "Molecular-Biology",
        "Show that one generation of random mating gives Hardy-Weinberg equilibrium (alleles p, q = 1 - p).",
        """Each gamete carries A with probability p and a with probability q.
Two independent gametes meet, so AA has the frequency p^2 and aa has q^2.
Aa arises in two ways, so its frequency is 2*p*q.
The next gametes carry A with probability p^2 + (1/2)*2*p*q = p*(p + q).
As p + q = 1, this is p again, so the frequencies no longer change.""",
        "AA : Aa : aa = p^2 : 2*p*q : q^2",
    ),
]
"""The classical derivations, as records of the corpus."""
