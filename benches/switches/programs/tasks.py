"""Tasks of asyncio that yield, and two that hand over to each other through futures.

Arguments: `yield TASKS ROUNDS` or `hand-over 2 ROUNDS`. Prints the number of switches, and the
nanoseconds that they took.
"""

import asyncio
import sys
from time import perf_counter_ns


async def yield_(tasks, rounds):
    """Each task yields `rounds` times. The clock starts when all tasks have started, and stops when
    the last has returned from its last counted yield."""
    arrived = left = switches = 0
    begun = ended = None

    async def task():
        nonlocal arrived, left, switches, begun, ended
        arrived += 1
        if arrived == tasks:
            begun = perf_counter_ns()
        for _ in range(rounds):
            await asyncio.sleep(0)
            switches += 1
        left += 1
        if left == tasks:
            ended = perf_counter_ns()
        # No task ends while the clock runs.
        await asyncio.sleep(0)

    for running in [asyncio.create_task(task()) for _ in range(tasks)]:
        await running
    return switches, ended - begun


async def hand_over(rounds):
    """The main task and another one. Each sets the future of the other, and then waits for its own.
    There are two hand-overs per round."""
    loop = asyncio.get_running_loop()
    there, back = loop.create_future(), loop.create_future()
    answered = returned = 0

    async def answers():
        nonlocal there, answered
        while await there:
            there = loop.create_future()
            answered += 1
            back.set_result(True)

    other = asyncio.create_task(answers())
    # The other task starts, and waits.
    await asyncio.sleep(0)
    begun = perf_counter_ns()
    for _ in range(rounds):
        there.set_result(True)
        await back
        back = loop.create_future()
        returned += 1
    took = perf_counter_ns() - begun
    there.set_result(False)
    await other
    return answered + returned, took


def run(shape, tasks, rounds):
    return asyncio.run(yield_(tasks, rounds) if shape == "yield" else hand_over(rounds))


shape, tasks, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# A warm-up.
run(shape, tasks, rounds // 10 + 1)
print(*run(shape, tasks, rounds))
