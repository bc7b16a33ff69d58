"""Generators that yield to a queue, and a generator that the main program resumes.

Arguments: `yield TASKS ROUNDS` or `hand-over 2 ROUNDS`. Prints the number of switches, and the
nanoseconds that they took.
"""

import sys
from collections import deque
from time import perf_counter_ns


def yield_(tasks, rounds):
    """Each generator yields `rounds` times. The clock starts when all generators have started, and
    stops when the last has returned from its last counted yield."""
    arrived = left = switches = 0
    begun = ended = None

    def task():
        nonlocal arrived, left, switches, begun, ended
        arrived += 1
        if arrived == tasks:
            begun = perf_counter_ns()
        for _ in range(rounds):
            yield
            switches += 1
        left += 1
        if left == tasks:
            ended = perf_counter_ns()
        # No generator ends while the clock runs.
        yield

    queue = deque(task() for _ in range(tasks))
    while queue:
        first = queue.popleft()
        try:
            next(first)
        except StopIteration:
            continue
        queue.append(first)
    return switches, ended - begun


def hand_over(rounds):
    """The main program resumes the generator, which yields back. There are two hand-overs per
    round."""
    answered = returned = 0

    def answers():
        nonlocal answered
        while True:
            answered += 1
            yield

    other = answers()
    begun = perf_counter_ns()
    for _ in range(rounds):
        next(other)
        returned += 1
    took = perf_counter_ns() - begun
    return answered + returned, took


def run(shape, tasks, rounds):
    return yield_(tasks, rounds) if shape == "yield" else hand_over(rounds)


shape, tasks, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# A warm-up.
run(shape, tasks, rounds // 10 + 1)
print(*run(shape, tasks, rounds))
