"""Upstreams that do as they are told, and a proxy before them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
from tests.unit.gateway.upstream.clients.raw_server import PATIENCE, RawServer, Wire, chunk, serving

from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.upstream.clients.base import CallError
from tiny_dancer.gateway.upstream.clients.connect import connect
from tiny_dancer.gateway.upstream.deployments import Deployment, ServedModel, UpstreamServer
from tiny_dancer.gateway.upstream.dialect import Call
from tiny_dancer.gateway.upstream.proxy import Attempts, Proxy, Streaming, Whole, settle_stream
from tiny_dancer.resilience import Category

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def answer(status: int, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"content-type: {kind}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def refusal(status: int, *headers: str, code: str | None = None, message: str = "no") -> bytes:
    error = {"message": message, "type": "x", "param": None, "code": code}
    return answer(status, json.dumps({"error": error}).encode(), *headers)


DEEP = b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
CONTENT = b'data: {"id":"c","choices":[{"delta":{"content":"x"}}]}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream\r\ntransfer-encoding: chunked\r\n\r\n"
OUTCOMES = {
    "ok": answer(200, b'{"id":"a","choices":[{}]}'),
    "stream": STREAM + chunk(b": wait\n\n") + chunk(CONTENT) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    "empty stream": STREAM + chunk(b": wait\n\n") + b"0\r\n\r\n",
    "cut stream": STREAM + chunk(b": wait\n\n"),
    "cut content": STREAM + chunk(CONTENT),
    "error in a stream": STREAM + chunk(b'data: {"error":{"message":"no"}}\n\n') + b"0\r\n\r\n",
    "deep stream": STREAM + chunk(b"data: " + DEEP + b"\n\n") + b"0\r\n\r\n",
    "429": refusal(429),
    "429 later": refusal(429, "retry-after: 3600"),
    "429 soon": refusal(429, "retry-after-ms: 5"),
    **{str(status): refusal(status) for status in (404, 405, 409, 413, 422, 501)},
    "500": refusal(500),
    "503": refusal(503, "retry-after-ms: 1"),
    "400": refusal(400),
    "401": refusal(401, message="bad key sk-upstream"),
    "403": refusal(403),
    "too long": refusal(400, code="context_length_exceeded"),
    "redirect": answer(302, b"", "location: http://127.0.0.1/"),
    "bad JSON": answer(200, b"{"),
    "no answer": answer(200, b'{"id":"a"}'),
    "deep JSON": answer(200, DEEP),
    "deep error": answer(500, DEEP),
    "garbage": b"garbage\r\n\r\n",
    "close": b"",
}
GOOD = ("ok", "stream")


class Upstream:
    """Answers each request with the next outcome of its script, then with the usual one.

    ``hang`` says nothing more, and sets ``hanging``."""

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.script: list[str] = []
        self.usual = "ok"
        self.requests: list[dict[str, Any]] = []
        self.heads: list[bytes] = []
        self.hanging = asyncio.Event()
        self.gone = asyncio.Event()

    async def serve(self, wire: Wire) -> None:
        while True:
            self.requests.append(json.loads(await wire.request()))
            self.heads.append(wire.head)
            outcome = self.script.pop(0) if self.script else self.usual
            streams = self.requests[-1].get("stream") is True
            if outcome == "hang":
                self.hanging.set()
                await wire.gone()
                self.gone.set()
                return
            if outcome == "reset":
                wire.reset()
                return
            if outcome in GOOD:
                outcome = "stream" if streams else "ok"
            await wire.send(OUTCOMES[outcome])
            if outcome in ("close", "cut stream", "cut content", "garbage"):
                return


class World:
    """Upstreams by name, and models at them. Made in a running loop."""

    def __init__(self, upstreams: dict[str, Upstream], **retries: Any) -> None:
        self.upstreams = upstreams
        self.retries = config.Retries(**{"base": 0.001, "longest": 0.01, **retries})
        self.proxy = Proxy(self.retries)
        self.servers: dict[str, UpstreamServer] = {}
        self.deployments: list[Deployment] = []
        self.incoming = incoming()

    def model(self, name: str, *at: str, breaker: config.Breaker | None = None, **settings: Any) -> ServedModel:
        limits = settings.pop("limits", {})
        made = []
        for each in at:
            if each not in self.servers:
                url = f"http://127.0.0.1:{self.upstreams[each].server.port}/v1"
                upstream = config.Upstream(base_url=url, **settings.pop("upstream", {}))
                self.servers[each] = UpstreamServer(each, upstream, connect(upstream))
            described = config.Deployment(upstream=each, model=f"{name}@{each}", **limits)
            made.append(Deployment(name, described, self.servers[each], breaker or config.Breaker()))
        self.deployments += made
        return ServedModel(name, config.Model(deployments=[each.settings for each in made], **settings), made)

    async def send(
        self, *models: ServedModel, done: Attempts | None = None, request: Call | None = None
    ) -> Whole | Streaming:
        done = done or Attempts()
        found, token = await self.proxy.send(models, request or self.incoming, (), done, None)
        if type(found) is Streaming:
            assert done.deployment is not None
            category = None
            try:
                while await found.reply.chunk() is not None:
                    pass
            except CallError:
                category = Category.UPSTREAM
            finally:
                settle_stream(done.deployment, "chat.completions", token, category)
                await found.reply.close()
        return found

    def held(self) -> dict[str, int]:
        """What nobody should hold when nothing is under way."""
        found = {}
        for each in self.deployments:
            found[f"{each.model} at {each.server.name}"] = each.status().in_flight
            found[f"probes of {each.model} at {each.server.name}"] = (
                each.breaker("chat.completions").status().probes
            )
            found[each.server.name] = each.server.limits.gate.inside
        return {name: count for name, count in found.items() if count}


def incoming(stream: bool = False, endpoint: Any = "chat.completions", **more: Any) -> Call:
    body = {"messages": [{"role": "user", "content": "x"}], **more, **({"stream": True} if stream else {})}
    fields = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()}
    return Call(endpoint, fields, stream)


def run(use: Callable[[World], Awaitable[None]], *names: str, **retries: Any) -> None:
    """Upstreams of these names, and nothing held afterwards."""

    async def main() -> None:
        upstreams: dict[str, Upstream] = {}
        open_servers = []
        try:
            for name in names or ("a",):

                async def script(wire: Wire, name: str = name) -> None:
                    await upstreams[name].serve(wire)

                manager = serving(script)
                server = await manager.__aenter__()
                open_servers.append(manager)
                upstreams[name] = Upstream(server)
            world = World(upstreams, **retries)
            async with asyncio.timeout(PATIENCE):
                await use(world)
            assert world.held() == {}
            for each in world.servers.values():
                await each.client.close()
        finally:
            for manager in reversed(open_servers):
                await manager.__aexit__(None, None, None)

    asyncio.run(main())


def calls(world: World) -> dict[str, int]:
    return {name: len(each.requests) for name, each in world.upstreams.items() if each.requests}
