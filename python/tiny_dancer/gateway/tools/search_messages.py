"""Tool search in Anthropic's messages: blocks ``server_tool_use`` and ``tool_search_tool_result``.

In one answer of the model its searches stand last, then what they found: a history reads back as it was said, for
calls that stand together were made together. What a client's own search found (``tool_reference`` in a
``tool_result``) is loaded too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
from msgspec import Raw

from tiny_dancer.gateway.tools.search import NO_MORE, NOTHING, Search, Voice, added, raws
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.translate import roll
from tiny_dancer.gateway.upstream.translate.fields import encode, parse, read

if TYPE_CHECKING:
    from collections.abc import Iterator

_object: Final = msgspec.json.Decoder(dict[str, Any])
_RESULT: Final = "tool_search_tool_result"
# The answer was ended from outside: a call in it may be half of one.
_CUT: Final = ("max_tokens", "refusal", "model_context_window_exceeded")
_MARKS: Final = (b"tool_search", b"tool_reference", b'"tool_use"')


class MessagesSearch(Search):
    """See :class:`~tiny_dancer.gateway.tools.search.Search`."""

    history = "messages"

    def __init__(self, *given: Any) -> None:
        self._first: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._new: list[dict[str, Any]] = []
        super().__init__(*given)

    def _plain(self) -> tuple[Raw, list[str]]:
        turns: list[Any] = []
        named: list[str] = []
        results: list[dict[str, Any]] = []  # which begin the user's next turn
        given: list[Any] = read(self._given["messages"], raws, "messages")
        if self._said:
            given.append({"role": "assistant", "content": self._said})
        place = 0
        while place < len(given):
            raw, place = given[place], place + 1
            if not results and isinstance(raw, Raw) and not any(mark in bytes(raw) for mark in _MARKS):
                turns.append(raw)
                continue
            turn = _turn(raw, place - 1)
            role, content = turn.get("role"), turn.get("content")
            if role == "assistant" and isinstance(content, list):
                # Turns that follow each other are one, so that what a search found may stand in the next.
                while place < len(given) and (more := _blocks(given[place], place)) is not None:
                    raw = turn = {**turn, "content": [*turn["content"], *more]}
                    place += 1
                if results:
                    turns.append({"role": "user", "content": results})
                before = len(turns)
                results = self._answered(turn, turns, named)
                if isinstance(raw, Raw) and turns[before:] == [turn]:
                    turns[before] = raw
                continue
            if role == "user" and isinstance(content, list):
                content = [self._referred(block, named) for block in content]
            if results and role == "user":
                after = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
                content = [*results, *after]
                results = []
            elif results:
                turns.append({"role": "user", "content": results})
                results = []
            same = isinstance(raw, Raw) and content == turn.get("content")
            turns.append(raw if same else {**turn, "content": content})
        if results:
            turns.append({"role": "user", "content": results})
        return Raw(encode(turns)), named

    def _answered(self, turn: dict[str, Any], turns: list[Any], named: list[str]) -> list[dict[str, Any]]:
        """Adds the turns that an answer of the assistant's is in plain calls; its last results, which the user's
        next turn begins with."""
        results: dict[str, dict[str, Any]] = {
            str(block.get("tool_use_id")): block
            for block in turn["content"]
            if isinstance(block, dict) and block.get("type") == _RESULT
        }
        said: list[Any] = []
        waiting: list[dict[str, Any]] = []
        called: set[str] = set()
        for block in turn["content"]:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == _RESULT:
                if (id := str(block.get("tool_use_id"))) in called:
                    called.discard(id)
                    waiting.append(self._result(block, named))
                continue
            if kind == "server_tool_use" and self._is_search(block):
                if (id := str(block.get("id"))) not in results:
                    continue  # nobody has answered it
                block = {
                    "type": "tool_use",
                    "id": id,
                    "name": self._plain_name(block.get("name")),
                    "input": block.get("input") or {},
                }
                called.add(id)
            elif kind == "tool_use":
                named.append(str(block.get("name")))
            if waiting:
                turns += [{**turn, "content": said}, {"role": "user", "content": waiting}]
                said, waiting = [], []
            said.append(block)
        if said:
            turns.append({**turn, "content": said})
        return waiting

    def _is_search(self, block: dict[str, Any]) -> bool:
        name = str(block.get("name"))
        return name.startswith("tool_search") or any(
            name == each.shown for each in self.searchable.searchers.values()
        )

    def _plain_name(self, shown: object) -> str:
        found = (name for name, each in self.searchable.searchers.items() if each.shown == shown)
        return next(found, str(shown))

    def _result(self, block: dict[str, Any], named: list[str]) -> dict[str, Any]:
        content = block.get("content")
        content = content if isinstance(content, dict) else {}
        plain: dict[str, Any] = {"type": "tool_result", "tool_use_id": str(block.get("tool_use_id"))}
        if content.get("type") == "tool_search_tool_result_error":
            why = content.get("error_message") or content.get("error_code") or "the search failed"
            return {**plain, "content": str(why), "is_error": True}
        names = list(_references(content.get("tool_references")))
        named += names
        return {**plain, "content": self._loading(names) if names else NOTHING}

    def _referred(self, block: Any, named: list[str]) -> Any:
        """A block of the user's without references to tools, which mean something at Anthropic's alone."""
        inner = block.get("content") if isinstance(block, dict) and block.get("type") == "tool_result" else None
        if not isinstance(inner, list):
            return block
        content = []
        for each in inner:
            if isinstance(each, dict) and each.get("type") == "tool_reference":
                name = str(each.get("tool_name"))
                named.append(name)
                content.append({"type": "text", "text": self._loading([name])})
            else:
                content.append(each)
        return {**block, "content": content}

    def take(self, body: bytes) -> bool:
        """As of :class:`Search`."""
        answer = parse(body, _object)
        content = answer.get("content")
        content = content if isinstance(content, list) else []
        searchers = self.searchable.searchers
        calls: list[dict[str, Any]] = []
        others: list[Any] = []
        for block in content:
            is_call = isinstance(block, dict) and block.get("type") == "tool_use"
            (calls if is_call and block.get("name") in searchers else others).append(block)
        real = any(isinstance(block, dict) and block.get("type") == "tool_use" for block in others)
        if answer.get("stop_reason") in _CUT or not self.offers:
            calls = []
        if not self._first:
            self._first = answer
            self.answer_id = str(answer.get("id") or "") or None
        self._count(answer.get("usage"))
        if answer.get("stop_reason") == "tool_use" and not (calls or real):
            answer["stop_reason"] = "end_turn"
        self._last = answer
        self._new = [*map(self._shown, calls)]
        results = [self._found(block) for block in self._new]
        self._new += results
        self._said += [*others, *self._new]
        again = bool(calls) and not real
        if again:
            self.fields = self._fields()
        return again

    def _shown(self, call: dict[str, Any]) -> dict[str, Any]:
        shown = self.searchable.searchers[call["name"]].shown
        given = call.get("input")
        return {
            "type": "server_tool_use",
            "id": f"srvtoolu_{uuid4().hex}",
            "name": shown,
            "input": given if isinstance(given, dict) else {},
        }

    def _found(self, call: dict[str, Any]) -> dict[str, Any]:
        searcher = self.searchable.searchers[self._plain_name(call["name"])]
        found = self._answer(searcher, call["input"])
        content: dict[str, Any]
        if found.error:
            code = "too_many_requests" if found.error == NO_MORE else "invalid_tool_input"
            content = {
                "type": "tool_search_tool_result_error",
                "error_code": code,
                "error_message": found.error,
            }
        else:
            names = [self.searchable.names[each] for each in found.ids]
            references = [{"type": "tool_reference", "tool_name": name} for name in names]
            content = {"type": "tool_search_tool_search_result", "tool_references": references}
        return {"type": _RESULT, "tool_use_id": call["id"], "content": content}

    def usage(self) -> dict[str, Any]:
        """Of all calls together."""
        total = self._usage or {"input_tokens": 0, "output_tokens": 0}
        if not self.searches:
            return total
        requests = {"web_search_requests": 0, "web_fetch_requests": 0}
        before = total.get("server_tool_use")
        counted = added(requests, before if isinstance(before, dict) else {})
        return {**total, "server_tool_use": {**counted, "tool_search_requests": self.searches}}

    def whole(self) -> bytes:
        """As of :class:`Search`."""
        kept = {name: self._first[name] for name in ("id",) if name in self._first}
        return encode({**self._last, **kept, "content": self._said, "usage": self.usage()})

    def stopped(self) -> dict[str, Any]:
        """How the answer ended."""
        return {name: self._last.get(name) for name in ("stop_reason", "stop_sequence")}

    def added_blocks(self) -> list[dict[str, Any]]:
        """What the answer taken last has become, of its searches."""
        return self._new

    def voice(self) -> Voice:
        """As of :class:`Search`."""
        return _Voice(self)


def _turn(raw: Any, place: int) -> dict[str, Any]:
    return read(raw, _object, f"messages[{place}]") if isinstance(raw, Raw) else raw


def _blocks(raw: Any, place: int) -> list[Any] | None:
    """The blocks of an answer; None of any other turn."""
    if isinstance(raw, Raw) and b'"assistant"' not in bytes(raw):
        return None
    turn = _turn(raw, place)
    content = turn.get("content")
    return content if turn.get("role") == "assistant" and isinstance(content, list) else None


def _references(given: object) -> Iterator[str]:
    for each in given if isinstance(given, list) else ():
        if isinstance(each, dict) and isinstance(name := each.get("tool_name"), str):
            yield name


class _Voice(Voice):
    """Anthropic's events: blocks numbered through, one beginning, one end."""

    def __init__(self, search: MessagesSearch) -> None:
        super().__init__()
        self._search = search
        self._begun = False
        self._next = 0
        self._places: dict[Any, int | None] = {}  # None: a search, which is shown when it is answered

    def _event(self, event: bytes, said: dict[str, Any]) -> bytes:
        kind, index = said.get("type"), said.get("index")
        if kind == "message_start":
            if self._begun:
                return b""
            self._begun = True
        elif kind in ("message_delta", "message_stop"):
            return b""
        elif kind == "content_block_start":
            block = said.get("content_block")
            block = block if isinstance(block, dict) else {}
            hidden = block.get("type") == "tool_use" and block.get("name") in self._search.searchable.searchers
            self._places[index] = None if hidden else self._next
            self._next += not hidden
        if kind in ("content_block_start", "content_block_delta", "content_block_stop"):
            place = self._places.get(index)
            if place is None:
                return b""
            return event if place == index else _said(said.pop("type"), **{**said, "index": place})
        return event

    def end(self) -> tuple[bytes, bool]:
        """As of :class:`Voice`."""
        heard, self._heard = b"".join(self._heard), []
        self._places.clear()
        again = self._search.take(roll.message(heard))
        given = b"".join([self._block(block) for block in self._search.added_blocks()])
        if not again:
            given += _said("message_delta", delta=self._search.stopped(), usage=self._search.usage())
            given += _said("message_stop")
        return given, again

    def _block(self, block: dict[str, Any]) -> bytes:
        place = self._next
        self._next += 1
        given = b""
        if block["type"] == "server_tool_use":
            given = _said("content_block_start", index=place, content_block={**block, "input": {}})
            delta = {"type": "input_json_delta", "partial_json": encode(block["input"]).decode()}
            given += _said("content_block_delta", index=place, delta=delta)
        else:
            given = _said("content_block_start", index=place, content_block=block)
        return given + _said("content_block_stop", index=place)


def _said(kind: str, **fields: Any) -> bytes:
    return sse.event(encode({"type": kind, **fields}), kind.encode())
