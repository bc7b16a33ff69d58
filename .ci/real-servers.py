"""Servers and clients in Python, for `.ci/real-servers`.

A server prints `listening at 127.0.0.1:PORT`, and serves until it is killed. A client gets this
address as its argument, fails if an answer is not the right one, and prints what it did.
"""

import asyncio
import sys


def listening(port):
    print(f"listening at 127.0.0.1:{port}", flush=True)


def equal(answer, expected):
    if answer != expected:
        sys.exit(f"{expected!r} expected, not {answer!r}")


async def websockets_server():
    """Sends each message back."""
    from websockets.asyncio.server import serve

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        listening(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def websockets_client(address):
    from websockets.asyncio.client import connect

    async with connect(f"ws://{address}/") as socket:
        for message in ["hello", bytes(100_000)]:
            await socket.send(message)
            equal(await socket.recv(), message)
        await (await socket.ping())
    equal((socket.close_code, socket.close_reason), (1000, ""))
    print("Python's websockets: a text, 100,000 bytes, a ping, an orderly end")


async def aiohttp_server():
    """Answers requests, and sends each message of a websocket back."""
    from aiohttp import WSMsgType, web

    async def answer(request):
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(text="hello")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listening(runner.addresses[0][1])
    await asyncio.Event().wait()


async def axum_client(address):
    """Requests to the program `axum`, fifty of them at a time."""
    from aiohttp import ClientSession

    async with ClientSession(f"http://{address}") as session:

        async def get(path):
            async with session.get(path) as response:
                return response.status, await response.text()

        equal(await get("/gathered"), (200, "[3, 1, 2]"))
        equal(await get("/streamed"), (200, "1\n2\n"))
        equal((await get("/slow"))[0], 504)
        equal((await get("/spawned/tea"))[0], 400)
        equal((await get("/tea"))[0], 404)
        visits = await asyncio.gather(*(get("/visits") for _ in range(50)))
        equal(sorted(int(text) for _, text in visits), list(range(1, 51)))
    print("Python's aiohttp: results, a stream, errors, fifty requests at a time")


async def grpc_server():
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    listening(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


async def grpc_client(address):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def check(service):
            try:
                return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
            except grpc.aio.AioRpcError as error:
                return error.code()

        serving = health_pb2.HealthCheckResponse.SERVING
        services = ["lock", "thread", "timeout", "tea"]
        equal(
            await asyncio.gather(*map(check, services)),
            [serving, serving, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND],
        )
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        equal([response.status async for response in watched], [serving] * 3)
    print("Python's grpcio: four calls at a time, a stream of three")


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
