"""An Anthropic messages request as an OpenAI chat completion request, and the dialect that sends it.

Nothing is silently replaced: what cannot be said is refused, and other fields (``top_k``, ``min_p``) are sent on
as they are, for most servers of OpenAI's protocol know more words than OpenAI's own.

Left out, because the answer is the same kind of answer without them:

- ``cache_control``, ``context_management``, ``diagnostics``, ``service_tier``: about caching and capacity;
- ``thinking``: leave to think, up to a budget. A model that thinks does so as its server is set up, within
  ``max_tokens``. How hard it should try (``output_config.effort``) is sent, as ``reasoning_effort``;
- thinking in earlier answers: it is signed for the model that thought it;
- ``citations`` and ``title`` of blocks: OpenAI's have no such thing.

What has another form: a tool result that ``is_error`` begins with ``Error:``; images in a tool result follow it in
a user message, for a tool message holds text; a ``user_id`` longer than the 64 characters OpenAI takes becomes its
SHA-256. The limit is sent as ``max_tokens``, which every server knows, but for OpenAI's newer models, which refuse
it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.translate import failures, messages_from_chat
from tiny_dancer.gateway.translate import messages_request as wire
from tiny_dancer.gateway.translate.fields import (
    boolean,
    encode,
    given,
    missing,
    only,
    present,
    read,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msgspec import Raw

    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstreams.base import Answer, Dialect, Events

_LONGEST_USER: Final = 64
# OpenAI's models that refuse max_tokens: the o series, and everything from GPT-5.
_NEWER_OPENAI: Final = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?![^-.])")
_LEFT_OUT: Final = ("thinking", "cache_control", "context_management", "diagnostics", "service_tier")
# What these may say without asking for anything.
_USUAL: Final[dict[str, tuple[object, ...]]] = {
    "speed": ("standard",),
    "container": (),
    "inference_geo": (),
    "mcp_servers": ([],),
    "user_profile_id": (),
}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class _MessagesToChat:
    """The messages endpoint at servers that speak OpenAI's protocol; see ``Dialect`` in ``upstreams/base.py``."""

    path = "/chat/completions"

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes:
        """As :func:`request`."""
        return request(fields, model)

    def response(self, body: bytes) -> Answer:
        """As :func:`messages_from_chat.response`."""
        return messages_from_chat.response(body)

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """Anthropic's events."""
        del fields
        return messages_from_chat.MessageEvents()

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As :func:`failures.openai`."""
        return failures.openai(status, body)


MESSAGES: Final[Dialect] = _MessagesToChat()


def request(fields: Mapping[str, Raw], model: str) -> bytes:
    """The body for ``/chat/completions``.

    Raises:
        GatewayError: 400, with the field in ``param``.
    """
    rest = given(fields)
    rest.pop("model", None)
    for name in ("messages", "max_tokens"):
        if name not in rest:
            raise missing(name)
    body: dict[str, Any] = {"model": model, "messages": _system(rest.pop("system", None))}
    body["messages"] += _conversation(rest.pop("messages"))
    limit = "max_completion_tokens" if _NEWER_OPENAI.match(model) else "max_tokens"
    body[limit] = read(rest.pop("max_tokens"), wire.limit, "max_tokens")
    tools, choice = rest.pop("tools", None), rest.pop("tool_choice", None)
    if tools is not None:
        body.update(_tools(tools))
    if choice is not None:
        body.update(_tool_choice(choice, bool(body.get("tools"))))
    for name, translate in _FIELDS.items():
        raw = rest.pop(name, None)
        if raw is not None:
            body.update(translate(raw))
    for name in _LEFT_OUT:
        rest.pop(name, None)
    for name, accepted in _USUAL.items():
        raw = rest.pop(name, None)
        if raw is not None:
            only(raw, name, accepted, "OpenAI's protocol")
    for name, raw in rest.items():
        if name in body:
            raise refusal(name, "another field says the same in Anthropic's words; leave one of them out")
        body[name] = raw
    return encode(body)


def _system(raw: Raw | None) -> list[dict[str, Any]]:
    if raw is None:
        return []
    system = read(raw, wire.system, "system")
    # One message with one text: the templates of many models take no more.
    text = system if isinstance(system, str) else "\n\n".join(block.text for block in system)
    return [{"role": "system", "content": text}] if text else []


def _conversation(raw: Raw) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    turns = read(raw, wire.messages, "messages")
    for index, turn in enumerate(turns):
        place = f"messages[{index}]"
        if isinstance(turn.content, str):
            messages.append({"role": _role(turn), "content": turn.content})
        elif isinstance(turn, wire.User):
            messages += _asked(turn.content, place)
        elif isinstance(turn, wire.Assistant):
            messages += _answered(turn.content, place)
        else:
            messages.append({"role": "system", "content": "\n\n".join(block.text for block in turn.content)})
    return messages


def _role(turn: wire.User | wire.Assistant | wire.System) -> str:
    if isinstance(turn, wire.User):
        return "user"
    return "assistant" if isinstance(turn, wire.Assistant) else "system"


def _asked(
    blocks: list[wire.Text | wire.Image | wire.Document | wire.ToolResult], place: str
) -> list[dict[str, Any]]:
    """A tool message per result, which have to follow the calls directly, and one of the user's with the rest."""
    messages: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{place}.content[{index}]"
        if isinstance(block, wire.ToolResult):
            text, others = _result(block, where)
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            parts += others
        else:
            parts.append(_part(block, where))
    if parts:
        # Servers of small models take a text more often than parts.
        plain = parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
        messages.append({"role": "user", "content": plain})
    return messages


def _result(block: wire.ToolResult, place: str) -> tuple[str, list[dict[str, Any]]]:
    """The texts of a tool result, and its other parts."""
    content = block.content or ""
    texts = [content] if isinstance(content, str) else []
    others: list[dict[str, Any]] = []
    for index, inner in enumerate([] if isinstance(content, str) else content):
        part = _part(inner, f"{place}.content[{index}]")
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            others.append(part)
    text = "\n".join(texts)
    return (f"Error: {text}" if block.is_error else text), others


def _part(block: wire.Text | wire.Image | wire.Document, place: str) -> dict[str, Any]:
    if isinstance(block, wire.Text):
        return {"type": "text", "text": block.text}
    source = block.source
    if isinstance(source, wire.TextSource):
        return {"type": "text", "text": source.data}
    url = _data_url(source) if isinstance(source, wire.Base64Source) else source.url
    if isinstance(block, wire.Image):
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": block.title or "document.pdf", "file_data": url}}


def _data_url(source: wire.Base64Source) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def _answered(
    blocks: list[wire.Text | wire.Thinking | wire.RedactedThinking | wire.ToolUse], place: str
) -> list[dict[str, Any]]:
    text = "".join(block.text for block in blocks if isinstance(block, wire.Text))
    calls = []
    for index, block in enumerate(blocks):
        if isinstance(block, wire.ToolUse):
            read(block.input, wire.json_object, f"{place}.content[{index}].input")
            function = {"name": block.name, "arguments": bytes(block.input).decode()}
            calls.append({"id": block.id, "type": "function", "function": function})
    if not text and not calls:
        return []  # it had only thought
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _tools(raw: Raw) -> dict[str, Any]:
    definitions = []
    tools = read(raw, wire.tools, "tools")
    for index, tool in enumerate(tools):
        if not present(tool.input_schema):
            raise missing(f"tools[{index}].input_schema")
        schema = read(tool.input_schema, wire.json_object, f"tools[{index}].input_schema")
        function: dict[str, Any] = {"name": tool.name, "parameters": schema}
        if tool.description:
            function["description"] = tool.description
        if tool.strict:
            function["strict"] = True
        definitions.append({"type": "function", "function": function})
    return {"tools": definitions} if definitions else {}


def _tool_choice(raw: Raw, has_tools: bool) -> dict[str, Any]:
    choice = read(raw, wire.tool_choice, "tool_choice")
    if not has_tools:
        if choice.type in ("auto", "none"):
            return {}
        raise refusal("tool_choice", "there are no tools to choose from; send tools too")
    if choice.type == "tool":
        if not choice.name:
            raise missing("tool_choice.name")
        chosen: dict[str, Any] = {"tool_choice": {"type": "function", "function": {"name": choice.name}}}
    else:
        chosen = {"tool_choice": _CHOICES[choice.type]}
    if choice.disable_parallel_tool_use and choice.type != "none":
        chosen["parallel_tool_calls"] = False
    return chosen


def _stream(raw: Raw) -> dict[str, Any]:
    if not boolean(raw, "stream"):
        return {}
    return {"stream": True, "stream_options": {"include_usage": True}}


def _stops(raw: Raw) -> dict[str, Any]:
    stops = read(raw, wire.texts, "stop_sequences")
    return {"stop": stops} if stops else {}


def _user(raw: Raw) -> dict[str, Any]:
    user = read(raw, wire.metadata, "metadata").user_id
    if not user:
        return {}
    return {"user": user if len(user) <= _LONGEST_USER else sha256(user.encode()).hexdigest()}


def _output(raw: Raw) -> dict[str, Any]:
    config = read(raw, wire.output_config, "output_config")
    translated: dict[str, Any] = {}
    if config.effort is not None:
        translated["reasoning_effort"] = config.effort
    if config.format is not None:
        schema = read(config.format.schema, wire.json_object, "output_config.format.schema")
        wanted = {"name": "answer", "schema": schema, "strict": True}
        translated["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return translated


_FIELDS: Final[dict[str, Callable[[Raw], dict[str, Any]]]] = {
    "temperature": lambda raw: {"temperature": read(raw, wire.number, "temperature")},
    "top_p": lambda raw: {"top_p": read(raw, wire.number, "top_p")},
    "stop_sequences": _stops,
    "stream": _stream,
    "metadata": _user,
    "output_config": _output,
}
