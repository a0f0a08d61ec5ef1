"""Pages that call from a browser (CORS)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import InProcess, configured, serving

from tiny_dancer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAGE = "https://chat.example.com"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-td-pin",
}


def run(folder: Path, test: Callable[[InProcess], Awaitable[None]], **access: Any) -> None:
    async def start() -> None:
        async with serving(configured(access=access), folder) as gateway:
            await test(gateway)

    asyncio.run(start())


def test_a_page_that_is_configured_may_call(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        asked = await gateway.ask("OPTIONS", "/v1/chat/completions", headers=PREFLIGHT)
        assert (asked.status, asked.body) == (204, b"")
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert asked.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert asked.headers["vary"] == "origin"
        # A key is needed for the call itself, which the page can read the answer of.
        for path, status in (("/v1/chat/completions", 401), ("/v1/route", 401), ("/v1/nothing", 404)):
            answer = await gateway.ask("POST", path, {}, {"origin": PAGE})
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, PAGE)
            readable = answer.headers["access-control-expose-headers"].split(", ")
            assert {"x-td-model", "x-td-cost", "x-request-id", "retry-after"} <= set(readable)

    run(tmp_path, test, keys="required", origins=["https://other.example.com", PAGE])


def test_a_page_can_read_every_header_of_the_guide(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs/guides/gateway.md").read_text(encoding="utf-8")
    listed = guide.partition("Every answer says what was done:")[2].partition("## ")[0]
    headers = {name for name in re.findall(r"`(x-[a-z-]+)`", listed) if name.startswith("x-td-")}
    assert {"x-td-adapted", "x-td-upstream", "x-td-estimated", "x-td-soft-budget"} <= headers

    async def test(gateway: InProcess) -> None:
        answer = await gateway.ask("GET", "/v1/models", headers={"origin": PAGE})
        assert headers <= set(answer.headers["access-control-expose-headers"].split(", "))

    run(tmp_path, test, origins=[PAGE])


def test_other_pages_may_not(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        for origin in ("https://evil.example.com", "null", PAGE + ".evil.com", PAGE.upper()):
            asked = await gateway.ask("OPTIONS", "/v1/models", headers={**PREFLIGHT, "origin": origin})
            assert asked.status == 405
            answer = await gateway.ask("GET", "/v1/models", headers={"origin": origin})
            assert answer.status == 200
            assert not any(name.startswith("access-control") for name in (*asked.headers, *answer.headers))

    run(tmp_path, test, origins=[PAGE])


def test_all_pages_may_where_that_is_said_and_none_unless_it_is(tmp_path: Path) -> None:
    async def test(gateway: InProcess) -> None:
        assert (await gateway.ask("OPTIONS", "/v1/models", headers=PREFLIGHT)).status == 204

    async def off(gateway: InProcess) -> None:
        assert (await gateway.ask("OPTIONS", "/v1/models", headers=PREFLIGHT)).status == 405

    run(tmp_path, test, origins=["*"])
    run(tmp_path, off)


@pytest.mark.parametrize(
    "origin", ["chat.example.com", PAGE + "/", "https://Chat.example.com", "https://a.b/c", "**"]
)
def test_what_no_browser_sends_as_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"access\.origins\.0"):
        configured(access={"origins": [origin]})
