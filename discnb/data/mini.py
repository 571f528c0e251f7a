"""The built-in corpus `mini`: worked STEM derivations in the ten domains of the published data.

Problems come from the kinds in `discnb.data.kinds` with random parameters and wording, exact by SymPy,
and from the hand-written derivations in `discnb.data.classics`. The same size and seed give the same
bytes in any process.
"""

import difflib
from collections.abc import Collection
from fractions import Fraction
from random import Random

from discnb.data.classics import CLASSICS
from discnb.data.domains import CARD_COUNTS
from discnb.data.kinds import KINDS

CLASSICS_FROM = 600
"""The smallest corpus that holds the hand-written derivations: a smaller one has no room for them."""

DOMAIN_OF = {name: domain for domain, kinds in KINDS.items() for name in kinds}
"""Of every kind."""

PATIENCE = 100
"""A kind is spent when it has drawn this many questions in a row that the corpus already holds."""


def mini_corpus(
    size: int = 640, seed: int = 42, *, kinds: Collection[str] = (), without: Collection[str] = ()
) -> list[dict[str, str]]:
    """`size` worked problems with keys question, cot, response, domain, kind; every question is different.

    All kinds and the hand-written derivations, or only the named `kinds`, as many problems of each; never those of the
    kinds `without`. An unknown kind is a ValueError that names the nearest.
    """
    if size < 1:
        raise ValueError(f"size is {size}; the corpus needs at least 1 problem")
    for name in (*kinds, *without):
        if name not in DOMAIN_OF:
            [near] = difflib.get_close_matches(name, DOMAIN_OF, n=1, cutoff=0.0)
            raise ValueError(f"the built-in corpus has no kind {name!r}; did you mean {near!r}?")
    if both := set(kinds) & set(without):
        raise ValueError(f"the kinds {', '.join(sorted(both))} are both asked for and left out")
    corpus: list[dict[str, str]] = []
    asked: set[str] = set()
    if kinds:
        for i, name in enumerate(kinds):
            count = size // len(kinds) + (i < size % len(kinds))
            corpus += generate({name}, count, Random(f"{seed}/{name}"), asked)
        return corpus
    for domain, count in apportion(size).items():
        classics = [c for c in CLASSICS if c["domain"] == domain] if size >= CLASSICS_FROM else []
        asked.update(classic["question"] for classic in classics)
        corpus += [dict(classic) for classic in classics]
        some = KINDS[domain].keys() - set(without)
        corpus += generate(some, count - len(classics), Random(f"{seed}/{domain}"), asked)
    return corpus


def apportion(size: int) -> dict[str, int]:
    """How many of `size` problems each domain gets: its share of the published data by largest remainder."""
    total = sum(CARD_COUNTS.values())
    quotas = {domain: Fraction(size * published, total) for domain, published in CARD_COUNTS.items()}
    counts = {domain: int(quota) for domain, quota in quotas.items()}
    by_remainder = sorted(CARD_COUNTS, key=lambda domain: counts[domain] - quotas[domain])
    for domain in by_remainder[: size - sum(counts.values())]:
        counts[domain] += 1
    return counts


def generate(kinds: Collection[str], count: int, rng: Random, asked: set[str]) -> list[dict[str, str]]:
    """`count` problems of the kinds in turn, with questions not yet in `asked`, which grows."""
    alive = [(name, make) for some in KINDS.values() for name, make in some.items() if name in kinds]
    rng.shuffle(alive)  # a small corpus should not always hold the same kinds
    problems: list[dict[str, str]] = []
    while len(problems) < count:
        if not alive:
            raise ValueError(
                f"{', '.join(sorted(kinds))} supplied only {len(problems)} distinct questions, {count} were wanted; "
                "ask for a smaller corpus or add kinds"
            )
        name, make = alive.pop(0)
        drawn = (make(rng) for _ in range(PATIENCE))
        problem = next((problem for problem in drawn if problem.question not in asked), None)
        if problem is None:
            continue  # spent: it does not come back
        asked.add(problem.question)
        problems.append(
            {
                "question": problem.question,
                "cot": "\n".join(problem.steps),
                "response": problem.response,
                "domain": DOMAIN_OF[name],
                "kind": name,
            }
        )
        alive.append((name, make))
    return problems
