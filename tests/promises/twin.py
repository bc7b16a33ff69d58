"""The programs of tests/promises.rs in asyncio. To write their traces, run
`PYENV_VERSION=3.13.0 python3 tests/promises/twin.py > tests/promises/traces.txt`.

Each line of a trace begins with the turn, which a task counts. On a virtual clock it begins with
the second.
"""

import asyncio
from asyncio import FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError, create_task, gather, sleep

log, turn = [], 0


def say(text):
    log.append(f"{turn} {text}")


async def metronome():
    global turn
    while True:
        turn += 1
        await sleep(0)


def promise():
    return asyncio.get_running_loop().create_future()


def tell(name, future):
    """Logs when a callback of the future is called, and how the future has ended."""
    future.add_done_callback(lambda f: say(f"{name} is {'cancelled' if f.cancelled() else f.result()}"))


async def turns(count):
    for _ in range(count):
        await sleep(0)


async def worker(name, count):
    """Returns its name after some turns, or logs that it was cancelled."""
    try:
        await turns(count)
    except CancelledError:
        say(f"{name} cleans up")
        raise
    return name


async def follow(name, future):
    """Awaits the future, and logs its result."""
    try:
        say(f"{name}: {await future}")
    except CancelledError:
        say(f"{name}: cancelled")
        raise
    except ValueError as error:
        say(f"{name}: failed, {error}")


async def follow_wait(name, names, **options):
    done, pending = await asyncio.wait(list(names), **options)
    by_name = lambda some: " ".join(name for future, name in names.items() if future in some)
    say(f"{name}: done {by_name(done)}, pending {by_name(pending)}")


async def follow_completed(name, results):
    async for future in results:
        say(f"{name}: {'cancelled' if future.cancelled() else await future}")
    say(f"{name}: over")


async def gather_mixed():
    p, q = promise(), promise()
    tell("p", p)
    g = create_task(follow("g", gather(p, create_task(worker("t", 2)), q)))
    tell("q", q)
    create_task(follow("r", q))
    await turns(2)
    q.set_result("Q")
    tell("q at once", q)
    await turns(3)
    p.set_result("P")
    await g


async def gather_set_in_one_turn():
    p, q = promise(), promise()
    create_task(follow("g", gather(p, q)))
    create_task(follow("h", gather(q, p)))
    create_task(follow("p", p))
    await turns(1)
    tell("p", p)
    q.set_result("Q")
    p.set_result("P")
    await turns(4)


async def gather_done():
    p, q, r = promise(), promise(), promise()
    p.set_result("P")
    q.set_result("Q")
    await follow("both", gather(p, q))
    await follow("none", gather(return_exceptions=True))
    r.cancel()
    tell("r", r)
    g = create_task(follow("cancelled", gather(p, r, promise())))
    await turns(3)
    await follow("all", asyncio.wait_for(gather(p, q), 5))
    s = promise()
    create_task(follow("half", gather(p, s)))
    await turns(2)
    s.set_result("S")
    await turns(4)


async def gather_duplicates():
    p, q = promise(), promise()
    create_task(follow("g", gather(p, q, p, p)))
    await turns(1)
    p.set_result("P")
    tell("p", p)
    await turns(2)
    q.set_result("Q")
    await turns(4)


async def gather_child_cancelled():
    p, q = promise(), promise()
    create_task(follow("g", gather(p, q)))
    all = create_task(follow_all("a", gather(q, p, return_exceptions=True)))
    await turns(2)
    tell("p", p)
    p.cancel()
    await turns(3)
    say(f"q is done: {q.done()}")
    q.set_result("Q")
    await turns(4)


async def follow_all(name, future):
    try:
        results = await future
    except CancelledError:
        say(f"{name}: cancelled")
        raise
    say(f"{name}: {' '.join('cancelled' if isinstance(r, CancelledError) else str(r) for r in results)}")


async def gather_outer_cancelled():
    p, q = promise(), promise()
    t, u = create_task(worker("t", 9)), create_task(worker("u", 9))
    create_task(follow("q", q))
    await turns(1)
    g = create_task(follow("g", gather(p, t, q, u)))
    await turns(1)
    tell("p", p), tell("q", q), tell("t", t), tell("u", u)
    await turns(1)
    say(f"cancel {g.cancel()}, p is done: {p.done()}, t is done: {t.done()}")
    await turns(5)
    say(f"g is cancelled: {g.cancelled()}")


async def gather_all_outer_cancelled():
    p, q = promise(), promise()
    stubborn = create_task(resist())
    g = create_task(follow_all("g", gather(p, stubborn, q, return_exceptions=True)))
    await turns(2)
    tell("p", p), tell("q", q)
    g.cancel()
    await turns(7)
    say(f"g is cancelled: {g.cancelled()}")


async def resist():
    try:
        await promise()
    except CancelledError:
        await turns(3)
        say("t has resisted")
    return "t"


async def gather_outer_cancelled_when_all_are_done():
    p, q = promise(), promise()
    g = create_task(follow("g", gather(p, q)))
    await turns(2)
    p.set_result("P")
    q.set_result("Q")
    tell("q", q)
    g.cancel()
    await turns(5)
    say(f"g is cancelled: {g.cancelled()}")


async def gather_outer_cancelled_twice():
    p = promise()
    t = create_task(resist())
    g = create_task(follow("g", gather(t, p)))
    await turns(2)
    tell("p", p)
    g.cancel()
    g.cancel()
    await turns(7)
    say(f"g is cancelled: {g.cancelled()}")


async def gather_shared():
    p, q = promise(), promise()
    g = create_task(follow("g", gather(p, q)))
    create_task(follow("h", gather(q, p)))
    await turns(2)
    g.cancel()
    await turns(6)
    say(f"g {g.cancelled()}, p {p.cancelled()}, q {q.cancelled()}")


async def gather_with_an_error():
    p, q = promise(), promise()
    create_task(follow("g", gather(p, q)))
    await turns(2)
    tell("q", q)
    p.set_exception(ValueError("no"))
    q.set_result("Q")
    await turns(4)


async def gather_in_a_cleanup():
    p, q, r = promise(), promise(), promise()

    async def clean_up(name, *futures):
        try:
            await promise()
        finally:
            await follow(name, gather(*futures))

    c = create_task(clean_up("c", p, q))
    d = create_task(clean_up("d", q, r))
    await turns(2)
    c.cancel(), d.cancel()
    await turns(2)
    tell("p", p)
    p.set_result("P")
    await turns(2)
    d.cancel()
    say(f"q is cancelled: {q.cancelled()}")
    await turns(5)
    say(f"c {c.cancelled()}, d {d.cancelled()}, r {r.cancelled()}")


async def wait_for_the_first():
    p, q = promise(), promise()
    t = create_task(worker("t", 3))
    names = {p: "p", t: "t", q: "q"}
    create_task(follow_wait("first", names, return_when=FIRST_COMPLETED))
    create_task(follow_wait("all", names))
    await turns(2)
    tell("q", q)
    q.set_result("Q")
    await turns(3)
    p.cancel()
    tell("p", p)
    await turns(4)


async def wait_for_those_done():
    p, q = promise(), promise()
    p.set_result("P")
    create_task(follow_wait("first", {p: "p", q: "q"}, return_when=FIRST_COMPLETED))
    create_task(follow_wait("one", {p: "p"}))
    await turns(1)
    tell("p", p)
    await turns(3)
    create_task(follow_wait("both", {p: "p", q: "q"}))
    await turns(2)
    q.set_result("Q")
    await turns(4)


async def wait_for_an_error():
    p, q, r = promise(), promise(), promise()
    create_task(follow_wait("e", {p: "p", q: "q", r: "r"}, return_when=FIRST_EXCEPTION))
    await turns(2)
    p.set_result("P")
    await turns(3)
    q.set_exception(ValueError("no"))
    await turns(4)
    create_task(follow_wait("c", {p: "p", r: "r"}, return_when=FIRST_EXCEPTION))
    await turns(2)
    r.cancel()
    await turns(4)


async def wait_cancelled():
    p = promise()
    w = create_task(follow_wait("w", {p: "p"}))
    await turns(2)
    w.cancel()
    await turns(2)
    say(f"w is cancelled: {w.cancelled()}, p is done: {p.done()}")


async def completed():
    p, q = promise(), promise()
    t = create_task(worker("t", 2))
    create_task(follow_completed("c", asyncio.as_completed([p])))
    create_task(follow_completed("d", asyncio.as_completed([q, q])))
    await turns(3)
    q.set_result("Q")
    tell("q", q)
    await turns(3)
    p.cancel()
    await turns(4)
    create_task(follow_completed("done", asyncio.as_completed([q])))
    await turns(4)
    create_task(follow_completed("t", asyncio.as_completed([t])))
    await turns(4)


async def completed_cancelled():
    p = promise()
    c = create_task(follow_completed("c", asyncio.as_completed([p])))
    await turns(2)
    c.cancel()
    await turns(2)
    say(f"c is cancelled: {c.cancelled()}, p is done: {p.done()}")


# ---- on a virtual clock ----


async def time_wait():
    p, q = promise(), promise()
    later(1, p)
    await follow_wait("w", {p: "p", q: "q"}, timeout=2)
    await follow_wait("f", {q: "q"}, timeout=2)
    later(1, q)
    await follow_wait("l", {q: "q"}, timeout=2)


async def time_completed():
    p, q, r = promise(), promise(), promise()
    later(2, p), later(1, q)
    try:
        await follow_completed("c", asyncio.as_completed([p, q, r], timeout=3))
    except TimeoutError:
        say("time is up")
    say(f"r is done: {r.done()}")


async def time_of_a_gather():
    p, q = promise(), promise()
    later(1, p)
    try:
        await asyncio.wait_for(gather(p, q), 2)
    except TimeoutError:
        say(f"p is {p.result()}, q is cancelled: {q.cancelled()}")
    r, s = promise(), promise()
    try:
        async with asyncio.timeout(1):
            await gather(r, create_task(worker_of_time()), s)
    except TimeoutError:
        say(f"r {r.cancelled()}, s {s.cancelled()}")


async def worker_of_time():
    try:
        await sleep(9)
    except CancelledError:
        await sleep(1)
        say("cleaned up")
        raise


def later(seconds, future):
    asyncio.get_running_loop().call_later(seconds, lambda: future.set_result(seconds))


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        super().__init__()
        self.now = 0
        self._selector.select = self.select

    def time(self):
        return self.now

    def select(self, timeout):
        global turn
        if timeout:
            self.now += timeout
            turn = round(self.now)
        return []


async def with_metronome(program):
    create_task(metronome())
    await sleep(0)
    await program()


for name, program in list(globals().items()):
    if asyncio.iscoroutinefunction(program) and name.split("_")[0] in ("gather", "wait", "completed", "time"):
        if name in ("gather",):
            continue
        log, turn = [], 0
        is_timed = name.startswith("time")
        loop = VirtualLoop() if is_timed else asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(program() if is_timed else with_metronome(program))
        print(f"== {name}", *log, sep="\n")
