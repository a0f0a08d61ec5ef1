"""Clients of chat completions at a server of Anthropic's messages: their requests there.
:mod:`.chat_from_messages` reads the answers.

Nothing is silently replaced. What Anthropic has a word for is said in it; a field that asks for something it has
no word for is refused, unless it asks for what happens anyway (``n: 1``, ``logprobs: false``). Other fields are
sent on as they are: clients use them for Anthropic's own (``thinking``, ``top_k``), and Anthropic refuses by
name those it does not know.

Left out, because the answer is the same kind of answer without them:

- ``seed``: OpenAI promises no more than best effort, and Anthropic can make none;
- ``prediction``, ``prompt_cache_key``, ``prompt_cache_retention``, ``prompt_cache_options``: hints about speed
  and cost;
- ``metadata``: labels for OpenAI's own dashboard;
- ``name`` of a message, ``detail`` of an image: as Anthropic's own OpenAI-compatible endpoint does.

System and developer messages move to the front, wherever they stand, as on that endpoint. Without a limit an
answer may have :data:`DEFAULT_MAX_TOKENS` tokens beside those it may think, because Anthropic requires one. A
mark for the cache on a message (``cache_control``) moves to its last block. Texts that are nothing but space are
left out where something else is said.

What Anthropic would refuse is adapted, and named in the header ``x-td-adapted``:

- ``temperature`` above 1 is sent as 1, where Anthropic's scale ends; with ``top_p`` beside it, ``top_p`` is left
  out, for newer models take one of them. Both, and ``top_k``, are left out where a model thinks (but a ``top_p``
  from .95), and at models from 4.7 on, which take none of them;
- stop sequences (``stop``) without a letter are left out;
- ``reasoning_effort: minimal`` is sent as ``low``; at models before 4.6 an effort is a budget of tokens, or
  nothing where the limit leaves no room for one or the model cannot think;
- ``verbosity`` low or high is sent as the effort, where none is given and the model has such a thing, or else
  left out;
- ``response_format: json_object`` becomes a sentence at the end of the instructions;
- ``image/jpg`` becomes ``image/jpeg`` (``image_url``);
- ``thinking`` with a tool that has to be called, or with a budget after calls of tools that another model made
  without signed thinking, is left out;
- thinking of earlier answers that is not signed (``reasoning_content``) is left out; signed ``thinking_blocks``
  are put first;
- ids of tool calls Anthropic does not take (``tool_ids``, see :mod:`.history`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.upstream.dialect import Adapted
from tiny_dancer.gateway.upstream.translate import chat_request as chat
from tiny_dancer.gateway.upstream.translate import history
from tiny_dancer.gateway.upstream.translate.fields import (
    an_object,
    boolean,
    encode,
    given,
    missing,
    only,
    present,
    read,
    refusal,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

DEFAULT_MAX_TOKENS: Final = 16_384
"""Output tokens of an answer where the client sets no limit; the models on offer allow at least twice as many."""

_IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_JSON_ONLY: Final = "Answer with one JSON object and nothing else."
_LEAST_BUDGET: Final = 1024
_BUDGETS: Final = {"low": 1024, "medium": 4096, "high": 8192, "xhigh": 16_384, "max": 24_576}
"""Tokens to think with, for models that know no effort."""
_LEAST_TOP_P: Final = 0.95  # with thinking
# claude-opus-4-7, claude-sonnet-4-5-20250929, anthropic.claude-haiku-4.5, claude-opus-5; claude-3-7-sonnet.
_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_EFFORT: Final = (4, 6)
_NO_SAMPLING: Final = (4, 7)
_THINKING: Final = (3, 7)

# What these may say without asking for anything.
_USUAL: Final[dict[str, tuple[object, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
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


def request(fields: Mapping[str, Raw], model: str) -> bytes | Adapted:
    """The body for ``/messages``.

    Raises:
        GatewayError: 400, with the field in ``param``.
    """
    rest = given(fields)
    rest.pop("model", None)
    if "messages" not in rest:
        raise missing("messages")
    conversation = _Conversation(rest.pop("messages"))
    adapted = conversation.adapted
    completion, limit = rest.pop("max_completion_tokens", None), rest.pop("max_tokens", None)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": _max_tokens(completion, limit),
        "messages": conversation.turns,
    }
    system = conversation.system
    _tool_use(rest, body)
    _output(rest, body, system, adapted, _version(model))
    if system:
        body["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    thinking = _thinking(rest, body, conversation, limited=bool(completion or limit))
    _sampling(rest, body, adapted, _version(model), thinks=thinking.get("type") not in (None, "disabled"))
    if (raw := rest.pop("stream", None)) is not None and boolean(raw, "stream"):
        body["stream"] = True
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
    sent = encode(body)
    return Adapted(sent, tuple(dict.fromkeys(adapted))) if adapted else sent


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


def _version(model: str) -> tuple[int, int] | None:
    """Of a model of Anthropic's; None where its name does not say."""
    found = _VERSION.search(model.lower())
    return None if found is None else (int(found[1]), int(found[2] or 0))


class _Conversation:
    """Messages as turns of alternating roles: neighbours of one are merged, tool results are the user's and come
    first.

    Attributes:
        system: instructions, as blocks.
        turns: the rest.
        adapted: what they say otherwise.
    """

    def __init__(self, raw: Raw) -> None:
        self.system: list[dict[str, Any]] = []
        self.turns: list[dict[str, Any]] = []
        self.adapted: list[str] = []
        self._ids = history.anthropic_ids()
        messages = read(raw, chat.messages, "messages")
        for index, message in enumerate(messages):
            self._add(message, f"messages[{index}]")
        for turn in self.turns:
            turn["content"] = _worth_saying(turn["content"])
        if self._ids.changed:
            self.adapted.append("tool_ids")

    def _add(self, message: Any, place: str) -> None:
        if isinstance(message, chat.System | chat.Developer):
            blocks = [block for block in self._blocks(message.content, place) if block["text"]]
            self.system += _marked(blocks, message.cache_control)
            return
        if isinstance(message, chat.Tool):
            result = _marked([self._result(message, place)], message.cache_control)
            content = self._turn("user")
            results = sum(block["type"] == "tool_result" for block in content)
            content[results:results] = result
            return
        if isinstance(message, chat.User):
            role, blocks = "user", self._blocks(message.content, place)
        else:
            role, blocks = "assistant", self._answered(message, place)
        if blocks:
            self._turn(role).extend(_marked(blocks, message.cache_control))

    def _turn(self, role: str) -> list[dict[str, Any]]:
        """The blocks of the turn that is under way, or of a new one."""
        if not self.turns or self.turns[-1]["role"] != role:
            self.turns.append({"role": role, "content": []})
        content: list[dict[str, Any]] = self.turns[-1]["content"]
        return content

    def _answered(self, message: chat.Assistant, place: str) -> list[dict[str, Any]]:
        for name in ("function_call", "audio"):
            if present(getattr(message, name)):
                raise refusal(f"{place}.{name}", "Anthropic has no such part of an answer; leave it out")
        blocks: list[dict[str, Any]] = []
        for thought in message.thinking_blocks or ():
            if thought.type == "redacted_thinking" and thought.data:
                blocks.append({"type": "redacted_thinking", "data": thought.data})
            elif thought.type == "thinking" and thought.signature:
                said = {"type": "thinking", "thinking": thought.thinking or "", "signature": thought.signature}
                blocks.append(said)
            else:
                self.adapted.append("thinking_blocks")
        if not blocks and present(message.reasoning_content):
            self.adapted.append("reasoning_content")
        texts = self._blocks(message.content or message.refusal or "", place)
        blocks += [block for block in texts if block["text"]]
        for index, call in enumerate(message.tool_calls or ()):
            arguments = an_object(call.function.arguments, f"{place}.tool_calls[{index}].function.arguments")
            used = {"type": "tool_use", "id": self._ids.call(call.id), "name": call.function.name}
            blocks.append({**used, "input": arguments})
        return blocks

    def _result(self, message: chat.Tool, place: str) -> dict[str, Any]:
        content: str | list[dict[str, Any]] = message.content if isinstance(message.content, str) else []
        if isinstance(message.content, list):
            content = self._blocks(message.content, place)
        identifier = self._ids.result(message.tool_call_id)
        return {"type": "tool_result", "tool_use_id": identifier, "content": content}

    def _blocks(self, content: Any, place: str) -> list[dict[str, Any]]:
        """Without texts that are empty, which Anthropic refuses, unless that leaves nothing."""
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        blocks = [self._block(part, f"{place}.content[{index}]") for index, part in enumerate(content)]
        return [block for block in blocks if block.get("text") != ""] or blocks

    def _block(self, part: chat.Text | chat.Refusal | chat.Image | chat.File, place: str) -> dict[str, Any]:
        if isinstance(part, chat.Refusal):
            return {"type": "text", "text": part.refusal}
        if isinstance(part, chat.Text):
            block: dict[str, Any] = {"type": "text", "text": part.text}
        elif isinstance(part, chat.Image):
            block = {"type": "image", "source": self._image(part.image_url.url, f"{place}.image_url.url")}
        else:
            block = _document(part.file, f"{place}.file")
        if present(part.cache_control):
            block["cache_control"] = part.cache_control
        return block

    def _image(self, url: str, place: str) -> dict[str, str]:
        if url.startswith(("https://", "http://")):
            return {"type": "url", "url": url}
        media_type, data = _inline(url)
        if media_type == "image/jpg":
            media_type = "image/jpeg"
            self.adapted.append("image_url")
        if media_type not in _IMAGE_TYPES:
            raise refusal(place, f"Anthropic takes https URLs and base64 data URLs of {', '.join(_IMAGE_TYPES)}")
        return {"type": "base64", "media_type": media_type, "data": data}


def _marked(blocks: list[dict[str, Any]], mark: Raw) -> list[dict[str, Any]]:
    """With a message's mark for the cache on the last block that can bear one."""
    if present(mark):
        bearers = [each for each in blocks if each["type"] not in ("thinking", "redacted_thinking")]
        if bearers and bearers[-1].get("text") != "":
            bearers[-1].setdefault("cache_control", mark)
    return blocks


def _worth_saying(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without texts of nothing but space, which Anthropic refuses, unless that leaves nothing."""
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()] or blocks


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


def _output(
    rest: dict[str, Raw],
    body: dict[str, Any],
    system: list[dict[str, Any]],
    adapted: list[str],
    version: tuple[int, int] | None,
) -> None:
    """``response_format``, ``reasoning_effort`` and ``verbosity``, which share ``output_config``.

    A model told to reason decides itself when and how much (``adaptive``), as OpenAI's do; one that has to call a
    tool may not think first, but can make an effort.
    """
    config: dict[str, Any] = {}
    effort = _effort(rest, adapted)
    forced = _forced(body)
    if effort is not None and "thinking" not in rest and effort != "none" and not _knows_effort(version):
        budget = min(_BUDGETS[effort], body["max_tokens"] - 1)
        if forced or budget < _LEAST_BUDGET or (version is not None and version < _THINKING):
            adapted.append("reasoning_effort")
        else:
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif effort is not None:
        if effort != "none":
            config["effort"] = effort
        if "thinking" not in rest and not forced:
            body["thinking"] = {"type": "disabled" if effort == "none" else "adaptive"}
    raw = rest.pop("verbosity", None)
    if raw is not None and (verbosity := read(raw, chat.verbosity, "verbosity")) != "medium":
        adapted.append("verbosity")
        if effort is None and _knows_effort(version) and "output_config" not in rest:
            config["effort"] = verbosity
    raw = rest.pop("response_format", None)
    if raw is not None:
        wanted = read(raw, chat.response_format, "response_format")
        if isinstance(wanted, chat.JSONFormat):
            system.append({"type": "text", "text": _JSON_ONLY})
            adapted.append("response_format")
        if isinstance(wanted, chat.SchemaFormat):
            if not present(wanted.json_schema.schema):
                raise missing("response_format.json_schema.schema")
            schema = read(wanted.json_schema.schema, chat.json_object, "response_format.json_schema.schema")
            config["format"] = {"type": "json_schema", "schema": schema}
    if config:
        body["output_config"] = config


def _knows_effort(version: tuple[int, int] | None) -> bool:
    return version is None or version >= _EFFORT


def _forced(body: Mapping[str, Any]) -> bool:
    """Whether a tool has to be called."""
    return body.get("tool_choice", {}).get("type") in ("any", "tool")


def _effort(rest: dict[str, Raw], adapted: list[str]) -> str | None:
    raw = rest.pop("reasoning_effort", None)
    if raw is None:
        return None
    effort = read(raw, chat.effort, "reasoning_effort")
    if effort == "minimal":
        adapted.append("reasoning_effort")
        return "low"
    return effort


def _own_thinking(rest: Mapping[str, Raw]) -> dict[str, Any]:
    """What the client says of thinking in Anthropic's own words."""
    raw = rest.get("thinking")
    return {} if raw is None else read(raw, chat.an_object, "thinking")


def _thinking(
    rest: dict[str, Raw], body: dict[str, Any], conversation: _Conversation, *, limited: bool
) -> dict[str, Any]:
    """How the model is to think, in Anthropic's words, without what Anthropic would refuse."""
    thinking: dict[str, Any] = body.get("thinking") or _own_thinking(rest)
    kind = thinking.get("type")
    if kind in (None, "disabled"):
        return thinking
    roles = [turn["role"] for turn in conversation.turns]
    kinds = [[block["type"] for block in turn["content"]] for turn in conversation.turns]
    if _forced(body) or (kind == "enabled" and history.must_not_think(roles, kinds)):
        conversation.adapted.append("thinking" if "thinking" in rest else "reasoning_effort")
        rest.pop("thinking", None)
        body.pop("thinking", None)
        return {}
    budget = thinking.get("budget_tokens")
    if "thinking" in rest and isinstance(budget, int) and not limited:
        body["max_tokens"] = budget + DEFAULT_MAX_TOKENS
    return thinking


def _sampling(
    rest: dict[str, Raw],
    body: dict[str, Any],
    adapted: list[str],
    version: tuple[int, int] | None,
    *,
    thinks: bool,
) -> None:
    """``temperature``, ``top_p``, ``top_k`` and ``stop``, as far as the model takes them.

    1 is what both protocols have by default, and newer models of Anthropic's refuse even that.
    """
    none = version is not None and version >= _NO_SAMPLING
    heat, nucleus = rest.pop("temperature", None), rest.pop("top_p", None)
    if heat is not None and (value := read(heat, chat.temperature, "temperature")) != 1:
        if value > 1 or none or thinks:
            adapted.append("temperature")
        else:
            body["temperature"] = value
    if nucleus is not None and (value := read(nucleus, chat.share, "top_p")) != 1:
        if none or "temperature" in body or (thinks and value < _LEAST_TOP_P):
            adapted.append("top_p")
        else:
            body["top_p"] = value
    if "top_k" in rest and (none or thinks):
        del rest["top_k"]
        adapted.append("top_k")
    if (raw := rest.pop("stop", None)) is not None:
        stop = read(raw, chat.stop, "stop")
        given_stops = [stop] if isinstance(stop, str) else stop
        stops = [each for each in given_stops if each.strip()]
        if len(stops) < len(given_stops):
            adapted.append("stop")
        if stops or not given_stops:
            body["stop_sequences"] = stops
