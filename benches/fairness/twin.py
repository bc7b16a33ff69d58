"""Does the same as `src/beside.rs`, on asyncio: timers of 10 ms beside a busy stream.

Usage: twin.py reads|writes|both. Prints the lateness of each timer in microseconds, on one line.
"""

import asyncio
import contextlib
import socket
import sys
import threading
import time

TIMERS, EACH, SIZE = 100, 0.01, 64 * 1024


def send(peer):
    with contextlib.suppress(OSError):
        while True:
            peer.sendall(bytes(SIZE))


def receive(peer):
    memory = bytearray(SIZE)
    with contextlib.suppress(OSError):
        while peer.recv_into(memory):
            pass


def connected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


async def read_on(reader):
    while await reader.read(SIZE):
        pass


async def write_on(writer):
    while True:
        writer.write(bytes(SIZE))
        await writer.drain()


async def main(what):
    ours, peer = connected()
    reader, writer = await asyncio.open_connection(sock=ours)
    busy = []
    if what in ("reads", "both"):
        threading.Thread(target=send, args=(peer,), daemon=True).start()
        busy.append(asyncio.create_task(read_on(reader)))
    if what in ("writes", "both"):
        threading.Thread(target=receive, args=(peer,), daemon=True).start()
        busy.append(asyncio.create_task(write_on(writer)))
    late = []
    for _ in range(TIMERS):
        begun = time.monotonic()
        await asyncio.sleep(EACH)
        late.append(time.monotonic() - begun - EACH)
    print(*(max(0, round(it * 1e6)) for it in late))
    sys.stdout.flush()
    for task in busy:
        task.cancel()
    peer.close()


asyncio.run(main(sys.argv[1]))
