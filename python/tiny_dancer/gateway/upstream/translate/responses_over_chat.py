"""Clients of OpenAI's responses at a server that has none: their requests as chat completions, the answers back.

A server of Anthropic's protocol is reached the same way, for chat completions are translated for it already
(:mod:`.chat_over_messages`). Nothing is kept: what asks for something that is stored (``previous_response_id``,
``conversation``, ``prompt``, ``item_reference``, ``background``) is refused, and every answer says
``store: false``.

What has another form:

- instructions and the system and developer messages that follow them are one system message, for the templates of
  many models take no more; later ones are system messages where they stand;
- an answer's text and calls, which are items of their own, are one assistant message; what calls gave follows it
  directly, wherever it stands in ``input``;
- a refusal in an earlier answer is its text; images and files that a call gave follow it in a user message, unless
  the server is Anthropic's, which takes them;
- ``allowed_tools`` leaves the other tools out; other kinds of tools: see :mod:`.responses_tools`;
- what a model thought is a reasoning item: its text, or its summary where the client asks for one. Where the
  client asks for ``reasoning.encrypted_content``, it holds what the model needs back, readable for whoever wants
  to: the blocks Anthropic has signed, or the text for the same model as long as calls are under way. All other
  reasoning in ``input`` is left out, and so are searches, whose findings stand in the answers.

What was said otherwise is named in the header ``x-td-adapted``, in the client's words, where the answer could be
another one for it.

Left out, because the answer is the same kind of answer without them: ``store``, ``metadata``,
``prompt_cache_key``, ``prompt_cache_retention``, ``prompt_cache_options``, ``stream_options``, ``max_tool_calls``,
``truncation`` (a prompt that is too long is an error, as with ``disabled``), and what ``include`` asks beside
reasoning and log-probabilities. Fields that nobody has said anything about here go on as they are.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Adapted
from tiny_dancer.gateway.upstream.translate import responses_request as wire
from tiny_dancer.gateway.upstream.translate.fields import (
    boolean,
    encode,
    given,
    missing,
    read,
    refusal,
)
from tiny_dancer.gateway.upstream.translate.messages_over_chat import limit_name
from tiny_dancer.gateway.upstream.translate.responses_answer import ResponseEvents, Writer
from tiny_dancer.gateway.upstream.translate.responses_reasoning import Thought, read_thought
from tiny_dancer.gateway.upstream.translate.responses_tools import LOCAL_SHELL, Tools, custom_arguments, flat_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.upstream.dialect import Answer, Dialect, Events

_STATE: Final = (
    "the server of this model keeps no responses; send the whole conversation in input, or name a model whose "
    "upstream has /v1/responses"
)
_NO_COUNTERPART: Final = "the server of this model has no such option; leave it out"
_LEFT_OUT: Final = (
    "store",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "stream_options",
    "max_tool_calls",
    "truncation",
)
_ASKS: Final[dict[str, object]] = {"store": True, "truncation": "auto"}
"""What of these asks for something that is not done."""
_REFUSED: Final[dict[str, tuple[str, tuple[object, ...]]]] = {
    "previous_response_id": (_STATE, ()),
    "conversation": (_STATE, ()),
    "prompt": (_STATE, ()),
    "background": (_STATE, (False,)),
    "context_management": (_NO_COUNTERPART, ([],)),
    "moderation": (_NO_COUNTERPART, ()),
}
_ECHOED: Final = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "top_logprobs",
    "top_p",
    "user",
)
_TEXT_ONLY: Final[dict[str, Any]] = {"format": {"type": "text"}}
_NAMES: Final = {
    "messages": "input",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
    "thinking_blocks": "input.reasoning",
}
"""The client's word for a field of a chat completion."""
_ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"
_OF_ASSISTANT: Final = ("function_call", "custom_tool_call", "local_shell_call")
_OUTPUTS: Final = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")

_any: Final = msgspec.json.Decoder()


class ResponsesOverChat:
    """The dialect of one request; see :class:`~tiny_dancer.gateway.upstream.dialect.Dialect`.

    What the client asked decides how its answer looks, so :meth:`request` comes first.
    """

    def __init__(self, chat: Dialect, *, anthropic: bool) -> None:
        """
        Args:
            chat: of chat completions at this upstream.
            anthropic: whether that goes on to Anthropic's protocol.
        """
        self.path = chat.path
        self._chat = chat
        self._anthropic = anthropic
        self._writer: Writer | None = None

    def request(self, fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
        """The body that asks for a chat completion, or what that becomes at this upstream.

        Raises:
            GatewayError: 400, with the field in ``param``.
        """
        body, self._writer, adapted = request(fields, model, anthropic=self._anthropic)
        try:
            asked = self._chat.request(body, model)
        except GatewayError as error:
            raise _renamed(error) from error
        if isinstance(asked, Adapted):
            adapted += [_NAMES.get(name, name) for name in asked.names]
            asked = asked.body
        return Adapted(asked, tuple(dict.fromkeys(adapted))) if adapted else asked

    def response(self, body: bytes) -> Answer:
        """A whole answer."""
        assert self._writer is not None
        return self._writer.whole(self._chat.response(body))

    def roll(self, body: bytes) -> bytes:
        """As chat completions have it."""
        return self._chat.roll(body)

    def unroll(self, body: bytes) -> list[bytes]:
        """As chat completions have it."""
        return self._chat.unroll(body)

    def events(self, fields: Mapping[str, Raw]) -> Events:
        """Events of a response."""
        del fields
        assert self._writer is not None
        options = {"stream_options": Raw(b'{"include_usage":true}')}
        return ResponseEvents(self._chat.events(options), self._writer)

    def failure(self, status: int, body: bytes) -> GatewayError:
        """As chat completions have it."""
        return self._chat.failure(status, body)


def _renamed(error: GatewayError) -> GatewayError:
    """The same with the client's word for the field, which is another's in a chat completion."""
    param = error.param or ""
    first = re.split(r"[\[.]", param, maxsplit=1)[0]
    if first not in _NAMES:
        return error
    # Messages are not the client's items: which of them is meant cannot be said by its place.
    name = _NAMES[first] + ("" if first == "messages" else param[len(first) :])
    message = error.message.removeprefix(f"{param}: ")
    return GatewayError(error.status, f"{name}: {message}", type=error.type, param=name, code=error.code)


def request(fields: Mapping[str, Raw], model: str, *, anthropic: bool) -> tuple[dict[str, Raw], Writer, list[str]]:
    """The fields of a chat completion, what writes its answer as a response, and what was adapted.

    Args:
        fields: the client's.
        model: what the upstream calls it.
        anthropic: whether the chat completion goes on to Anthropic's protocol.

    Raises:
        GatewayError: 400, with the field in ``param``.
    """
    rest = given(fields)
    rest.pop("model", None)
    for name, (remedy, accepted) in _REFUSED.items():
        raw = rest.pop(name, None)
        if raw is not None and not any(_any.decode(raw) == usual for usual in accepted):
            raise refusal(name, remedy)
    if "input" not in rest:
        raise missing("input")
    tools = Tools(raw_tools := rest.pop("tools", None), raw_choice := rest.pop("tool_choice", None))
    raw_text, raw_reasoning = rest.pop("text", None), rest.pop("reasoning", None)
    reasoning = wire.Thinking() if raw_reasoning is None else read(raw_reasoning, wire.reasoning, "reasoning")
    include = read(rest.pop("include", Raw(b"[]")), wire.names, "include")
    frame: dict[str, Any] = {
        "background": False,
        "error": None,
        "incomplete_details": None,
        **{name: rest.get(name) for name in _ECHOED},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": raw_reasoning or {"effort": None, "summary": None},
        "store": False,
        "text": raw_text or _TEXT_ONLY,
        "tool_choice": raw_choice or "auto",
        "tools": tools.offered if raw_tools is not None else [],
        "truncation": "disabled",
    }
    system, said = rest.pop("instructions", None), rest.pop("input")
    messages = _Conversation(model, anthropic=anthropic)
    if system is not None:
        messages.system(read(system, wire.instructions, "instructions"))
    body: dict[str, Any] = {"messages": messages.of(said)}
    if tools.definitions:
        body["tools"] = tools.definitions
        if tools.choice is not None:
            body["tool_choice"] = tools.choice
    raw = rest.pop("parallel_tool_calls", None)
    if raw is not None and not boolean(raw, "parallel_tool_calls"):
        frame["parallel_tool_calls"] = False
        if tools.definitions:
            body["parallel_tool_calls"] = False
    if raw_text is not None:
        body.update(_text(raw_text))
    if reasoning.effort is not None:
        body["reasoning_effort"] = reasoning.effort
    raw = rest.pop("max_output_tokens", None)
    if raw is not None:
        body[limit_name(model)] = read(raw, wire.limit, "max_output_tokens")
    raw = rest.pop("top_logprobs", None)
    top = 0 if raw is None else read(raw, wire.count, "top_logprobs")
    if top or _LOGPROBS in include:
        body["logprobs"] = True
    if top:
        body["top_logprobs"] = top
    raw = rest.pop("service_tier", None)
    if raw is not None and _any.decode(raw) not in ("auto", "default"):
        body["service_tier"] = raw
    adapted = [*tools.adapted, *messages.adapted]
    for name in _LEFT_OUT:
        raw = rest.pop(name, None)
        if raw is not None and _any.decode(raw) == _ASKS.get(name):
            adapted.append(name)
    for name, value in rest.items():
        if name in body:
            raise refusal(name, "another field says the same in the words of responses; leave one of them out")
        body[name] = value
    writer = Writer(
        frame,
        tools,
        model=model,
        summary=(reasoning.summary or reasoning.generate_summary) is not None,
        encrypted=_ENCRYPTED in include,
        logprobs=top > 0 or _LOGPROBS in include,
    )
    encoded = {name: each if isinstance(each, Raw) else Raw(encode(each)) for name, each in body.items()}
    return encoded, writer, adapted


def _text(raw: Raw) -> dict[str, Any]:
    text = read(raw, wire.text, "text")
    found: dict[str, Any] = {}
    if isinstance(text.format, wire.JSONFormat):
        found["response_format"] = {"type": "json_object"}
    elif isinstance(text.format, wire.SchemaFormat):
        schema = {name: getattr(text.format, name) for name in ("name", "description", "schema", "strict")}
        schema = {name: value for name, value in schema.items() if value is not None}
        found["response_format"] = {"type": "json_schema", "json_schema": schema}
    if text.verbosity not in (None, "medium"):
        found["verbosity"] = text.verbosity
    return found


def _called(call: wire.FunctionCall | wire.CustomCall) -> str:
    return call.name if call.namespace is None else flat_name(call.namespace, call.name)


class _Conversation:
    """Items as messages: see the module.

    Attributes:
        adapted: what the model does not get.
    """

    def __init__(self, model: str, *, anthropic: bool) -> None:
        self._model = model
        self._anthropic = anthropic
        self.adapted: list[str] = []
        self._messages: list[dict[str, Any]] = []
        self._leading: list[str] = []
        self._open: dict[str, Any] | None = None  # an answer that may go on
        self._answered = False  # whether its calls have
        self._thought: list[Thought] = []
        self._results: defaultdict[str, deque[tuple[str, wire.CallOutput]]] = defaultdict(deque)

    def system(self, text: str) -> None:
        """Instructions."""
        if not self._messages:
            self._leading += [text] if text else []
        else:
            self._messages.append({"role": "system", "content": text})

    def of(self, raw: Raw) -> list[dict[str, Any]]:
        """All messages."""
        said = read(raw, wire.input, "input")
        if isinstance(said, str):
            self._messages.append({"role": "user", "content": said})
        else:
            self._items(said)
        if not self._leading:
            return self._messages
        return [{"role": "system", "content": "\n\n".join(self._leading)}, *self._messages]

    def _items(self, raws: list[Raw]) -> None:
        items: list[tuple[str, str, Raw]] = []
        asked = 0  # where the last message of the user's stands
        for index, raw in enumerate(raws):
            place = f"input[{index}]"
            head = read(raw, wire.head, place)
            kind = head.type or ("message" if head.role else "item_reference")
            items.append((place, kind, raw))
            if kind in _OUTPUTS:
                output = read(raw, wire.call_output, place)
                self._results[output.call_id or output.id or ""].append((place, output))
            elif kind == "message" and head.role == "user":
                asked = index
        for index, (place, kind, raw) in enumerate(items):
            if kind == "message":
                self._message(read(raw, wire.message, place), place)
            elif kind in _OF_ASSISTANT:
                self._call(kind, raw, place)
            elif kind in _OUTPUTS:
                self._answered = True
            elif kind == "reasoning":
                self._reasoning(read(raw, wire.reasoning_item, place), index > asked)
            elif kind == "item_reference":
                raise refusal(place, _STATE)
            elif kind == "web_search_call":
                self.adapted.append("input.web_search_call")
            else:
                raise refusal(place, f"{kind[:100]} is an item this model's server has no word for; leave it out")
        self._close()
        for results in self._results.values():
            for place, output in results:
                called = (output.call_id or output.id or "")[:100]
                raise refusal(place, f"no call with the call_id '{called}' stands in input; send it too")

    def _message(self, message: wire.Message, place: str) -> None:
        content = message.content
        parts: list[wire.Part] = [wire.InputText(content)] if isinstance(content, str) else content
        if message.role == "assistant":
            self._answer("".join(_words(parts, place)))
            return
        self._close()
        if message.role != "user":
            self.system("\n\n".join(_words(parts, place)))
        elif parts:
            self._messages.append({"role": "user", "content": _content(parts, place)})

    def _answer(self, text: str) -> None:
        if self._open is not None and self._open["content"] and "tool_calls" not in self._open:
            self._close()  # answers of their own, one after the other
        message = self._begin()
        message["content"] = (message["content"] or "") + text

    def _call(self, kind: str, raw: Raw, place: str) -> None:
        if kind == "function_call":
            call = read(raw, wire.function_call, place)
            found = call.call_id, _called(call), call.arguments
        elif kind == "custom_tool_call":
            custom = read(raw, wire.custom_call, place)
            found = custom.call_id, _called(custom), custom_arguments(custom.input)
        else:
            shell = read(raw, wire.shell_call, place)
            action = read(shell.action, wire.json_object, f"{place}.action")
            kept = {name: value for name, value in action.items() if name not in ("type", "env", "user")}
            found = shell.call_id or shell.id or "", LOCAL_SHELL, encode(kept).decode()
        id, name, arguments = found
        function = {"name": name, "arguments": arguments}
        call_of = {"id": id, "type": "function", "function": function}
        self._begin().setdefault("tool_calls", []).append(call_of)

    def _reasoning(self, item: wire.Reasoning, current: bool) -> None:
        found = read_thought(item.encrypted_content or "")
        if found is not None:
            mine = found.model == self._model and found.field and current
            if found.blocks if self._anthropic else mine:
                self._thought.append(found)
                return
        self.adapted.append("input.reasoning")

    def _begin(self) -> dict[str, Any]:
        """The message of an answer that is not yet closed by what its calls gave."""
        if self._answered:
            self._close()
        if self._open is None:
            self._open = {"role": "assistant", "content": None}
        for thought in self._thought:
            if self._anthropic:
                self._open.setdefault("thinking_blocks", []).extend(thought.blocks)
            else:
                self._open[thought.field] = self._open.get(thought.field, "") + thought.text
        self._thought.clear()
        return self._open

    def _close(self) -> None:
        message, self._open = self._open, None
        self._answered = False
        self._thought.clear()
        if message is None or not (message["content"] or "tool_calls" in message):
            return
        self._messages.append(message)
        beside: list[dict[str, Any]] = []
        for call in message.get("tool_calls", ()):
            results = self._results.get(call["id"])
            if not results:
                continue  # the upstream says what it misses
            place, output = results.popleft()
            content: str | list[dict[str, Any]]
            if isinstance(output.output, str):
                content = output.output
            else:
                parts = [_part(part, f"{place}.output[{at}]") for at, part in enumerate(output.output)]
                texts = [part["text"] for part in parts if part["type"] == "text"]
                content = parts if self._anthropic else "\n".join(texts)
                beside += [part for part in parts if part["type"] != "text" and not self._anthropic]
            self._messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
        if beside:
            self._messages.append({"role": "user", "content": beside})


def _words(parts: list[wire.Part], place: str) -> list[str]:
    """The texts of a message that may hold nothing else."""
    found = []
    for index, part in enumerate(parts):
        if isinstance(part, wire.Refusal):
            found.append(part.refusal)
        elif isinstance(part, wire.InputText | wire.OutputText):
            found.append(part.text)
        else:
            raise refusal(f"{place}.content[{index}]", "only a user's message holds images, files or sound")
    return found


def _content(parts: list[wire.Part], place: str) -> str | list[dict[str, Any]]:
    found = [_part(part, f"{place}.content[{index}]") for index, part in enumerate(parts)]
    # Servers of small models take a text more often than parts.
    return found[0]["text"] if len(found) == 1 and found[0]["type"] == "text" else found


def _part(part: wire.Part, place: str) -> dict[str, Any]:
    if isinstance(part, wire.InputText | wire.OutputText):
        return {"type": "text", "text": part.text}
    if isinstance(part, wire.Refusal):
        return {"type": "text", "text": part.refusal}
    if isinstance(part, wire.InputAudio):
        return {"type": "input_audio", "input_audio": part.input_audio}
    if isinstance(part, wire.InputImage):
        if not part.image_url:
            raise refusal(f"{place}.file_id", f"{_STATE}; an image as image_url")
        image = {"url": part.image_url}
        return {"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})}
    if not part.file_data:
        raise refusal(
            f"{place}.{'file_url' if part.file_url else 'file_id'}", "send the file itself, as file_data"
        )
    return {"type": "file", "file": {"filename": part.filename or "file.pdf", "file_data": part.file_data}}
