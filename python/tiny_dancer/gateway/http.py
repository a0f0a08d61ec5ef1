"""What is read from a client's HTTP request, and written into an answer's headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence

    from tiny_dancer.gateway.access.admission import Caller

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]

CLIENT_GONE: Final = 499
"""nginx's status for a client that went away; nobody reads it, but the record has it."""

PASSED_ON: Final = (b"traceparent", b"tracestate", b"idempotency-key", b"openai-beta", b"anthropic-beta")
"""What a client's request may tell an upstream beside its body."""

_SECRETS: Final = (b"authorization", b"x-api-key", b"api-key")
_WANTED: Final = frozenset((*_SECRETS, *PASSED_ON, *OPTION_HEADERS, b"content-encoding"))


def read_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers the gateway understands.

    Raises:
        GatewayError: 400, one is given twice with different values; 415, the body is compressed.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED:
            if name in found and found[name] != value:
                raise GatewayError(
                    400,
                    f"The header {name.decode()} is given twice; send one.",
                    param=name.decode(),
                    code="duplicate_header",
                )
            found[name] = value
    encoding = found.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise GatewayError(
            415, "Compressed bodies are not read; send the JSON as it is.", code="unsupported_encoding"
        )
    return found


def secret_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The API key of a request: a bearer token, or Anthropic's or Azure's header."""
    found = headers.get(b"authorization")
    if found is not None:
        scheme, _, secret = found.partition(b" ")
        return secret.strip() if scheme.lower() == b"bearer" else found
    return headers.get(b"x-api-key") or headers.get(b"api-key")


async def read_body(receive: Receive, most: int) -> bytes:
    """The whole body.

    Raises:
        GatewayError: 413, more than ``most`` bytes; 499, the client went away.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        size = len(body)
        while message.get("more_body") and size <= most:
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            parts.append(part)
        body = b"".join(parts)
    if len(body) > most:
        raise GatewayError(413, f"The body may have {most:,} bytes; send a shorter one.", code="request_too_large")
    if message["type"] == "http.disconnect":
        raise GatewayError(CLIENT_GONE, "The client went away.", code="client_disconnected")
    return body


async def send_json(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """A whole answer."""
    headers.append((b"content-type", b"application/json"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_limits(headers: Headers, caller: Caller | None) -> Headers:
    """The headers with the limits of the client's own key, in place of those of the gateway's at an upstream."""
    own = () if caller is None else caller.ratelimit_headers()
    if not own:
        return headers
    return [pair for pair in headers if not pair[0].startswith(b"x-ratelimit-")] + list(own)


def header_value(text: str) -> bytes:
    """A header's value: names of models may be any text, headers may not."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return ascii(text)[1:-1].encode()
