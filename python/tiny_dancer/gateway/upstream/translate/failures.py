"""Errors of upstreams, as the gateway tells them: status, code, message and details kept, whatever the shape.

OpenAI's and Anthropic's own, a list of it (Gemini), FastAPI's ``detail``, Mistral's ``message``, MiniMax's
``base_resp``, other servers' ``msg``, a bare text. What
stands in an error beside message, type, param and code goes on as its details: OpenRouter's ``metadata``, Azure's
``innererror``, Gemini's ``status``.

A prompt too long for a model is told by its message alone at most servers; it gets ``context_length_exceeded``, on
which a request goes to the next model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct, field

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Reported
from tiny_dancer.gateway.upstream.translate import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

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
# What an error's type or code says of the status it would have by itself, where it names none: OpenAI's words,
# vLLM's, Python's and gRPC's.
_STATUSES: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (400, ("badrequest", "invalid_request", "invalidrequest", "invalid_argument", "invalid_prompt", "valueerror",
           "content_filter", "context_length", "validation")),
    (401, ("authentication", "unauthenticated", "invalid_api_key")),
    (402, ("insufficient_quota", "billing")),
    (403, ("permission",)),
    (404, ("not_found", "notfound")),
    (429, ("rate_limit", "ratelimit", "too_many_requests", "resource_exhausted")),
    (503, ("overloaded", "unavailable", "slow_down")),
    (504, ("timeout", "deadline")),
)  # fmt: skip
_OWN: Final = frozenset({"message", "type", "param", "code"})
# Where servers say in words what is wrong.
_MESSAGES: Final = ("message", "detail", "msg", "error_msg", "error_message", "Message", "status_msg", "title")
# What stands beside such words only where they are an error's.
_MARKS: Final = ("error", "errors", "error_type", "error_code", "code", "status_code", "base_resp", "detail")
# What a field for errors says where there is none.
_NO_ERROR: Final = frozenset({b"", b"null", b"false", b"0", b"{}", b"[]", b'""'})


class _Error(Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


_any: Final = msgspec.json.Decoder()


def openai(status: int, body: bytes) -> GatewayError:
    """An error of a server that speaks OpenAI's protocol: message, type, param, code and details kept."""
    found = _read(status, body)
    code, message = found.code, found.message or ""
    if _too_long(status, message) or found.type == "exceed_context_size_error":
        code = CONTEXT_LENGTH_EXCEEDED
        found.details.pop("code", None)
    return GatewayError(status, message, type=found.type, param=found.param, code=code, details=found.details)


def anthropic(status: int, body: bytes) -> GatewayError:
    """An error of a server that speaks Anthropic's protocol, with OpenAI's words for type and code.

    ``GatewayError.anthropic`` says Anthropic's type again: it follows from the status.
    """
    found = _read(status, body)
    message = found.message or ""
    if _too_long(status, message):
        return GatewayError(status, message, param="messages", code=CONTEXT_LENGTH_EXCEEDED, details=found.details)
    _, kind, code = _ANTHROPIC.get(found.type or "", (status, None, found.type))
    return GatewayError(status, message, type=kind, code=code, param=found.param, details=found.details)


def anthropic_event(data: bytes) -> GatewayError:
    """An ``error`` event of Anthropic's, which comes in place of the rest of a stream.

    Args:
        data: of the event.
    """
    kind = _read(500, data).type or ""
    return anthropic(_ANTHROPIC.get(kind, (500, None, None))[0], data)


def untyped(event: bytes, data: bytes) -> GatewayError | None:
    """The error that an event of Anthropic's protocol without a type is, by its name or in another protocol's
    words; None where it is none."""
    if sse.error_of(event) is not None:
        return anthropic_event(data)
    said = in_place_of_message(data, event=True)
    return None if said is None else said.error


def openai_event(data: bytes) -> GatewayError:
    """An error of OpenAI's protocol that comes inside of an answer: in place of the rest of a stream, or in a body
    of status 200. Its status is the one its code, its type or its message names; else 502.

    Args:
        data: of the event, or the body.
    """
    return openai(_status(_read(502, data)), data)


def reported(data: bytes) -> Reported:
    """:func:`openai_event`, to raise."""
    return Reported(openai_event(data))


def is_said(raw: Raw) -> bool:
    """Whether a field for errors says one: some servers have it, empty, in every answer."""
    return bytes(raw).translate(None, b" \t\r\n") not in _NO_ERROR


def in_place_of(data: bytes, *, event: bool = False) -> Reported | None:
    """The error that a body or event without any content is, in whatever words; None where it is none.

    Args:
        data: of the event, or the body.
        event: whether there may be events that are neither content nor errors.
    """
    try:
        said = fields.parse(data, _any)
    except ValueError:
        return None
    if not isinstance(said, dict) or not _found(said).message:
        return None
    if event and said.get("object") != "error" and not any(said.get(name) for name in _MARKS):
        return None
    return reported(data)


def in_place_of_message(data: bytes, *, event: bool = False) -> Reported | None:
    """:func:`in_place_of`, of a server that speaks Anthropic's protocol."""
    said = in_place_of(data, event=event)
    if said is None or (_read(502, data).type or "") not in _ANTHROPIC:
        return said
    return Reported(anthropic_event(data))


def _status(found: _Error) -> int:
    for said in (found.code, found.details.get("status"), found.details.get("status_code")):
        if str(said).isdecimal() and 400 <= int(str(said)) <= 599:
            return int(str(said))
    words = f"{found.type} {found.code} {found.details.get('status')}".lower().replace(" ", "_")
    for status, known in _STATUSES:
        if any(word in words for word in known):
            return status
    return 400 if _too_long(400, found.message or "") else 502


def _read(status: int, body: bytes) -> _Error:
    try:
        said = fields.parse(body, _any)
    except ValueError:
        said = body.decode("utf-8", "replace").strip()
        if said[:1] in ("<", "{", "["):
            said = None  # a page of some proxy's, or broken JSON: nothing in it is for a client
    found = _found(said)
    message = found.message or f"the model's server answered with status {status}"
    found.message = message[:_LONGEST_MESSAGE]
    return found


def _found(said: Any) -> _Error:
    if isinstance(said, list):
        return _found(said[0]) if said else _Error()
    if isinstance(said, str):
        return _Error(message=said)
    if not isinstance(said, dict):
        return _Error()
    inner = said.get("error") or said.get("errors") or _of_minimax(said)
    if inner is None and isinstance(of_response := said.get("response"), dict):
        inner = of_response.get("error")  # `response.failed`
    if isinstance(inner, list):
        inner = inner[0] if inner else None
    if isinstance(inner, dict):
        return _of_object(inner)
    found = _of_object(said)
    if isinstance(inner, str):
        found.message = inner
    for name in ("error", "errors", "object", "response", "sequence_number"):
        found.details.pop(name, None)
    if found.type == "error":
        found.type = None  # an event's name, not a kind of error
    return found


def _of_minimax(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """``base_resp``, which stands in every answer, and is an error where its code is not 0."""
    found = said.get("base_resp")
    return found if isinstance(found, dict) and found.get("status_code") else None


def _of_object(said: Mapping[str, Any]) -> _Error:
    code = said.get("code")
    details = {name: value for name, value in said.items() if name not in _OWN}
    if code is not None and not isinstance(code, str):
        details["code"] = code  # as it was said
        code = str(code)
    name = next((each for each in _MESSAGES if said.get(each)), "message")
    message = said.get(name)
    if isinstance(message, str):
        details.pop(name, None)
    elif message:
        details.setdefault("detail", message)
        message = _in_words(message)
    else:
        message = None
    kind, param = said.get("type") or said.get("error_type"), said.get("param")
    return _Error(
        message=message,
        type=kind if isinstance(kind, str) else None,
        param=param if isinstance(param, str) else None,
        code=code,
        details=details,
    )


def _in_words(said: Any) -> str | None:
    """FastAPI's list of what is wrong with which field, or some other structure that stands for a message."""
    if isinstance(said, dict):
        if isinstance(inner := said.get("message") or said.get("msg"), str):
            return inner
        said = said.get("detail") or said
    if isinstance(said, list) and said and all(isinstance(each, dict) and "msg" in each for each in said):
        return "; ".join(f"{'.'.join(map(str, each.get('loc') or ()))}: {each['msg']}" for each in said)
    return msgspec.json.encode(said).decode() if said else None


def _too_long(status: int, message: str) -> bool:
    lowered = message.lower()
    return status in (400, 413, 422) and any(words in lowered for words in _TOO_LONG)
