"""Errors of upstreams, as the gateway tells them: status kept, and OpenAI's code where the two have a word for it.

A prompt too long for a model is told by its message alone at most servers; it gets ``context_length_exceeded``, on
which a request goes to the next model.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.translate import fields

CONTEXT_LENGTH_EXCEEDED: Final = "context_length_exceeded"

_LONGEST_MESSAGE: Final = 2000
_TOO_LONG: Final = (
    "prompt is too long",  # Anthropic
    "exceed context limit",  # Anthropic, with max_tokens counted
    "maximum context length",  # OpenAI, vLLM
    "context length",
    "context window",
    "available context size",  # llama.cpp
    "too many tokens",
)
# Anthropic's types, and what OpenAI's clients know: status of an error within a stream, type, code.
_ANTHROPIC: Final[dict[str, tuple[int, str | None, str | None]]] = {
    "invalid_request_error": (400, "invalid_request_error", None),
    "authentication_error": (401, "authentication_error", "invalid_api_key"),
    "billing_error": (402, "insufficient_quota", "insufficient_quota"),
    "permission_error": (403, "permission_error", None),
    "not_found_error": (404, "invalid_request_error", "model_not_found"),
    "request_too_large": (413, "invalid_request_error", "request_too_large"),
    "rate_limit_error": (429, "rate_limit_error", "rate_limit_exceeded"),
    "api_error": (500, "server_error", None),
    "timeout_error": (504, "server_error", "timeout"),
    "overloaded_error": (529, "server_error", "overloaded"),
}


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    """Both protocols' shape; some servers say a text in place of the object, FastAPI's say ``detail``."""

    error: _Error | str | None = None
    message: str | None = None
    detail: str | None = None


_body: Final = msgspec.json.Decoder(_Body)


def openai(status: int, body: bytes) -> GatewayError:
    """An error of a server that speaks OpenAI's protocol: message, type, param and code as it said them."""
    found = _read(status, body)
    code = None if found.code is None else str(found.code)
    message = found.message or ""
    if _too_long(status, message) or found.type == "exceed_context_size_error":
        code = CONTEXT_LENGTH_EXCEEDED
    return GatewayError(status, message, type=found.type, param=found.param, code=code)


def anthropic(status: int, body: bytes) -> GatewayError:
    """An error of a server that speaks Anthropic's protocol, with OpenAI's words for type and code.

    ``GatewayError.anthropic`` says Anthropic's type again: it follows from the status.
    """
    found = _read(status, body)
    message = found.message or ""
    if _too_long(status, message):
        return GatewayError(status, message, param="messages", code=CONTEXT_LENGTH_EXCEEDED)
    _, kind, code = _ANTHROPIC.get(found.type or "", (status, None, found.type))
    return GatewayError(status, message, type=kind, code=code)


def anthropic_event(data: bytes) -> GatewayError:
    """An ``error`` event of Anthropic's, which comes in place of the rest of a stream.

    Args:
        data: of the event.
    """
    kind = _read(500, data).type or ""
    return anthropic(_ANTHROPIC.get(kind, (500, None, None))[0], data)


def _read(status: int, body: bytes) -> _Error:
    try:
        read = fields.parse(body, _body)
    except ValueError:
        read = _Body()
    found = read.error if isinstance(read.error, _Error) else _Error(message=read.error)
    message = found.message or read.message or read.detail or f"the model's server answered with status {status}"
    found.message = message[:_LONGEST_MESSAGE]
    return found


def _too_long(status: int, message: str) -> bool:
    lowered = message.lower()
    return status in (400, 413, 422) and any(words in lowered for words in _TOO_LONG)
