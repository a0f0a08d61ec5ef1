"""Clients of chat completions at a server of Anthropic's messages: their requests there, its answers back.

Nothing is silently replaced. What Anthropic has a word for is said in it; a field that asks for something it has
no word for is refused, unless it asks for what happens anyway (``n: 1``, ``logprobs: false``). Other fields are
sent on as they are: clients use them for Anthropic's own (``thinking``, ``top_k``), and Anthropic refuses by name
those it does not know.

Left out, because the answer is the same kind of answer without them:

- ``seed``: OpenAI promises no more than best effort, and Anthropic can make none;
- ``prediction``, ``prompt_cache_key``, ``prompt_cache_retention``, ``prompt_cache_options``: hints about speed and
  cost;
- ``metadata``: labels for OpenAI's own dashboard;
- ``name`` of a message, ``detail`` of an image: as Anthropic's own OpenAI-compatible endpoint does;
- ``reasoning_content`` of earlier answers: Anthropic takes back only thinking it has signed.

System and developer messages move to the front, wherever they stand, as on that endpoint. ``temperature`` above 1
is refused, for Anthropic's scale ends there. Without a limit an answer may have :data:`DEFAULT_MAX_TOKENS` tokens,
because Anthropic requires one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.dialect import Answer, Reported
from tiny_dancer.gateway.upstream.translate import chat_request as chat
from tiny_dancer.gateway.upstream.translate import failures
from tiny_dancer.gateway.upstream.translate.fields import (
    ABSENT,
    an_object,
    boolean,
    encode,
    given,
    missing,
    only,
    parse,
    present,
    read,
    refusal,
    string,
)
from tiny_dancer.gateway.upstream.translate.usage import AnthropicCounts, say_openai

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiny_dancer.gateway.errors import GatewayError
    from tiny_dancer.gateway.upstream.dialect import Usage

DEFAULT_MAX_TOKENS: Final = 16_384
"""Output tokens of an answer where the client sets no limit; the models on offer allow at least twice as many."""

_IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")


# What these may say without asking for anything.
_USUAL: Final[dict[str, tuple[object, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "store": (False,),
    "service_tier": ("auto",),
    "audio": (),
    "functions": (),
    "function_call": (),
    "web_search_options": (),
    "moderation": (),
}
_LEFT_OUT: Final = (
    "seed",
    "prediction",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
)


def request(fields: Mapping[str, Raw], model: str) -> bytes:
    """The body for ``/messages``.

    Raises:
        GatewayError: 400, with the field in ``param``.
    """
    rest = given(fields)
    rest.pop("model", None)
    if "messages" not in rest:
        raise missing("messages")
    system, messages = _conversation(rest.pop("messages"))
    completion, limit = rest.pop("max_completion_tokens", None), rest.pop("max_tokens", None)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": _max_tokens(completion, limit),
        "messages": messages,
    }
    if system:
        body["system"] = system
    _tool_use(rest, body)
    _output(rest, body)
    for name, translate in _FIELDS.items():
        raw = rest.pop(name, None)
        if raw is not None:
            body.update(translate(raw))
    user, identifier = rest.pop("user", None), rest.pop("safety_identifier", None)
    for param, raw in (("user", user), ("safety_identifier", identifier)):
        if raw is not None:
            body["metadata"] = {"user_id": string(raw, param)}
    includes_usage(rest)
    rest.pop("stream_options", None)
    for name in _LEFT_OUT:
        rest.pop(name, None)
    for name, accepted in _USUAL.items():
        raw = rest.pop(name, None)
        if raw is not None:
            only(raw, name, accepted, "Anthropic")
    for name, raw in rest.items():
        if name in body:
            raise refusal(name, "another field says the same in OpenAI's words; leave one of them out")
        body[name] = raw
    return encode(body)


def includes_usage(fields: Mapping[str, Raw]) -> bool:
    """Whether the client asked for the chunk that says what a stream cost.

    Raises:
        GatewayError: 400; ``stream_options`` cannot be read.
    """
    raw = fields.get("stream_options")
    if raw is None or not present(raw):
        return False
    return read(raw, chat.stream_options, "stream_options").include_usage is True


def _max_tokens(completion: Raw | None, limit: Raw | None) -> int:
    if completion is not None:
        return read(completion, chat.limit, "max_completion_tokens")
    return DEFAULT_MAX_TOKENS if limit is None else read(limit, chat.limit, "max_tokens")


def _conversation(raw: Raw) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]]]:
    """Instructions, and turns of alternating roles: neighbours of one are merged, tool results are the user's."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    messages = read(raw, chat.messages, "messages")
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if isinstance(message, chat.System | chat.Developer):
            system += [block for block in _blocks(message.content, place) if block["text"]]
            continue
        if isinstance(message, chat.User):
            role, blocks = "user", _blocks(message.content, place)
        elif isinstance(message, chat.Assistant):
            role, blocks = "assistant", _answered(message, place)
        else:
            role, blocks = "user", [_result(message, place)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if len(system) == 1 and len(system[0]) == 2:
        return system[0]["text"], turns
    return system, turns


def _answered(message: chat.Assistant, place: str) -> list[dict[str, Any]]:
    for name in ("function_call", "audio"):
        if present(getattr(message, name)):
            raise refusal(f"{place}.{name}", "Anthropic has no such part of an answer; leave it out")
    blocks = [block for block in _blocks(message.content or message.refusal or "", place) if block["text"]]
    for index, call in enumerate(message.tool_calls or ()):
        arguments = an_object(call.function.arguments, f"{place}.tool_calls[{index}].function.arguments")
        blocks.append({"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments})
    return blocks


def _result(message: chat.Tool, place: str) -> dict[str, Any]:
    content: str | list[dict[str, Any]] = message.content if isinstance(message.content, str) else []
    if isinstance(message.content, list):
        content = _blocks(message.content, place)
    return {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}


def _blocks(content: Any, place: str) -> list[dict[str, Any]]:
    """Without texts that are empty, which Anthropic refuses, unless that leaves nothing."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = [_block(part, f"{place}.content[{index}]") for index, part in enumerate(content)]
    return [block for block in blocks if block.get("text") != ""] or blocks


def _block(part: chat.Text | chat.Refusal | chat.Image | chat.File, place: str) -> dict[str, Any]:
    if isinstance(part, chat.Refusal):
        return {"type": "text", "text": part.refusal}
    if isinstance(part, chat.Text):
        block: dict[str, Any] = {"type": "text", "text": part.text}
    elif isinstance(part, chat.Image):
        block = {"type": "image", "source": _image(part.image_url.url, f"{place}.image_url.url")}
    else:
        block = _document(part.file, f"{place}.file")
    if present(part.cache_control):
        block["cache_control"] = part.cache_control
    return block


def _image(url: str, place: str) -> dict[str, str]:
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    media_type, data = _inline(url)
    if media_type not in _IMAGE_TYPES:
        raise refusal(place, f"Anthropic takes https URLs and base64 data URLs of {', '.join(_IMAGE_TYPES)}")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: chat.FileData, place: str) -> dict[str, Any]:
    media_type, data = _inline(file.file_data or "")
    if media_type != "application/pdf":
        raise refusal(place, "Anthropic takes files as file_data only, a base64 data URL of application/pdf")
    block: dict[str, Any] = {
        "type": "document",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }
    if file.filename:
        block["title"] = file.filename
    return block


def _inline(url: str) -> tuple[str, str]:
    """Media type and base64 of ``data:image/png;base64,...``; two empty texts where it is none."""
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        return "", ""
    return head[5:].partition(";")[0].lower(), data


def _tool_use(rest: dict[str, Raw], body: dict[str, Any]) -> None:
    """``tools``, ``tool_choice`` and ``parallel_tool_calls``."""
    raw, raw_choice = rest.pop("tools", None), rest.pop("tool_choice", None)
    raw_parallel = rest.pop("parallel_tool_calls", None)
    parallel = raw_parallel is None or boolean(raw_parallel, "parallel_tool_calls")
    definitions = [] if raw is None else read(raw, chat.tools, "tools")
    choice = "auto" if raw_choice is None else read(raw_choice, chat.tool_choice, "tool_choice")
    if not definitions:
        if choice not in ("auto", "none"):
            raise refusal("tool_choice", "there are no tools to choose from; send tools too")
        return
    if isinstance(choice, chat.AllowedTools):
        names = {tool.function.name for tool in choice.allowed_tools.tools}
        definitions = [tool for tool in definitions if tool.function.name in names]
        if not definitions:
            raise refusal("tool_choice.allowed_tools.tools", "none of them is among tools")
        choice = choice.allowed_tools.mode
    body["tools"] = [_definition(tool, f"tools[{index}]") for index, tool in enumerate(definitions)]
    if isinstance(choice, chat.NamedTool):
        chosen: dict[str, Any] = {"type": "tool", "name": choice.function.name}
    else:
        chosen = {"type": {"auto": "auto", "none": "none", "required": "any"}[choice]}
    if not parallel and choice != "none":
        chosen["disable_parallel_tool_use"] = True
    if raw_choice is not None or not parallel:
        body["tool_choice"] = chosen


def _definition(tool: chat.ToolDefinition, place: str) -> dict[str, Any]:
    function = tool.function
    schema: dict[str, Any] = {"type": "object"}
    if present(function.parameters):
        given_schema = read(function.parameters, chat.json_object, f"{place}.function.parameters")
        schema.update(given_schema)
    translated: dict[str, Any] = {"name": function.name, "input_schema": schema}
    if function.description:
        translated["description"] = function.description
    if function.strict:
        translated["strict"] = True
    if present(tool.cache_control):
        translated["cache_control"] = tool.cache_control
    return translated


def _output(rest: dict[str, Raw], body: dict[str, Any]) -> None:
    """``response_format`` and ``reasoning_effort``, which share ``output_config``.

    A model told to reason decides itself when and how much (``adaptive``), as OpenAI's do; one that has to call a
    tool may not think first, but can make an effort. Anthropic's models before 4.6 know only a budget of tokens,
    and refuse; for those clients can send Anthropic's own ``thinking``.
    """
    config: dict[str, Any] = {}
    raw = rest.pop("reasoning_effort", None)
    if raw is not None:
        effort = read(raw, chat.effort, "reasoning_effort")
        if effort == "minimal":
            raise refusal("reasoning_effort", "Anthropic has none, low, medium, high, xhigh and max")
        if effort != "none":
            config["effort"] = effort
        forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
        if "thinking" not in rest and not forced:
            body["thinking"] = {"type": "disabled" if effort == "none" else "adaptive"}
    raw = rest.pop("response_format", None)
    if raw is not None:
        wanted = read(raw, chat.response_format, "response_format")
        if isinstance(wanted, chat.JSONFormat):
            raise refusal("response_format", "Anthropic has no json_object; use json_schema, with a schema")
        if isinstance(wanted, chat.SchemaFormat):
            if not present(wanted.json_schema.schema):
                raise missing("response_format.json_schema.schema")
            schema = read(wanted.json_schema.schema, chat.json_object, "response_format.json_schema.schema")
            config["format"] = {"type": "json_schema", "schema": schema}
    if config:
        body["output_config"] = config


def _heat(raw: Raw) -> dict[str, Any]:
    value = read(raw, chat.temperature, "temperature")
    if value > 1:
        raise refusal("temperature", "Anthropic's ends at 1")
    # 1 is what both have by default, and newer models of Anthropic's refuse the field.
    return {} if value == 1 else {"temperature": value}


def _nucleus(raw: Raw) -> dict[str, Any]:
    value = read(raw, chat.share, "top_p")
    return {} if value == 1 else {"top_p": value}


def _stops(raw: Raw) -> dict[str, Any]:
    stop = read(raw, chat.stop, "stop")
    return {"stop_sequences": [stop] if isinstance(stop, str) else stop}


_FIELDS: Final[dict[str, Callable[[Raw], dict[str, Any]]]] = {
    "temperature": _heat,
    "top_p": _nucleus,
    "stop": _stops,
    "stream": lambda raw: {"stream": True} if boolean(raw, "stream") else {},
}


# Answers.

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Block(Struct):
    """A block of any type, with the fields of those that have a counterpart."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class _Message(Struct):
    id: str
    model: str
    content: list[_Block]
    stop_reason: str | None = None
    usage: Raw = ABSENT


class _Delta(Struct):
    """Of a block or, with its reason to stop, of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Event(Struct):
    type: str
    message: _Message | None = None
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Raw = ABSENT


_message: Final = msgspec.json.Decoder(_Message)
_event: Final = msgspec.json.Decoder(_Event)


def response(body: bytes) -> Answer:
    """A whole answer.

    Raises:
        ValueError: it is no message of Anthropic's.
    """
    read = parse(body, _message)
    usage = AnthropicCounts(read.usage).usage
    text = [block.text for block in read.content if block.type == "text"]
    thinking = [block.thinking for block in read.content if block.type == "thinking"]
    calls = [
        {
            "id": block.id,
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode()},
        }
        for block in read.content
        if block.type == "tool_use"
    ]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) if text else None, "refusal": None}
    if any(thinking):
        message["reasoning_content"] = "".join(thinking)
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(read.stop_reason)}
    completion = {
        "id": read.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": read.model,
        "choices": [choice],
        "usage": say_openai(usage),
    }
    return Answer(encode(completion), usage, read.id)


class ChunkEvents:
    """A streamed answer as chunks; see :class:`~tiny_dancer.gateway.upstream.dialect.Events`.

    Nothing is given out before there is something to say: until then another model may still take over.
    """

    def __init__(self, *, wants_usage: bool) -> None:
        """``wants_usage``: the client asked for the chunk that says what the stream cost."""
        self.usage: Usage | None = None
        self.id: str | None = None
        self.content = False
        self.finished = False
        self.error: GatewayError | None = None
        self._wants_usage = wants_usage
        self._counted = AnthropicCounts()
        self._model = ""
        self._created = int(time.time())
        self._calls: dict[int, int] = {}  # index of a block of Anthropic's: index of the tool call
        self._stopped = False

    def feed(self, event: bytes) -> bytes:
        """The chunks that say the same."""
        data = sse.data_of(event)
        if not data:
            return b""
        read = parse(data, _event)
        if read.type == "content_block_delta":
            return b"" if read.delta is None else self._block_delta(read.index, read.delta)
        if read.type == "content_block_start":
            return b"" if read.content_block is None else self._block_start(read.index, read.content_block)
        if read.type == "message_start":
            if read.message is None:
                raise ValueError("message_start without a message")
            self.id, self._model = read.message.id, read.message.model
            self._count(read.message.usage)
        elif read.type == "message_delta":
            return self._message_delta(read)
        elif read.type == "message_stop":
            return self._end()
        elif read.type == "error":
            return self._failed(failures.anthropic_event(data))
        return b""

    def end(self) -> bytes:
        """The last events, where only those are missing."""
        return self._end() if self._stopped else b""

    def _failed(self, error: GatewayError) -> bytes:
        if not self.content:
            raise Reported(error)
        self.error = error
        self.finished = True
        return sse.event(error.openai())

    def cut(self, error: GatewayError) -> bytes:
        """The error as an event, as OpenAI does it, unless the upstream has said one."""
        return b"" if self.error is not None else sse.event(error.openai())

    def _block_start(self, index: int, block: _Block) -> bytes:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            function = {"name": block.name, "arguments": ""}
            call = {"index": number, "id": block.id, "type": "function", "function": function}
            return self._chunk({"tool_calls": [call]})
        return self._words(block.text, block.thinking)

    def _block_delta(self, index: int, delta: _Delta) -> bytes:
        if delta.type == "input_json_delta" and index in self._calls:
            if not delta.partial_json:
                return b""
            call = {"index": self._calls[index], "function": {"arguments": delta.partial_json}}
            return self._chunk({"tool_calls": [call]})
        return self._words(delta.text, delta.thinking)

    def _words(self, text: str, thinking: str) -> bytes:
        if thinking:
            return self._chunk({"reasoning_content": thinking})
        return self._chunk({"content": text}) if text else b""

    def _message_delta(self, read: _Event) -> bytes:
        self._count(read.usage)
        if read.delta is None or read.delta.stop_reason is None or self._stopped:
            return b""
        self._stopped = True
        return self._chunk({}, _finish(read.delta.stop_reason))

    def _end(self) -> bytes:
        if self.finished:
            return b""
        self.finished = True
        if not self._wants_usage:
            return sse.DONE
        chunk = {**self._frame(), "choices": [], "usage": say_openai(self.usage)}
        return sse.event(encode(chunk)) + sse.DONE

    def _count(self, usage: Raw) -> None:
        self._counted.update(usage)
        self.usage = self._counted.usage

    def _frame(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        if self.id is None:
            raise ValueError("a stream that does not begin with message_start")
        first = b""
        if not self.content:
            self.content = True
            first = self._chunk({"role": "assistant", "content": ""})
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._frame(), "choices": [choice]}
        if self._wants_usage:
            chunk["usage"] = None
        return first + sse.event(encode(chunk))


def _finish(stop_reason: str | None) -> str:
    return FINISH_REASONS.get(stop_reason or "", "stop")
