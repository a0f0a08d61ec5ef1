"""The yardstick: the least a gateway on this stack can do, which is to pass bytes on. No routing, no accounting.

TARGET=http://127.0.0.1:9001/v1/chat/completions uvicorn --app-dir benchmarks/load passthrough:app
"""

from __future__ import annotations

import os
from typing import Any

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import Url

JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]


class App:
    def __init__(self) -> None:
        self.url = Url(os.environ["TARGET"])
        self.client: Client | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.client = ClientBuilder().no_proxy().gzip(False).brotli(False).zstd(False).deflate(False).build()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert self.client is not None
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        request = self.client.post(self.url).header("content-type", "application/json").body_bytes(body)
        if b'"stream":true' not in body:
            answer = await request.build().send()
            out = bytes(await answer.bytes())
            head = [*JSON, (b"content-length", b"%d" % len(out))]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            await send({"type": "http.response.body", "body": out})
            return
        async with request.streamed_read_buffer_limit(0).build_streamed() as streamed:
            await send({"type": "http.response.start", "status": streamed.status, "headers": EVENTS})
            while (chunk := await streamed.body_reader.read_chunk()) is not None:
                await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
            await send({"type": "http.response.body", "body": b""})


app = App()
