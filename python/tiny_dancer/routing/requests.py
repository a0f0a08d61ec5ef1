"""Requests as callers write them → requests as the engine takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from tiny_dancer import _core
from tiny_dancer.errors import RequestError

if TYPE_CHECKING:
    from tiny_dancer.types import FeatureTable

ChatMessages: TypeAlias = Sequence[Mapping[str, Any]]
Request: TypeAlias = "str | ChatMessages"

_ROLES = {"system": 0, "developer": 0, "user": 1, "assistant": 2, "tool": 2, "function": 2}


def chat_messages(messages: ChatMessages, field: str = "messages") -> _core.Messages:
    """OpenAI chat messages as (role number, text).

    Content may be a string, a list of parts (those of type ``text`` count, images and audio do not) or None
    (an assistant's tool calls).

    Raises:
        RequestError: no message, an unknown role, or content of another shape.
    """
    if not messages:
        raise RequestError(field, "no message", "give at least one chat message, or a text")
    result: _core.Messages = []
    for number, message in enumerate(messages):
        where = f"{field}[{number}]"
        if not isinstance(message, Mapping):
            raise RequestError(where, type(message).__name__, 'give {"role": …, "content": …}')
        role = message.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise RequestError(f"{where}.role", role, f"use one of {', '.join(_ROLES)}")
        content = _content(message.get("content"), f"{where}.content")
        try:
            content.encode()
        except UnicodeEncodeError as error:
            remedy = "give a string that is valid Unicode"
            raise RequestError(f"{where}.content", "a lone surrogate", remedy) from error
        result.append((_ROLES[role], content))
    return result


def _content(content: object, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        texts = []
        for part in content:
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, Mapping):
                if part.get("type") in ("text", "input_text", "output_text"):
                    text = part.get("text", "")
                    if not isinstance(text, str):
                        raise RequestError(f"{where}.text", type(text).__name__, "a part's text is a string")
                    texts.append(text)
            else:
                raise RequestError(where, type(part).__name__, "parts are objects with a type")
        return "\n".join(texts)
    raise RequestError(where, type(content).__name__, "content is a string, a list of parts or null")


def as_engine(request: Request) -> tuple[str, _core.Messages | None]:
    """A request as the engine takes it: its text, or in place of it chat messages.

    Raises:
        RequestError: it is neither, or a message is not as it should be.
    """
    if isinstance(request, str):
        return request, None
    if not isinstance(request, list | tuple):
        raise RequestError("request", type(request).__name__, "give a text or a list of chat messages")
    return "", chat_messages(request)


def listed_requests(requests: Any) -> list[Request]:
    """A list of what a list, numpy array or Arrow array holds; a lone string is refused, not spelt out."""
    if isinstance(requests, str):
        raise RequestError("requests", "one text", "give a list of requests, or call route")
    if hasattr(requests, "to_pylist"):  # Arrow arrays: iterating them gives scalars of their own type
        requests = requests.to_pylist()
    elif hasattr(requests, "tolist"):
        requests = requests.tolist()
    if isinstance(requests, str | bytes) or not isinstance(requests, Iterable):  # an array without dimensions, say
        raise RequestError("requests", type(requests).__name__, "give a list of requests")
    return requests if isinstance(requests, list) else list(requests)


def tools_text(tools: object, field: str = "tools") -> str | None:
    """The tools offered as JSON text: a string stays, anything else is encoded."""
    if tools is None or isinstance(tools, str):
        return tools
    try:
        return json.dumps(tools, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(field, type(tools).__name__, "give tools as JSON text or JSON values") from error


def split_requests(requests: Sequence[Request]) -> tuple[list[str], list[_core.Messages | None] | None]:
    """Texts and messages of a batch, row by row; the second is None where all rows are texts."""
    texts: list[str] = []
    messages: list[_core.Messages | None] = []
    for row, request in enumerate(requests):
        if isinstance(request, str):
            texts.append(request)
            messages.append(None)
        elif isinstance(request, Sequence):
            texts.append("")
            messages.append(chat_messages(cast("ChatMessages", request), f"requests[{row}].messages"))
        else:
            kind = type(request).__name__
            raise RequestError(f"requests[{row}]", kind, "give a text or a list of chat messages")
    return texts, messages if any(each is not None for each in messages) else None


def featurise(
    prompts: Sequence[str],
    messages: Sequence[str | None] | None = None,
    tools: Sequence[str | None] | None = None,
) -> FeatureTable:
    """Engine features of the rows of a table, whose messages and tools are JSON texts.

    Raises:
        RequestError: a row that cannot be routed.
    """
    parsed = None
    if messages is not None:
        parsed = [
            None if text is None else chat_messages(json.loads(text), f"messages of row {row}")
            for row, text in enumerate(messages)
        ]
    return _core.featurise(prompts, parsed, tools)
