"""Gateways without a socket in front: configurations, plans, and requests put to the application itself."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.synthetic import requests

from tiny_dancer.gateway.access.caller import Caller
from tiny_dancer.gateway.app import Gateway
from tiny_dancer.gateway.choosing.chooser import Chooser
from tiny_dancer.gateway.choosing.incoming import parse
from tiny_dancer.gateway.choosing.serving import Serving
from tiny_dancer.gateway.choosing.sessions import SessionTable
from tiny_dancer.gateway.configuration.check import check
from tiny_dancer.gateway.configuration.settings import GatewayConfig, Sessions
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from tiny_dancer.gateway.choosing.plan import Plan
    from tiny_dancer.gateway.upstream.dialect import Endpoint
    from tiny_dancer.types import RequestRecord

PATIENCE = 30.0
EASY = "Hi there, how are you?"
HARD = "If a train leaves at 9 and another at 10, unless it rains, which arrives first, and why?"
CHEAP = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7}
DEAR = {"input_cost_per_token": 1e-5, "output_cost_per_token": 3e-5, "cache_read_input_token_cost": 1e-6}
ARTIFACTS = Path(__file__).resolve().parents[3] / "conformance" / "artifacts"
TEXTS = [*requests(120, 5)[0], EASY, HARD, "Prove that there are infinitely many primes.", "What is 17 * 23 - 4?"]
FIVE = ("anchor", "brisk", "calm", "doubtful", "exact")
_PRICES = dict(zip(FIVE, (16e-6, 8e-6, 2e-6, 4e-6, 1e-6), strict=True))
NOWHERE = "http://127.0.0.1:9/v1"


def model(upstream: str = "here", **more: Any) -> dict[str, Any]:
    return {"deployments": [{"upstream": upstream}], **more}


def configured(url: str = NOWHERE, **more: Any) -> GatewayConfig:
    """``small`` and ``large`` behind the default router; keywords replace top-level keys."""
    content = {
        "upstreams": {"here": {"base_url": url}},
        "models": {"small": model(**CHEAP), "large": model(**DEAR)},
        "routers": {"default": {"models": {"weak": "small", "strong": "large"}}},
        "retries": {"attempts": 1},
        "log": {"requests": "off"},
        **more,
    }
    config = msgspec.convert(content, GatewayConfig)
    check(config)
    return config


def caller(models: Collection[str] | None = None, *, soft_budget_spent: bool = False, id: str = "") -> Caller:
    found = Caller(lambda: 0.0)
    found.id = id
    found.models = None if models is None else frozenset(models)
    found.soft_budget_spent = soft_budget_spent
    return found


def chooser() -> Chooser:
    return Chooser(SessionTable(Sessions()))


def plan(
    serving: Serving,
    text: object = EASY,
    *,
    endpoint: Endpoint = "chat.completions",
    by: Chooser | None = None,
    who: Caller | None = None,
    headers: dict[bytes, bytes] | None = None,
    **fields: Any,
) -> Plan:
    """The plan for a request; without ``model`` it is ``auto``."""
    name = {"completions": "prompt", "responses": "input", "embeddings": "input"}.get(endpoint, "messages")
    said = [{"role": "user", "content": text}] if name == "messages" else text
    body = json.dumps({"model": "auto", name: said, **fields}).encode()
    return (by or chooser()).plan(serving, parse(endpoint, body, headers or {}), who or caller())


def opened(**more: Any) -> Serving:
    """A serving of :func:`configured`, to be closed."""
    return Serving(configured(**more), Path())


def open_pair() -> Serving:
    """``small`` and ``large`` with aliases, and models no router knows."""
    models = {
        "small": model(**CHEAP, aliases=["little", "vendor/tiny-1"]),
        "large": model(**DEAR, aliases=["grand"]),
        "other": model(input_cost_per_token=5e-6, output_cost_per_token=5e-6),
        "claude": model("there", input_cost_per_token=5e-6, output_cost_per_token=5e-6),
    }
    upstreams = {
        "here": {"base_url": "http://127.0.0.1:9/v1"},
        "there": {"base_url": "http://127.0.0.1:9", "kind": "anthropic", "api_key": "k"},
    }
    routers = {
        "default": {"models": {"weak": "small", "strong": "large"}},
        "my-own": {"models": {"weak": "small", "strong": "large"}, "threshold": 0.2},
        "my": {"models": {"weak": "small", "strong": "large"}, "policy": "cost"},
    }
    return opened(models=models, upstreams=upstreams, routers=routers)


def open_five() -> Serving:
    """Five models by weight of cost; ``anchor`` is the strongest, and any may follow."""
    models = {
        name: model(input_cost_per_token=_PRICES[name], output_cost_per_token=4 * _PRICES[name]) for name in FIVE
    }
    routers = {"default": {"artifact": str(ARTIFACTS / "five.safetensors")}}
    return opened(models=models, routers=routers, strongest="anchor", max_fallbacks=10)


def names(serving: Serving, text: object = EASY, **more: Any) -> list[str]:
    return [each.name for each in plan(serving, text, **more).models()]


def refused(serving: Serving, text: object = EASY, **more: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        plan(serving, text, **more)
    assert 400 <= caught.value.status < 500
    return caught.value


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found


class InProcess:
    """A started gateway, asked as a server would."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def ask(
        self,
        method: str,
        path: str,
        body: object = b"",
        headers: dict[str, str] | None = None,
        gone: asyncio.Event | None = None,
        sent: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """One request. ``gone``: set when the client leaves; ``sent``: gets each part of the body."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        leaves = gone or asyncio.Event()
        parts = [{"type": "http.request", "body": content, "more_body": False}]
        answer = Answer(0, {}, b"")

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                if sent is not None:
                    sent(message.get("body", b""))

        given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "headers": given}
        async with asyncio.timeout(PATIENCE):
            await self.gateway(scope, receive, send)
        return answer

    async def chat(self, text: str = EASY, *, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
        return await self.ask("POST", "/v1/chat/completions", body, headers)

    def records(self) -> list[RequestRecord]:
        """All so far, the oldest first."""
        assert self.gateway.services.accounting.flush(PATIENCE)
        return sorted(self.gateway.services.storage.request_history(), key=lambda each: each.time)


@asynccontextmanager
async def serving(config: GatewayConfig, folder: Path) -> AsyncIterator[InProcess]:
    """A started gateway."""
    gateway = Gateway(config, folder=folder)
    await gateway.start()
    try:
        yield InProcess(gateway)
    finally:
        await gateway.close()
