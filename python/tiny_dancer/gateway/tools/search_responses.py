"""Tool search in OpenAI's responses: items ``tool_search_call`` and ``tool_search_output``.

A function of a namespace is known to the upstream by both names, joined by ``__``, and to the client by its own. A
search that the client executes (``execution: client``) ends the answer; what the client found stands in ``input``
then, with its definitions.

The response has the id of the last call, which an upstream that keeps responses has whole. A stream has said the
first one's by then, and stays with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
from msgspec import Raw

from tiny_dancer.gateway.tools.search import NOTHING, Search, Voice, flat, raws
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.translate import arguments, roll
from tiny_dancer.gateway.upstream.translate.fields import encode, parse, read
from tiny_dancer.gateway.upstream.translate.responses_tools import flat_name

if TYPE_CHECKING:
    from tiny_dancer.gateway.tools.search import Searcher

_object: Final = msgspec.json.Decoder(dict[str, Any])
_any: Final = msgspec.json.Decoder()
_MARKS: Final = (b"tool_search", b'"namespace"', b'"function_call"', b'"custom_tool_call"')
_CALLS: Final = ("function_call", "custom_tool_call")
# What the client has to do something about.
_REAL: Final = frozenset(
    (*_CALLS, "local_shell_call", "shell_call", "apply_patch_call", "computer_call", "mcp_approval_request")
)
_LAST: Final = ("response.completed", "response.incomplete", "response.done")
_FIRST: Final = ("response.created", "response.queued", "response.in_progress")


class ResponsesSearch(Search):
    """See :class:`~tiny_dancer.gateway.tools.search.Search`."""

    history = "input"

    def __init__(self, *given: Any) -> None:
        self._last: dict[str, Any] = {}
        self._new: list[dict[str, Any]] = []
        self._streams = False
        super().__init__(*given)

    def _plain(self) -> tuple[Raw, list[str]]:
        raw = self._given["input"]
        if not self._said and bytes(raw).lstrip().startswith(b'"'):
            return raw, []
        said: Any = read(raw, _any, "input") if bytes(raw).lstrip().startswith(b'"') else None
        given: list[Any] = [{"role": "user", "content": said}]
        if said is None:
            given = read(raw, raws, "input")
        given += self._said
        items: list[Any] = []
        named: list[str] = []
        waiting: list[str] = []  # calls of searches without an id, until they are answered
        keeps = self._given.get("store") != Raw(b"false")
        for place, each in enumerate(given):
            if isinstance(each, Raw) and not any(mark in bytes(each) for mark in _MARKS):
                items.append(each)
                continue
            item = read(each, _object, f"input[{place}]") if isinstance(each, Raw) else each
            kind = item.get("type")
            if kind == "tool_search_call":
                id = str(item.get("call_id") or f"call_{str(item.get('id') or place).removeprefix('tsc_')}"[:40])
                waiting.append(id)
                given_by_model = item.get("arguments")
                if not isinstance(given_by_model, str):
                    given_by_model = encode(given_by_model or {}).decode()
                call = {"type": "function_call", "call_id": id, "name": self._search_name()}
                items.append({**call, "arguments": given_by_model})
            elif kind == "tool_search_output":
                id = str(item.get("call_id") or "")
                if id in waiting:
                    waiting.remove(id)
                elif waiting:
                    id = waiting.pop(0)
                else:
                    continue  # of no call
                names = self._read_found(item.get("tools"))
                named += names
                found = self._loading(names) if names else NOTHING
                items.append({"type": "function_call_output", "call_id": id, "output": found})
            elif kind in _CALLS:
                name, space = item.get("name"), item.get("namespace")
                if isinstance(space, str) and isinstance(name, str):
                    plain = {field: value for field, value in item.items() if field != "namespace"}
                    name = plain["name"] = flat_name(space, name)
                    items.append(plain)
                else:
                    items.append(each)
                named.append(str(name))
            elif kind == "reasoning" and not keeps and not isinstance(each, Raw):
                if item.get("encrypted_content"):
                    items.append(item)  # what is not kept anywhere goes along, or is no use
            else:
                items.append(each)
        unanswered = set(waiting)
        if unanswered:
            items = [item for item in items if not (isinstance(item, dict) and item.get("call_id") in unanswered)]
        return Raw(encode(items)), named

    def _search_name(self) -> str:
        return next(iter(self.searchable.searchers), "tool_search")

    def _read_found(self, tools: object) -> list[str]:
        """Names of tools that were found; those the request does not have are kept as they were found."""
        names = []
        for tool in tools if isinstance(tools, list) else ():
            for name, plain in flat(tool, self._spaces):
                names.append(name)
                if name not in self.searchable:
                    self._beside[name] = Raw(encode(plain))
        return names

    def take(self, body: bytes) -> bool:
        """As of :class:`Search`."""
        response = parse(body, _object)
        output = response.get("output")
        output = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        searchers = self.searchable.searchers
        calls: list[dict[str, Any]] = []
        others: list[Any] = []
        for item in output:
            is_call = item.get("type") == "function_call" and item.get("name") in searchers
            (calls if is_call else others).append(item)
        if response.get("status") == "incomplete" or not self.offers:
            calls = []
        if self.answer_id is None or not self._streams:
            self.answer_id = str(response.get("id") or "") or None
        self._count(response.get("usage"))
        self._last = response
        self._new = []
        real = any(item.get("type") in _REAL for item in others)
        for call in calls:
            searcher = searchers[call["name"]]
            real = real or searcher.client
            self._new += self._searched(searcher, call)
        self._said += [*map(self.renamed, others), *self._new]
        again = bool(calls) and not real
        if again:
            self.fields = self._fields()
        return again

    def _searched(self, searcher: Searcher, call: dict[str, Any]) -> list[dict[str, Any]]:
        """The call of a search as the client sees it, and what it found, unless the client has to say."""
        said = call.get("arguments")
        given = _any.decode(arguments.read(said if isinstance(said, str) else "").input)
        id = uuid4().hex
        execution = "client" if searcher.client else "server"
        shown: dict[str, Any] = {
            "type": "tool_search_call",
            "id": f"tsc_{id}",
            "call_id": call.get("call_id") if searcher.client else None,
            "execution": execution,
            "arguments": given,
            "status": "completed",
        }
        if searcher.client:
            return [shown]
        found = self._answer(searcher, given)
        finder = self.searchable.finder
        tools = finder.definitions(found.ids) if finder is not None else []
        output = {
            "type": "tool_search_output",
            "id": f"tso_{uuid4().hex}",
            "call_id": None,
            "execution": execution,
            "status": "completed",
            "tools": tools,
        }
        return [shown, output]

    def renamed(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item with the client's names of a tool."""
        space = self.space(item.get("name")) if item.get("type") in _CALLS else None
        return item if space is None else {**item, "namespace": space[0], "name": space[1]}

    def space(self, name: object) -> tuple[str, str] | None:
        """Namespace and name of what the model calls so; None of a tool in no namespace."""
        return self.searchable.spaces.get(str(name)) or self._spaces.get(str(name))

    def shown(self, response: dict[str, Any]) -> dict[str, Any]:
        """A response that repeats what the client asked."""
        echoed = {name: self._given[name] for name in ("tools", "tool_choice") if name in self._given}
        return {**response, "tool_choice": "auto", "tools": [], **echoed}

    def whole(self) -> bytes:
        """As of :class:`Search`."""
        return encode(self.finished())

    def finished(self) -> dict[str, Any]:
        """The response as it ended."""
        usage = self._last.get("usage") if self._usage is None else self._usage
        return {**self.shown(self._last), "id": self.answer_id, "output": self._said, "usage": usage}

    def with_rest(self, output: list[Any]) -> list[Any]:
        """What has been said, and what of an answer has come that is given up."""
        items = [item for item in output if isinstance(item, dict)]
        return [
            *self._said,
            *(self.renamed(item) for item in items if item.get("name") not in self.searchable.searchers),
        ]

    def added_items(self) -> list[dict[str, Any]]:
        """What the answer taken last has become, of its searches."""
        return self._new

    def voice(self) -> Voice:
        """As of :class:`Search`."""
        self._streams = True
        return _Voice(self)


class _Voice(Voice):
    """Events of one response, numbered through."""

    def __init__(self, search: ResponsesSearch) -> None:
        super().__init__()
        self._search = search
        self._begun: set[str] = set()
        self._id: Any = None
        self._number = 0
        self._next = 0
        self._places: dict[Any, int | None] = {}  # None: a search, which is shown when it is answered

    def _event(self, event: bytes, said: dict[str, Any]) -> bytes:
        kind = str(said.get("type"))
        response, item = said.get("response"), said.get("item")
        if kind in _LAST:
            return b""
        if kind in _FIRST:
            if kind in self._begun:
                return b""
            self._begun.add(kind)
        elif kind == "response.output_item.added" and isinstance(item, dict):
            hidden = item.get("type") == "function_call" and item.get("name") in self._search.searchable.searchers
            self._places[said.get("output_index")] = None if hidden else self._next
            self._next += not hidden
        if "output_index" in said:
            place = self._places.get(said["output_index"])
            if place is None:
                return b""
            said["output_index"] = place
            if isinstance(item, dict):
                said["item"] = self._search.renamed(item)
            elif (space := self._search.space(said.get("name"))) is not None:
                said["name"] = space[1]
        if isinstance(response, dict):
            said["response"] = self._of_one(response)
        return self._said(**said)

    def _of_one(self, response: dict[str, Any]) -> dict[str, Any]:
        """A response with the id the client knows; one that fails with all that has been said."""
        self._id = self._id or response.get("id")
        shown = {**self._search.shown(response), "id": self._id}
        if response.get("status") == "failed":
            output = response.get("output")
            shown["output"] = self._search.with_rest(output if isinstance(output, list) else [])
        return shown

    def end(self) -> tuple[bytes, bool]:
        """As of :class:`Voice`."""
        heard, self._heard = b"".join(self._heard), []
        self._places.clear()
        # As readers begin the next response, whatever they were told of the one before.
        self._begun.update(_FIRST)
        again = self._search.take(roll.response(heard))
        given = b""
        for item in self._search.added_items():
            place = {"output_index": self._next, "item": item}
            self._next += 1
            status = {**item, "status": "in_progress"}
            given += self._said("response.output_item.added", **{**place, "item": status})
            given += self._said("response.output_item.done", **place)
        if not again:
            response = self._search.finished()
            given += self._said(f"response.{response.get('status') or 'completed'}", response=response)
        return given, again

    def _said(self, type: str, **fields: Any) -> bytes:
        fields.pop("sequence_number", None)
        data = encode({"type": type, "sequence_number": self._number, **fields})
        self._number += 1
        return sse.event(data, type.encode())
