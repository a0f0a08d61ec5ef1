"""Clients of Anthropic's messages at a server of chat completions: their requests there.
:mod:`.messages_from_chat` reads the answers.

Nothing is silently replaced. What cannot be said is refused; what is said otherwise because the server would
refuse it is named in the header ``x-td-adapted``; other fields (``top_k``, ``min_p``) are sent on as they are,
for most servers of OpenAI's protocol know more words than OpenAI's own.

Left out, because the answer is the same kind of answer without them:

- ``cache_control``, ``context_management``, ``diagnostics``, ``service_tier``, ``betas``: about caching,
  capacity and Anthropic's own trials;
- ``thinking``: leave to think, up to a budget. A model that thinks does so as its server is set up, within
  ``max_tokens``. How hard it should try (``output_config.effort``) is sent, as ``reasoning_effort``;
- ``citations`` of blocks, ``title`` and ``context`` of images: OpenAI's have no such thing.

What has another form: a tool result that ``is_error`` begins with ``Error:``; images in a tool result follow it
in a user message, for a tool message holds text; title and context of a document that is text come before it; a
``user_id`` longer than the 64 characters OpenAI takes becomes its SHA-256. The limit is sent as ``max_tokens``,
which every server knows, but for OpenAI's newer models, which refuse it.

Adapted, and named:

- thinking of earlier answers (``thinking_blocks``) is left out: it is signed for the model that thought it.
  Before a model of Anthropic's behind another gateway it is sent as LiteLLM's ``thinking_blocks``, and not
  named;
- ids of tool calls that are too long or not unique (``tool_ids``, see :mod:`.history`);
- blocks OpenAI has no word for become text: ``search_result``, ``tool_reference``, ``server_tool_use``,
  ``web_search_tool_result``, ``container_upload`` by their own names, all others as their JSON (``content``);
- a tool that searches for tools (``tools``) is left out where its vendor alone could search
  (:mod:`tiny_dancer.gateway.tools.searches`): a chat completion gets all tools;
- OpenAI's own models, known by their names, take four stop sequences (``stop_sequences``), no ``top_k``; those
  that reason take no stop sequences, ``temperature`` and ``top_p``, and those before GPT-5 that do not reason
  take no effort (``output_config``).
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.upstream.dialect import Adapted
from tiny_dancer.gateway.upstream.translate import failures, history, messages_from_chat, roll, unroll
from tiny_dancer.gateway.upstream.translate import messages_request as wire
from tiny_dancer.gateway.upstream.translate.fields import (
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
    from collections.abc import Callable, Mapping, Sequence

    from msgspec import Raw

    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Answer, Dialect, Events

_LONGEST_USER: Final = 64
_MOST_STOPS: Final = 4
# OpenAI's models, by their own names: those that refuse max_tokens and sampling (the o series, and everything from
# GPT-5), and those before that do not reason.
_NEWER_OPENAI: Final = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))(?![^-.])")
_OLDER_OPENAI: Final = re.compile(r"(?:chat)?gpt-(?:3|4)")
_LEFT_OUT: Final = ("thinking", "cache_control", "context_management", "diagnostics", "service_tier", "betas")
# What these may say without asking for anything.
_USUAL: Final[dict[str, tuple[object, ...]]] = {
    "speed": ("standard",),
    "container": (),
    "inference_geo": (),
    "mcp_servers": ([],),
    "user_profile_id": (),
}
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_TOOL_SEARCH: Final = "tool_search_tool_"


class _MessagesToChat:
    """The messages endpoint at servers that speak OpenAI's protocol; see
    :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`."""

    path = "/chat/completions"

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
        """As :func:`request`."""
        return request(fields, model)

    def response(self, body: bytes) -> Answer:
        """As :func:`messages_from_chat.response`."""
        return messages_from_chat.response(body)

    def roll(self, body: bytes) -> bytes:
        """What chunks make up."""
        return roll.completion(body)

    def unroll(self, body: bytes) -> list[bytes]:
        """Chunks."""
        return unroll.completion(body)

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """Anthropic's events."""
        del fields
        return messages_from_chat.MessageEvents()

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As :func:`failures.openai`."""
        return failures.openai(status, body)


MESSAGES: Final[Dialect] = _MessagesToChat()


def request(fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
    """The body for ``/chat/completions``.

    Raises:
        GatewayError: 400, with the field in ``param``.
    """
    rest = given(fields)
    rest.pop("model", None)
    for name in ("messages", "max_tokens"):
        if name not in rest:
            raise missing(name)
    conversation = _Conversation(model)
    body: dict[str, Any] = {"model": model, "messages": _system(rest.pop("system", None))}
    body["messages"] += conversation.messages(rest.pop("messages"))
    adapted = conversation.adapted
    body[limit_name(model)] = read(rest.pop("max_tokens"), wire.limit, "max_tokens")
    tools, choice = rest.pop("tools", None), rest.pop("tool_choice", None)
    if tools is not None:
        body.update(_tools(tools, adapted))
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
    _for_openai(model, body, adapted)
    sent = encode(body)
    return Adapted(sent, tuple(dict.fromkeys(adapted))) if adapted else sent


def limit_name(model: str) -> str:
    """What a chat completion calls the most tokens an answer may have."""
    return "max_completion_tokens" if _NEWER_OPENAI.match(model) else "max_tokens"


def _for_openai(model: str, body: dict[str, Any], adapted: list[str]) -> None:
    """Without what OpenAI's own models refuse."""
    newer = _NEWER_OPENAI.match(model) is not None
    if not newer and _OLDER_OPENAI.match(model) is None:
        return
    refused = {
        "temperature": newer and body.get("temperature") != 1,
        "top_p": newer and body.get("top_p") != 1,
        "top_k": True,
        "stop": newer,
        "reasoning_effort": not newer,
    }
    for name, is_refused in refused.items():
        if is_refused and body.pop(name, None) is not None:
            adapted.append({"stop": "stop_sequences", "reasoning_effort": "output_config"}.get(name, name))
    if len(body.get("stop", ())) > _MOST_STOPS:
        body["stop"] = body["stop"][:_MOST_STOPS]
        adapted.append("stop_sequences")


def _system(raw: Raw | None) -> list[dict[str, Any]]:
    if raw is None:
        return []
    system = read(raw, wire.system, "system")
    # One message with one text: the templates of many models take no more.
    text = system if isinstance(system, str) else "\n\n".join(block.text for block in system)
    return [{"role": "system", "content": text}] if text else []


class _Conversation:
    """Turns as messages.

    Attributes:
        adapted: what they say otherwise.
    """

    def __init__(self, model: str) -> None:
        self.adapted: list[str] = []
        self._ids = history.chat_ids()
        self._takes_thinking = history.takes_thinking(model)
        self._wants_thinking = history.wants_thinking(model)
        self._has_thought = False
        self._fit = history.ForModel(model)

    def messages(self, raw: Raw) -> list[dict[str, Any]]:
        """All of them."""
        messages: list[dict[str, Any]] = []
        for index, turn in enumerate(wire.conversation(raw)):
            place = f"messages[{index}]"
            role = _role(turn)
            if isinstance(turn.content, str):
                messages.append({"role": role, "content": turn.content})
            elif role == "user":
                messages += self._asked(turn.content, place)
            elif role == "assistant":
                messages += self._answered(turn.content, place)
            else:
                text = "\n\n".join(self._text(block) for block in turn.content)
                messages.append({"role": "system", "content": text})
        for message in messages:
            if message["role"] == "assistant":
                self.adapted += self._fit.answer(message)
        if self._wants_thinking and self._has_thought:
            for message in messages:
                if message["role"] == "assistant" and "reasoning_content" not in message:
                    message["reasoning_content"] = " "  # Kimi refuses an empty one
                    self.adapted.append("reasoning_content")
        if self._ids.changed:
            self.adapted.append("tool_ids")
        return messages

    def _asked(self, blocks: Sequence[Any], place: str) -> list[dict[str, Any]]:
        """A tool message per result, which have to follow the calls directly, and one of the user's with the
        rest."""
        messages: list[dict[str, Any]] = []
        parts: list[dict[str, Any]] = []
        for index, block in enumerate(blocks):
            where = f"{place}.content[{index}]"
            if isinstance(block, wire.ToolResult):
                text, others = self._result(block, where)
                identifier = self._ids.result(block.tool_use_id)
                messages.append({"role": "tool", "tool_call_id": identifier, "content": text})
                parts += others
            else:
                parts += self._parts(block, where)
        if parts:
            # Servers of small models take a text more often than parts.
            plain = parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
            messages.append({"role": "user", "content": plain})
        return messages

    def _result(self, block: wire.ToolResult, place: str) -> tuple[str, list[dict[str, Any]]]:
        """The texts of a tool result, and its other parts."""
        content = block.content or ""
        texts = [content] if isinstance(content, str) else []
        others: list[dict[str, Any]] = []
        for index, inner in enumerate([] if isinstance(content, str) else content):
            for part in self._parts(inner, f"{place}.content[{index}]"):
                if part["type"] == "text":
                    texts.append(part["text"])
                else:
                    others.append(part)
        text = "\n".join(texts)
        return (f"Error: {text}" if block.is_error else text), others

    def _parts(self, block: Any, place: str) -> list[dict[str, Any]]:
        if isinstance(block, wire.Image):
            image = block.source
            url = image.url if isinstance(image, wire.URLSource) else _data_url(image)
            return [{"type": "image_url", "image_url": {"url": url}}]
        if not isinstance(block, wire.Document):
            return [{"type": "text", "text": self._text(block)}]
        source = block.source
        if isinstance(source, wire.Base64Source):
            file = {"filename": block.title or "document.pdf", "file_data": _data_url(source)}
            return [{"type": "file", "file": file}]
        said = [text for text in (block.title, block.context) if text]
        if isinstance(source, wire.TextSource):
            return [{"type": "text", "text": "\n".join([*said, source.data])}]
        inner = [wire.Text(source.content)] if isinstance(source.content, str) else source.content
        head = [{"type": "text", "text": "\n".join(said)}] if said else []
        return head + [part for each in inner for part in self._parts(each, place)]

    def _answered(self, blocks: Sequence[Any], place: str) -> list[dict[str, Any]]:
        texts = []
        calls = []
        thoughts: list[dict[str, Any]] = []
        for index, block in enumerate(blocks):
            if isinstance(block, wire.ToolUse):
                read(block.input, wire.json_object, f"{place}.content[{index}].input")
                function = {"name": block.name, "arguments": bytes(block.input).decode()}
                calls.append({"id": self._ids.call(block.id), "type": "function", "function": function})
            elif isinstance(block, wire.RedactedThinking):
                thoughts.append({"type": "redacted_thinking", "data": block.data})
            elif isinstance(block, wire.Thinking):
                thoughts.append(
                    {"type": "thinking", "thinking": block.thinking, "signature": block.signature or ""}
                )
            else:
                texts.append(self._text(block))
        text = "".join(texts)
        self._has_thought = self._has_thought or bool(thoughts)
        signed = [block for block in thoughts if block.get("signature") != ""]
        thought = "".join(block["thinking"] for block in thoughts if block.get("signature") == "")
        if (signed and not self._takes_thinking) or (len(signed) < len(thoughts) and not self._wants_thinking):
            self.adapted.append("thinking_blocks")
        signed = signed if self._takes_thinking else []
        if not (text or calls or signed):
            return []  # it had only thought
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if signed:
            message["thinking_blocks"] = signed
        if thought and self._wants_thinking:
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = calls
        return [message]

    def _text(self, block: Any) -> str:
        """A block as text."""
        if isinstance(block, wire.Text):
            return block.text
        if isinstance(block, wire.SearchResult):
            name, text = (
                "search_result",
                "\n".join(
                    [each for each in (block.title, block.source) if each] + [each.text for each in block.content]
                ),
            )
        elif isinstance(block, wire.ToolReference):
            name, text = "tool_reference", f"Tool: {block.tool_name}"
        elif isinstance(block, wire.ContainerUpload):
            name, text = "container_upload", f"File: {block.file_id}"
        elif isinstance(block, wire.ServerToolUse):
            name, text = "server_tool_use", f"{block.name}({bytes(block.input).decode()})\n"
        elif isinstance(block, wire.WebSearchResult):
            name, text = "web_search_tool_result", _found(block.content)
        else:
            name, text = "content", bytes(block.raw if isinstance(block, wire.Other) else encode(block)).decode()
        self.adapted.append(name)
        return text


def _found(content: Any) -> str:
    """What a web search found, without the page's text, which is in cipher."""
    if not isinstance(content, list):
        return f"Error: {encode(content).decode()}\n"
    pages = [page for page in content if isinstance(page, dict)]
    return "".join(f"{page.get('title') or ''}: {page.get('url') or ''}\n" for page in pages)


def _role(turn: wire.User | wire.Assistant | wire.System | wire.Turn) -> str:
    if isinstance(turn, wire.Turn):
        return turn.role
    if isinstance(turn, wire.User):
        return "user"
    return "assistant" if isinstance(turn, wire.Assistant) else "system"


def _data_url(source: wire.Base64Source) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def _tools(raw: Raw, adapted: list[str]) -> dict[str, Any]:
    definitions = []
    tools = read(raw, wire.tools, "tools")
    for index, each in enumerate(tools):
        place = f"tools[{index}]"
        kind = read(each, wire.tool_type, place).type
        if kind is not None and kind.startswith(_TOOL_SEARCH):
            adapted.append("tools")
            continue
        tool = read(each, wire.tool, place)
        if not present(tool.input_schema):
            raise missing(f"{place}.input_schema")
        schema = read(tool.input_schema, wire.json_object, f"{place}.input_schema")
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
        translated.update(_format(config.format, "output_config.format"))
    return translated


def _format(wanted: wire.Format, place: str) -> dict[str, Any]:
    schema = read(wanted.schema, wire.json_object, f"{place}.schema")
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


_FIELDS: Final[dict[str, Callable[[Raw], dict[str, Any]]]] = {
    "temperature": lambda raw: {"temperature": read(raw, wire.number, "temperature")},
    "top_p": lambda raw: {"top_p": read(raw, wire.number, "top_p")},
    "stop_sequences": _stops,
    "stream": _stream,
    "metadata": _user,
    "output_config": _output,
    "output_format": lambda raw: _format(read(raw, wire.output_format, "output_format"), "output_format"),
}
