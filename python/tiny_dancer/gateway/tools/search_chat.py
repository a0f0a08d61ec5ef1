"""Tool search in chat completions, which have no words for it: a search is not seen, but for what it took.

The history does not tell of it either: tools that were called in it are loaded from the start, what was only found
is searched for again. A search that stands beside calls of the client's tools is left out, for nothing could tell
the model of it later.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.tools.search import NOTHING, Search, Voice, raws
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.translate import arguments, roll
from tiny_dancer.gateway.upstream.translate.fields import encode, parse, read

_object: Final = msgspec.json.Decoder(dict[str, Any])
_any: Final = msgspec.json.Decoder()
_message: Final = msgspec.json.Decoder(dict[str, Any])
# The answer was ended from outside: a call in it may be half of one.
_CUT: Final = ("length", "content_filter")
_BETWEEN: Final = "\n\n"
"""What stands between the texts before and after a search."""


class ChatSearch(Search):
    """See :class:`~tiny_dancer.gateway.tools.search.Search`."""

    history = "messages"

    def __init__(self, given: Any, searchable: Any, selected: bool = False) -> None:
        self._first: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._texts: list[str] = []
        if "n" in given and _any.decode(given["n"]) not in (1, None):
            raise GatewayError(
                400,
                "Invalid n: tools are searched for in one answer; ask for one.",
                param="n",
                code="invalid_value",
            )
        super().__init__(given, searchable, selected)

    def _plain(self) -> tuple[Raw, list[str]]:
        named: list[str] = []
        given: list[Any] = read(self._given["messages"], raws, "messages")
        for place, raw in enumerate(given):
            if b'"tool_calls"' not in bytes(raw):
                continue
            message = read(raw, _message, f"messages[{place}]")
            for call in _calls(message):
                named.append(_called(call))
        for message in self._said:
            for name in message.get("found", ()):
                named.append(name)
        said = [{name: each for name, each in message.items() if name != "found"} for message in self._said]
        return Raw(encode([*given, *said])) if said else self._given["messages"], named

    def take(self, body: bytes) -> bool:
        """As of :class:`Search`."""
        answer = parse(body, _object)
        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        message = message if isinstance(message, dict) else {}
        searchers = self.searchable.searchers
        calls = [call for call in _calls(message) if _called(call) in searchers]
        others = [call for call in _calls(message) if _called(call) not in searchers]
        cut = choice.get("finish_reason") in _CUT
        if not self._first:
            self._first = answer
            self.answer_id = str(answer.get("id") or "") or None
        self._count(answer.get("usage"))
        if isinstance(text := message.get("content"), str) and text:
            self._texts.append(text)
        again = bool(calls) and not (others or cut) and self.offers
        if again:
            self._last = {**answer, "choices": [{**choice, "message": {**message, "tool_calls": None}}]}
            said = {name: value for name, value in message.items() if value is not None}
            self._said.append({"content": None, **said, "role": "assistant", "tool_calls": calls})
            for call in calls:
                self._said.append(self._result(call))
            self.fields = self._fields()
            return True
        if calls:
            message = {name: value for name, value in message.items() if name != "tool_calls"}
            if others:
                message["tool_calls"] = others
            elif not cut:
                choice["finish_reason"] = "stop"
        if self._texts:
            message["content"] = _BETWEEN.join(self._texts)
        self._last = {**answer, "choices": [{**choice, "message": message}]}
        return False

    def _result(self, call: dict[str, Any]) -> dict[str, Any]:
        searcher = self.searchable.searchers[_called(call)]
        function = call.get("function")
        said = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(said, dict):
            given: Any = said
        else:
            given = _any.decode(arguments.read(said if isinstance(said, str) else "").input)
        found = self._answer(searcher, given)
        names = [self.searchable.names[each] for each in found.ids]
        text = f"Found, and loaded: {', '.join(names)}." if names else NOTHING
        if found.error:
            text = f"Error: {found.error}"
        return {"role": "tool", "tool_call_id": call.get("id"), "content": text, "found": names}

    def usage(self) -> dict[str, Any] | None:
        """Of all calls together."""
        return self._usage

    def whole(self) -> bytes:
        """As of :class:`Search`."""
        answer = {**self._last, **{name: self._first[name] for name in ("id",) if name in self._first}}
        return encode(answer if self._usage is None else {**answer, "usage": self._usage})

    def finish(self) -> Any:
        """The reason the answer ended."""
        return self._last["choices"][0].get("finish_reason")

    def voice(self) -> Voice:
        """As of :class:`Search`."""
        return _Voice(self)


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [each for each in calls if isinstance(each, dict)] if isinstance(calls, list) else []


def _called(call: dict[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name")) if isinstance(function, dict) else ""


class _Voice(Voice):
    """Chunks of one completion."""

    def __init__(self, search: ChatSearch) -> None:
        super().__init__()
        self._search = search
        self._frame: dict[str, Any] = {}
        self._counts = False  # a chunk has said what the answer took
        self._spoke = False  # a text, before the stream under way
        self._speaks = False  # in it
        self._next = 0
        self._places: dict[Any, int | None] = {}  # None: a search
        self._thoughts: list[Any] = []

    def _event(self, event: bytes, said: dict[str, Any]) -> bytes:
        if "error" in said and not said.get("choices"):
            return event
        if isinstance(said.pop("usage", None), dict):
            self._counts = True
        choices = said.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
        if choice is None:
            return b""
        delta = choice.get("delta")
        delta = dict(delta) if isinstance(delta, dict) else {}
        first = not self._frame
        if first:
            self._frame = {name: value for name, value in said.items() if name != "choices"}
        else:
            delta.pop("role", None)
        if isinstance(calls := delta.pop("tool_calls", None), list) and (told := self._numbered(calls)):
            delta["tool_calls"] = told
        thoughts = delta.pop("thinking_blocks", None)
        self._thoughts += thoughts if isinstance(thoughts, list) else []
        if isinstance(text := delta.get("content"), str) and text:
            if self._spoke and not self._speaks:
                delta["content"] = _BETWEEN + text
            self._speaks = True
        if not first and not any(value for value in delta.values()):
            return b""
        return self._chunk({**choice, "delta": delta, "finish_reason": None})

    def _numbered(self, calls: list[Any]) -> list[dict[str, Any]]:
        told = []
        for call in calls:
            if not isinstance(call, dict):
                continue
            index = call.get("index")
            if index not in self._places:
                hidden = _called(call) in self._search.searchable.searchers
                self._places[index] = None if hidden else self._next
                self._next += not hidden
            if (place := self._places[index]) is not None:
                told.append({**call, "index": place})
        return told

    def end(self) -> tuple[bytes, bool]:
        """As of :class:`Voice`."""
        heard, self._heard = b"".join(self._heard), []
        thoughts, self._thoughts = self._thoughts, []
        self._places.clear()
        self._spoke, self._speaks = self._spoke or self._speaks, False
        if self._search.take(roll.completion(heard)):
            return b"", True
        given = b""
        if thoughts:
            given = self._chunk({"index": 0, "delta": {"thinking_blocks": thoughts}, "finish_reason": None})
        given += self._chunk({"index": 0, "delta": {}, "finish_reason": self._search.finish()})
        if self._counts:
            chunk = {**self._frame, "choices": [], "usage": self._search.usage()}
            given += sse.event(encode(chunk))
        return given + sse.DONE, False

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return sse.event(encode({**self._frame, "choices": [choice]}))
