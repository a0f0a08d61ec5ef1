"""A gateway on a real socket, in front of two stand-in upstreams."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import httpx
import uvloop
import yaml

from tiny_dancer.gateway.app import Gateway
from tiny_dancer.gateway.configuration.check import load_gateway
from tiny_dancer.gateway.edge.connections import Lifespan, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.gateway_upstream import Upstream

TIMEOUT = 30.0
EASY = "Hi there, how are you?"
HARD = "If a train leaves at 9 and another at 10, unless it rains, which arrives first, and why?"
SMALL = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7}
LARGE = {"input_cost_per_token": 1e-5, "output_cost_per_token": 3e-5, "cache_read_input_token_cost": 1e-6}


def settings(cheap: Upstream, strong: Upstream, **more: Any) -> dict[str, Any]:
    """``gateway.yaml`` with a cheap model, ``small``, and a dear one, ``large``; ``more`` replaces keys."""
    return {
        "storage": "gateway.db",
        "upstreams": {
            "cheap": {"base_url": cheap.url, "api_key": "sk-of-cheap"},
            "strong": {"base_url": strong.url, "api_key": "sk-of-strong"},
        },
        "models": {
            "small": {
                **SMALL,
                "deployments": [{"upstream": "cheap", "model": "vendor/small-1"}],
                "context_window": 4096,
            },
            "large": {
                **LARGE,
                "deployments": [{"upstream": "strong", "model": "vendor/large-1"}],
                "context_window": 100_000,
            },
        },
        "routers": {"default": {"models": {"weak": "small", "strong": "large"}}},
        "retries": {"attempts": 1},
        "log": {"requests": "off"},
        **more,
    }


def written(content: dict[str, Any], folder: Path) -> Path:
    """A file with this content."""
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


class Serving:
    """A gateway that serves, in a thread of this process.

    Attributes:
        gateway: the application.
        folder: where its configuration and database are.
        url: up to and with ``/v1``.
        http: a client of it.
    """

    def __init__(self, content: dict[str, Any], folder: Path) -> None:
        self.folder = folder
        self.config = load_gateway(written(content, folder))
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.http = httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._started.wait(0.05):
            assert self._thread.is_alive(), "the gateway did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), "the gateway did not stop"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.gateway = Gateway(self.config, folder=self.folder)
        lifespan, server = (
            Lifespan(self.gateway),
            Server(self.gateway, self.config.limits, self.gateway.page_headers),
        )
        await lifespan.start()
        await server.start(self._socket)
        self._started.set()
        await self._end.wait()
        await server.drain(0, self._end)
        await lifespan.stop()

    def chat(
        self, text: str = EASY, *, model: str = "small", headers: Any = None, **fields: Any
    ) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.http.post("/chat/completions", json=body, headers=headers)

    def wake(self) -> None:
        """Ends the rests that 429s have asked for."""
        for model in self.gateway.services.serving.models.values():
            for deployment in model.deployments:
                deployment._rests_until = -math.inf

    def states(self) -> dict[str, str]:
        """State of the breaker, by model."""
        return {each.model: each.state for each in self.gateway.status().deployments}


def events(body: bytes | str) -> list[str]:
    """The data of each server-sent event."""
    text = body.decode() if isinstance(body, bytes) else body
    return [event.partition("data: ")[2] for event in text.split("\n\n") if "data: " in event]


def text_of(body: bytes | str) -> str:
    """The text of a streamed chat completion."""
    chunks = [json.loads(each) for each in events(body) if each != "[DONE]"]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", []))


def streamed(response: httpx.Response) -> Iterator[str]:
    """The data of each event as it arrives."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line[6:]
