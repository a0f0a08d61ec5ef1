"""What is read from a client's HTTP request, and written into an answer's headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.access import payers
from tiny_dancer.gateway.account.tokens import tokens_saved
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.deployments import LISTS, PASSED_ON
from tiny_dancer.gateway.upstream.kinds.openai import ResponseEvents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence

    from tiny_dancer.gateway.access.admission import Caller
    from tiny_dancer.gateway.access.purse import Purse
    from tiny_dancer.gateway.tools.offered import Offered
    from tiny_dancer.gateway.upstream.dialect import Endpoint

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]

_SECRETS: Final = frozenset((b"authorization", b"x-api-key", b"api-key"))
_PASSED_ON: Final = {name.encode(): name for name in PASSED_ON}
# Two lines of these say what one with a comma says (RFC 9110, 5.3).
_OWN_LISTS: Final = (b"x-td-exclude", b"x-td-capabilities", b"x-td-agent-tags", payers.TAGS, b"content-encoding")
_LISTS: Final = frozenset((*(name.encode() for name in LISTS), *_OWN_LISTS))
DEPTH: Final = b"x-td-depth"
DEEPEST: Final = 8
"""Agents that may call each other, one on behalf of the other."""
_WANTED: Final = frozenset((*_PASSED_ON, *OPTION_HEADERS, *payers.HEADERS, DEPTH, b"content-encoding"))


def secrets_of(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The API keys a request presents: bearer tokens, and Anthropic's and Azure's header."""
    found = []
    for name, value in headers:
        if name in _SECRETS:
            secret = value
            if name == b"authorization":
                scheme, _, token = value.partition(b" ")
                secret = token.strip() if scheme.lower() == b"bearer" else value
            if secret:
                found.append(secret)
    return found


def read_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers the gateway understands, but for secrets.

    Raises:
        GatewayError: 400, one that has a single value is given twice with different ones.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED:
            if name in found and found[name] != value:
                if name not in _LISTS:
                    raise GatewayError(
                        400,
                        f"The header {name.decode()} is given twice; send one.",
                        param=name.decode(),
                        code="duplicate_header",
                    )
                value = found[name] + b", " + value
            found[name] = value
    return found


def passed_on(headers: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    """What an upstream is told of a request's headers."""
    return [(text, headers[name].decode("latin-1")) for name, text in _PASSED_ON.items() if name in headers]


def depth_of(headers: Mapping[bytes, bytes]) -> int:
    """How many agents have led to a request, one calling the other, as far as they pass on what they are told.

    Raises:
        GatewayError: 508, too many: they call each other in a circle.
    """
    given = headers.get(DEPTH, b"")
    depth = int(given) if given.isdigit() and len(given) < 10 else 0
    if depth >= DEEPEST:
        raise GatewayError(
            508,
            f"{depth} agents have called each other to make this request; they may lead in a circle.",
            code="agent_loop",
        )
    return depth


def deeper(depth: int) -> tuple[str, str]:
    """What the server of an agent is told."""
    return DEPTH.decode(), str(depth + 1)


def stream_error(endpoint: Endpoint, error: GatewayError) -> bytes:
    """An error as the event that ends a stream."""
    if endpoint == "messages":
        return sse.event(error.anthropic(), b"error")
    if endpoint == "responses":
        return ResponseEvents().cut(error)
    return sse.event(error.openai())


async def send_json(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_limits(headers: Headers, caller: Caller | None, purse: Purse | None = None) -> Headers:
    """The headers with the limits of the client's own key, in place of those of the gateway's at an upstream, and
    with the soft budgets that are spent."""
    own = caller.ratelimit_headers() if caller is not None and caller.limited else ()
    if own:
        headers = [pair for pair in headers if not pair[0].startswith(b"x-ratelimit-")] + list(own)
    if purse is not None and purse.warnings:
        headers = [*headers, (b"x-td-soft-budget", header_value(", ".join(("spent", *purse.warnings))))]
    return headers


def of_tools(tools: Offered) -> Headers:
    """What became of a request's tools."""
    return [
        (b"x-td-tool-selection", tools.how.encode()),
        (b"x-td-tools-before", b"%d" % tools.before),
        (b"x-td-tools-sent", b"%d" % tools.sent),
        (b"x-td-tool-tokens-saved", b"%d" % tokens_saved(tools)),
        *(((b"x-td-tool-searches", b"%d" % tools.searches),) if tools.how == "search" else ()),
    ]


def header_value(text: str) -> bytes:
    """A header's value: names of models may be any text, headers may not."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return ascii(text)[1:-1].encode()
