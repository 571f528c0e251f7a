import math

from discnb.exercises import hint
from discnb.exercises.foundations import SELF_QUOTING

ANSWERS = {
    "discrepancy-mass": (3, [0, 0.3, 30]),
    "discrepancy-lattice": ([0.75, 0.75], [[1.0, 1.5], [0.75], [1, 0, 3]]),
    "discrepancy-cantor": (1 - math.log(2) / math.log(3), [0, 1, math.log(2) / math.log(3)]),
    "data-span": (SELF_QUOTING["cot"], ["Two and two.", "", SELF_QUOTING["cot"] + "\n\nFinal Answer:\n4"]),
    "data-overlap": ([False, True, False, True], [[False, True, True, True], [False, False, False, True], [True]]),
    "data-split": (307, [306, 306.1, 5815]),
    "teacher-bytes": (4096, [2048, 8192, 151936]),
    "teacher-memory": (16, [4, 8, 12]),
    "teacher-layers": ([0, 10, 19, 29], [[0, 1, 2, 3], [0, 10, 20, 29], [26, 27, 28, 29]]),
}


def test_the_answer_that_stops_at_the_proofs_own_final_answer_is_told_so():
    assert "does not end at" in hint("data-span", "Two and two.")
