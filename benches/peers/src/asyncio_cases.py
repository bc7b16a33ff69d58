"""The cases in Python. Each line of the input is a request for one case. The program runs the case,
and prints the measured value and the number of operations that were done.

Run it as `python3 asyncio_cases.py asyncio` or `python3 asyncio_cases.py uvloop`. Sizes and
operations are those of the Rust cases: `width` things at once, each `rounds` times. A self-wake is
a bare `yield` to the loop, and a waker is a future whose result is set.
"""

import asyncio
import json
import os
import sys
import threading
import time
import tracemalloc

if sys.argv[1] == "uvloop":
    import uvloop as implementation

    version = implementation.__version__
    new_loop = implementation.new_event_loop
else:
    version = ".".join(map(str, sys.version_info[:3]))
    new_loop = asyncio.new_event_loop


class Meter:
    """Measures the difference between start and stop."""

    clock = time.perf_counter_ns

    def start(self):
        self.begun = self.clock()

    def stop(self):
        self.value = self.clock() - self.begun


class CpuMeter(Meter):
    clock = time.process_time_ns


class HeapMeter(Meter):
    clock = staticmethod(lambda: tracemalloc.get_traced_memory()[0])


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class ResidentMeter(Meter):
    """For one sample per process, because freed memory would be reused."""

    clock = staticmethod(resident_bytes)


def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


class Bare:
    """Yields to the loop once."""

    def __await__(self):
        yield


async def spawn_and_await(coroutines):
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    total = 0
    for task in tasks:
        total += await task
    return total


async def one():
    return 1


def yields(pause):
    async def task(rounds, meter):
        await pause()
        if meter:
            meter.start()
        for _ in range(rounds):
            await pause()
        if meter:
            meter.stop()
        await pause()
        return rounds

    def case(width, rounds, meter):
        return run(spawn_and_await(task(rounds, meter if number == 0 else None) for number in range(width)))

    return case


def yield_beside_a_timer(width, rounds, meter):
    async def main():
        timer = asyncio.get_running_loop().call_later(3600, int)

        async def task():
            await Bare()
            meter.start()
            for _ in range(rounds):
                await Bare()
            meter.stop()
            return rounds

        done = await asyncio.create_task(task())
        timer.cancel()
        return done

    return run(main())


def ring(width, rounds, meter):
    async def main():
        loop = asyncio.get_running_loop()
        turns = [loop.create_future() for _ in range(width)]

        async def runner(me):
            following = (me + 1) % width
            for number in range(rounds + 2):
                await turns[me]
                turns[me] = loop.create_future()
                if me == 0 and number == 1:
                    meter.start()
                elif me == 0 and number == rounds + 1:
                    meter.stop()
                if not turns[following].done():
                    turns[following].set_result(None)
            return rounds

        turns[0].set_result(None)
        return await spawn_and_await(runner(me) for me in range(width))

    return run(main())


def spawn(width, rounds, meter):
    async def main():
        total = 0
        meter.start()
        for _ in range(rounds):
            if width == 1:
                total += await asyncio.create_task(one())
            else:
                total += await spawn_and_await(one() for _ in range(width))
        meter.stop()
        return total

    return run(main())


def spawn_recursive(width, rounds, meter):
    async def descend(depth):
        return await asyncio.create_task(descend(depth - 1)) + 1 if depth > 1 else 1

    async def main():
        total = 0
        meter.start()
        for _ in range(rounds):
            total += await asyncio.create_task(descend(width))
        meter.stop()
        return total

    return run(main())


def gather(width, rounds, meter):
    async def child():
        await Bare()
        return 1

    async def main():
        total = 0
        meter.start()
        for _ in range(rounds):
            total += sum(await asyncio.gather(*[child() for _ in range(width)]))
        meter.stop()
        return total

    return run(main())


def oneshot(width, rounds, meter):
    async def main():
        loop = asyncio.get_running_loop()
        enough = width * rounds

        async def play(receiver):
            while True:
                strokes, back = await receiver
                receiver = loop.create_future()
                back.set_result((strokes + 1, receiver))
                if strokes + 1 >= enough:
                    return strokes + 1

        serve, back = loop.create_future(), loop.create_future()
        first, second = asyncio.create_task(play(serve)), asyncio.create_task(play(back))
        meter.start()
        serve.set_result((0, back))
        strokes = min(await first, await second)
        meter.stop()
        return strokes

    return run(main())


def channel_chain(width, rounds, meter):
    async def pass_on(source, sink):
        while (message := await source.get()) is not None:
            await sink.put(message + 1)
        await sink.put(None)

    async def main():
        queues = [asyncio.Queue(1) for _ in range(width + 1)]
        tasks = [asyncio.create_task(pass_on(*ends)) for ends in zip(queues, queues[1:])]

        async def feed():
            for _ in range(rounds):
                await queues[0].put(0)
            await queues[0].put(None)

        meter.start()
        source = asyncio.create_task(feed())
        total = 0
        while (message := await queues[-1].get()) is not None:
            total += message
        meter.stop()
        await source
        for task in tasks:
            await task
        return total

    return run(main())


def timer_create_drop(width, rounds, meter):
    async def main():
        loop = asyncio.get_running_loop()
        done = 0
        meter.start()
        for _ in range(width * rounds):
            loop.call_later(1, int).cancel()
            done += 1
        meter.stop()
        return done

    return run(main())


def sleepers(width, rounds, meter):
    async def sleeper(number):
        await asyncio.sleep(0.1 * (number + 1) / width)
        return 1

    async def main():
        meter.start()
        total = await spawn_and_await(sleeper(number) for number in range(width))
        meter.stop()
        return total

    return run(main())


def foreign_wake(width, rounds, meter):
    bells, answers = threading.Semaphore(0), []

    def answering(loop):
        while True:
            bells.acquire()
            if not answers:
                return
            loop.call_soon_threadsafe(answers.pop().set_result, None)

    async def main():
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=answering, args=(loop,))
        thread.start()

        async def asking():
            done = 0
            meter.start()
            for _ in range(width * rounds):
                answer = loop.create_future()
                answers.append(answer)
                bells.release()
                await answer
                done += 1
            meter.stop()
            return done

        done = await asyncio.create_task(asking())
        bells.release()
        thread.join()
        return done

    return run(main())


def run_ready(width, rounds, meter):
    loop = new_loop()
    meter.start()
    total = 0
    for _ in range(width * rounds):
        total += loop.run_until_complete(one())
    meter.stop()
    loop.close()
    return total


def make_and_run(width, rounds, meter):
    meter.start()
    total = sum(run(one()) for _ in range(width * rounds))
    meter.stop()
    return total


def held(task):
    """Tasks that all wait at the same time."""

    def case(width, rounds, meter):
        async def main():
            tasks = [None] * width
            counted = []
            waiting = [0]
            meter.start()
            for number in range(width):
                tasks[number] = asyncio.create_task(task(waiting))
            while waiting[0] < width * rounds:
                await Bare()
            meter.stop()
            if isinstance(meter, ResidentMeter):
                # Cancelling a million tasks would take longer than everything before.
                answer(meter.value, waiting[0])
                os._exit(0)
            for task_ in tasks:
                task_.cancel()
            await asyncio.wait(tasks)
            return waiting[0]

        if isinstance(meter, HeapMeter):
            tracemalloc.start()
        try:
            return run(main())
        finally:
            tracemalloc.stop()

    return case


async def waits(waiting):
    future = asyncio.get_running_loop().create_future()
    waiting[0] += 1
    await future


async def sleeps(waiting):
    waiting[0] += 1
    await asyncio.sleep(3600)


def own_pause():
    return asyncio.sleep(0)


CASES = {
    "yield-1": yields(Bare),
    "yield-300": yields(Bare),
    "yield-1000": yields(Bare),
    "yield-1-timer": yield_beside_a_timer,
    "own-yield-1": yields(own_pause),
    "own-yield-1000": yields(own_pause),
    "baton": ring,
    "ring-1000": ring,
    "spawn-1": spawn,
    "spawn-1000": spawn,
    "spawn-100000": spawn,
    "spawn-recursive-300": spawn_recursive,
    "spawn-recursive-1000": spawn_recursive,
    "gather-10": gather,
    "gather-100": gather,
    "gather-1000": gather,
    "oneshot": oneshot,
    "channel-chain": channel_chain,
    "timer-create-drop": timer_create_drop,
    "sleepers-100000": sleepers,
    "foreign-wake": foreign_wake,
    "run-ready": run_ready,
    "make-and-run": make_and_run,
    "heap-waiting": held(waits),
    "heap-sleeping": held(sleeps),
    "resident-waiting": held(waits),
    "resident-sleeping": held(sleeps),
}

def answer(value, done):
    print(json.dumps({"value": value, "done": done}), flush=True)


METERS = {"wall": Meter, "cpu": CpuMeter, "heap": HeapMeter, "resident": ResidentMeter}

print(json.dumps({"version": version, "cases": list(CASES)}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    try:
        meter = METERS[request["measure"]]()
        done = CASES[request["case"]](request["width"], request["rounds"], meter)
        answer(meter.value, done)
    except Exception as error:
        print(json.dumps({"error": repr(error)}), flush=True)
