"""Calls from web pages (CORS, the Fetch standard's chapter 3.2): which pages may, and what they may read.

Off unless ``access.origins`` names some. It protects the users of browsers, not the gateway: keys do that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from tiny_dancer.gateway.http import Headers, Receive, Scope, Send

# By name: a star does not cover requests with credentials.
_READABLE: Final = (
    b"x-request-id, request-id, x-td-model, x-td-agent, x-td-decision, x-td-routed-by, x-td-reason, x-td-cost, "
    b"x-td-soft-budget, x-td-budget, x-td-adapted, x-td-fallbacks, x-td-level, x-td-guarantee, x-td-upstream, "
    b"x-td-estimated, x-td-tool-selection, x-td-tools-before, x-td-tools-sent, "
    b"x-td-tool-tokens-saved, x-td-tool-searches, x-td-queue-id, "
    b"retry-after, retry-after-ms, x-should-retry, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
# Seconds a browser may remember the answer to a preflight; more than two hours no browser does.
_REMEMBERED: Final = b"7200"


def allowed(given: Iterable[tuple[bytes, bytes]], origins: Sequence[str]) -> Headers:
    """Headers for the answer to a page that may call, by its request's; none where no page asks, or one that may
    not."""
    origin = next((value for name, value in given if name == b"origin"), None)
    if origin is None or not ("*" in origins or origin.decode("latin-1") in origins):
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _READABLE),
        (b"vary", b"origin"),
    ]


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what it may send."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


async def answer_preflight(scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
    """Lets the page send what it wants to: what of it counts is checked when it comes."""
    del receive  # a preflight has no body
    wanted = next((value for name, value in scope["headers"] if name == b"access-control-request-headers"), b"")
    headers = [
        *headers,
        (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
        (b"access-control-max-age", _REMEMBERED),
    ]
    if wanted:
        headers.append((b"access-control-allow-headers", wanted))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def with_headers(send: Send, headers: Headers) -> Send:
    """Sends an answer with these headers beside its own."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return sending
