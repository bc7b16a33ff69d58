"""Random programs of promises in gathers, waits and as_completed, with their traces under CPython.
Each line of the file is a program with its trace. To write the file, run
`PYENV_VERSION=3.13.0 python3 tests/promises/random_programs.py [seed [count]]
> tests/promises/random_programs.jsonl`.
"""

import asyncio
import json
import random
import sys
from asyncio import CancelledError, create_task, sleep

KINDS = ["gather", "gather", "gather_all", "first", "all", "exception", "completed", "await", "shield"]


class Unfit(Exception):
    """The order depends on a Python set, or a cancelled coroutine goes on. No task of onelane does."""


def make(chance):
    promises, workers = chance.randint(1, 4), chance.randint(0, 2)
    children, followers, steps = promises + workers, 0, []
    for _ in range(chance.randint(3, 9)):
        acts = []
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            act = chance.choice(["start", "start", "start", "set", "set", "fail", "cancel", "cancel", "stop", "tell"])
            if act == "start":
                kind = chance.choice(KINDS)
                count = 1 if kind in ("await", "shield") else chance.randint(1, 4)
                of = promises if kind in ("await", "shield") else children
                acts.append([act, kind, [chance.randrange(of) for _ in range(count)]])
                followers += 1
            elif act == "stop":
                if followers:
                    acts.append([act, chance.randrange(followers)])
            elif act == "cancel":
                acts.append([act, chance.randrange(children)])
            else:
                acts.append([act, chance.randrange(promises)])
        steps.append(acts)
    return {
        "promises": promises,
        "workers": [[chance.randint(1, 6), chance.random() < 0.4] for _ in range(workers)],
        "steps": steps,
    }


def run(program):
    log, turn = [], 0

    def say(text):
        log.append(f"{turn} {text}")

    async def metronome():
        nonlocal turn
        while True:
            turn += 1
            await sleep(0)

    async def turns(count):
        for _ in range(count):
            await sleep(0)

    async def worker(name, count, resists):
        if resists:
            try:
                await asyncio.get_running_loop().create_future()
            except CancelledError:
                say(f"{name} resists")
            await turns(count)
            return name
        try:
            await turns(count)
        except CancelledError:
            say(f"{name} cleans up")
            raise
        return name

    def printed(child):
        if not child.done():
            return "pending"
        if child.cancelled():
            return "cancelled"
        return "failed" if child.exception() else child.result()

    def tell(name, child):
        child.add_done_callback(lambda child: say(f"{name} is {printed(child)}"))

    def value(result):
        match result:
            case CancelledError():
                return "cancelled"
            case ValueError():
                return "failed"
            case str():
                return result

    stopped = set()

    async def follow(name, kind, which, children):
        some = [children[n] for n in which]
        try:
            match kind:
                case "gather":
                    outcome = " ".join(await asyncio.gather(*some))
                case "gather_all":
                    results = await asyncio.gather(*some, return_exceptions=True)
                    outcome = " ".join(map(value, results))
                case "first" | "all" | "exception":
                    when = {"first": "FIRST_COMPLETED", "all": "ALL_COMPLETED", "exception": "FIRST_EXCEPTION"}
                    done, _ = await asyncio.wait(some, return_when=when[kind])
                    outcome = "done " + " ".join(str(n) for n in sorted(set(which)) if children[n] in done)
                case "completed":
                    if sum(child.done() for child in set(some)) > 1:
                        raise Unfit
                    async for child in asyncio.as_completed(some):
                        say(f"{name}: {printed(child)}")
                    outcome = "over"
                case "await":
                    outcome = await some[0]
                case "shield":
                    outcome = await asyncio.shield(some[0])
        except CancelledError:
            say(f"{name}: cancelled")
            raise
        except ValueError:
            if name in stopped:
                raise Unfit
            say(f"{name}: failed")
        else:
            say(f"{name}: {outcome}")

    async def main():
        create_task(metronome())
        await sleep(0)
        loop = asyncio.get_running_loop()
        children = [loop.create_future() for _ in range(program["promises"])]
        for nth, (count, resists) in enumerate(program["workers"]):
            children.append(create_task(worker(f"w{nth}", count, resists)))
        followers = []
        for acts in program["steps"]:
            for act, *args in acts:
                match act:
                    case "start":
                        followers.append(create_task(follow(f"f{len(followers)}", *args, children)))
                    case "set":
                        children[args[0]].done() or children[args[0]].set_result(f"p{args[0]}")
                    case "fail":
                        children[args[0]].done() or children[args[0]].set_exception(ValueError())
                    case "cancel":
                        say(f"cancel {args[0]}: {children[args[0]].cancel()}")
                    case "stop":
                        if followers[args[0]].cancel():
                            stopped.add(f"f{args[0]}")
                    case "tell":
                        tell(f"p{args[0]}", children[args[0]])
            await sleep(0)
        await turns(12)
        say(" ".join(map(printed, children)))
        for follower in followers:
            if follower.done() and not follower.cancelled() and follower.exception():
                raise follower.exception()
        return list(log)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    return loop.run_until_complete(main())


seed, count = (int(arg) for arg in (sys.argv[1:] + ["1", "400"][len(sys.argv) - 1 :]))
chance = random.Random(seed)
while count:
    program = make(chance)
    try:
        trace = run(program)
    except Unfit:
        continue
    print(json.dumps({**program, "trace": trace}, separators=(",", ":")))
    count -= 1
