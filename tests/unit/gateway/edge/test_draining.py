"""A server that ends loses no request, and waits for none longer than it may."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from tests.unit.gateway.edge.edges import POST, Client, place, run


def test_a_drain_answers_what_waits_and_what_is_on_its_way() -> None:
    async def test() -> None:
        async with place() as found:
            idle, busy = await found.connect(), await found.connect()
            await idle.send(POST + b"Content-Length: 0\r\n\r\n")
            await idle.answer()
            await busy.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            await found.application.started.wait()
            waiting: list[socket.socket] = []

            async def connect_and_drain() -> None:
                # Without a turn of the loop in between, which would accept them.
                for _ in range(20):
                    waiting.append(socket.create_connection(("127.0.0.1", found.port)))
                await found.server.drain(20.0, asyncio.Event(), last=False)

            draining = asyncio.ensure_future(connect_and_drain())
            await found.until(lambda: len(waiting) == 20)
            await idle.send(POST + b"Content-Length: 2\r\n\r\nhi")
            status, headers, _ = await idle.answer()
            assert (status, headers["connection"]) == (200, "close")
            for each in waiting:
                each.setblocking(False)
                client = Client(*await asyncio.open_connection(sock=each))
                found.clients.append(client)
                await client.send(POST + b"Content-Length: 4\r\n\r\nwait")
                status, headers, body = await client.answer()
                assert (status, headers["connection"], json.loads(body)["body"]) == (200, "close", "wait")
            with pytest.raises(ConnectionError):
                await found.connect()
            assert not draining.done()
            found.application.release.set()
            status, headers, _ = await busy.answer()
            assert (status, headers["connection"]) == (200, "close")
            await draining
            assert not found.server.state.tasks

    run(test)


@pytest.mark.parametrize("hurried", [True, False])
def test_a_drain_cuts_what_does_not_end(hurried: bool) -> None:
    async def test() -> None:
        async with place() as found:
            client = await found.connect()
            await client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            await found.application.started.wait()
            at_once = asyncio.Event()
            draining = asyncio.ensure_future(found.server.drain(1_000 if hurried else 0.2, at_once))
            if hurried:
                at_once.set()
            assert (await client.rest()).endswith(b"5\r\nfirst\r\n3\r\ncut\r\n0\r\n\r\n")
            await draining

    run(test)
