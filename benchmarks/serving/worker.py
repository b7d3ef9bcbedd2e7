"""The side of a measured process: it runs an arm's requests when told to, and says how long each.

Lines in: `<arm> <first request> <how many>`; lines out: nanoseconds as JSON. Nothing but the
standard library is imported, so that the peer's process needs no part of recmtl.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping

Arm = Callable[[int], object]


def work(arms: Mapping[str, Arm], facts: Mapping[str, object]) -> None:
    """Announce the facts, then serve lines until the input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    answers.write(json.dumps(facts) + "\n")
    answers.flush()
    for line in sys.stdin:
        name, first, count = line.split()
        arm, times = arms[name], []
        for number in range(int(first), int(first) + int(count)):
            began = time.perf_counter_ns()
            arm(number)
            times.append(time.perf_counter_ns() - began)
        answers.write(json.dumps(times) + "\n")
        answers.flush()
