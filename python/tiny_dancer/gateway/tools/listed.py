"""A request's list of tools, read once: which of them may be left out, and a selector over those.

What a client has made up itself and a model calls by name may be left out: functions and custom tools, in all
three protocols, also within a namespace. Everything else stays: what a vendor's server runs (web search, code,
computer use, MCP servers), what searches tools, what is deferred until a search finds it, and what cannot be read,
of which the model's server will say what is wrong with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.errors import CandidateError
from tiny_dancer.gateway.tools.offered import Offered
from tiny_dancer.routing.tool_search import is_deferred, is_namespace
from tiny_dancer.routing.tools import ToolSelector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiny_dancer import _core
    from tiny_dancer.routing.tools import SelectedTool

_CALLED: Final = (None, "function", "custom")
_values: Final = msgspec.json.Decoder(list[Any]).decode
_list: Final = msgspec.json.Decoder(list[Raw]).decode
_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_text: Final = msgspec.json.Decoder(str).decode
_REFERENCES: Final = re.compile(rb'"tool_name"\s*:\s*("(?:[^"\\]|\\.)*")')


class Wanted(Struct, frozen=True):
    """How many tools, and which.

    Attributes:
        top_k: most of those that may be left out, beside those the conversation cannot do without.
        preserve_count: how many of the best stay whatever their relevance.
        relevance_threshold: tools of lower relevance are left out.
    """

    top_k: int
    preserve_count: int = 0
    relevance_threshold: float = 0.0


class _Tool(Struct):
    """One entry of the list, or of a namespace.

    Attributes:
        json: as the client wrote it.
        id: in the selector; None where it stays.
        inner: the tools of a namespace.
        breakpoint: its ``cache_control``: up to here the prompt is to be cached.
        deferred: no place for such a breakpoint.
    """

    json: bytes
    id: str | None = None
    inner: tuple[_Tool, ...] | None = None
    breakpoint: Any = None
    deferred: bool = False


class Listed:
    """A list of tools, read; never changed.

    Attributes:
        count: tools in it, the functions of a namespace counted one by one.
        ids: of those that may be left out: their names, behind their namespace and a slash if they have one.
        names: ids by what a model calls them; of two of one name the first.
    """

    def __init__(self, tools: bytes, artifact: bytes | None = None) -> None:
        """Reads a list.

        Args:
            tools: its JSON.
            artifact: what was learned from use, or None.

        Raises:
            ValueError: it is no list.
        """
        values, raws = decoded(tools), _list(tools)
        seen: set[str] = set()
        told: list[tuple[_Tool, dict[str, Any]]] = []
        pairs = zip(raws, values, strict=True)
        self._tools = tuple(_read(bytes(raw), value, None, seen, told) for raw, value in pairs)
        self._size = len(tools)
        self._selector = _selector(told, artifact)
        self.count = sum(1 for _ in _each(self._tools))
        self.ids = self._selector.ids
        self.names: dict[str, str] = {}
        for tool_id in self.ids:
            self.names.setdefault(self._selector.tool(tool_id).name, tool_id)

    def select(self, said: _core.Said, tool_choice: object, wanted: Wanted) -> tuple[bytes | None, Offered]:
        """The list with the tools a request needs, in the client's order; None where that is all of them.

        One at least of those that may be left out stays: servers refuse requests whose history has calls and that
        offer no tools. A breakpoint of a prompt cache moves to the last tool before it that stays.

        Raises:
            RequestError: the request says nothing to select by.
        """
        if len(self._selector) <= 1 or (len(self._selector) <= wanted.top_k and not wanted.relevance_threshold):
            return None, Offered("filter", self.count, self.count, 0)
        chosen = needed(self._selector, said, tool_choice, wanted, max(wanted.preserve_count, 1))
        if len(chosen) == len(self._selector):
            return None, Offered("filter", self.count, self.count, 0)
        left = _left(self._tools, chosen)
        json = b"[" + b",".join(each.json for each in left) + b"]"
        sent = self.count - len(self._selector) + len(chosen)
        return json, Offered("filter", self.count, sent, self._size - len(json))


def needed(
    selector: ToolSelector, said: _core.Said, tool_choice: object, wanted: Wanted, preserve_count: int
) -> set[str]:
    """Ids of the tools a request needs: the best, and those that its conversation cannot do without.

    These do not take the place of others: an agent that has called ``top_k`` tools will need another one. While
    one turn calls tools, nothing changes, for what it calls is of the best.

    Raises:
        RequestError: the request says nothing to select by.
    """

    def best(k: int) -> tuple[SelectedTool, ...]:
        return selector.select_said(
            said,
            k,
            tool_choice=tool_choice,
            keep=referred,
            relevance_threshold=wanted.relevance_threshold,
            preserve_count=preserve_count,
        ).tools

    referred = _referred(said)
    found = best(wanted.top_k)
    if kept := sum(each.kept for each in found):
        found = best(wanted.top_k + kept)
    return {each.id for place, each in enumerate(found) if each.kept or place < wanted.top_k}


def _referred(said: _core.Said) -> list[str]:
    """Names of tools that a conversation refers to (``tool_reference``), as after a search: Anthropic refuses a
    reference to a tool that is not there."""
    if isinstance(said, str) or b'"tool_reference"' not in bytes(said):
        return []
    return list(dict.fromkeys(_text(name) for name in _REFERENCES.findall(bytes(said))))


def decoded(tools: bytes) -> list[Any]:
    """A list of tools.

    Raises:
        ValueError: it is no list.
    """
    try:
        return _values(tools)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _read(
    json: bytes, value: Any, space: dict[str, Any] | None, seen: set[str], told: list[tuple[_Tool, dict[str, Any]]]
) -> _Tool:
    """One entry; those that may be left out are added to ``told``, as the selector gets them."""
    tool = _Tool(json)
    if not isinstance(value, dict):
        return tool
    tool.breakpoint, tool.deferred = value.get("cache_control"), is_deferred(value)
    if tool.deferred:
        return tool
    if space is None and is_namespace(value):
        raws = _list(_object(json)["tools"])
        pairs = zip(raws, value["tools"], strict=True)
        tool.inner = tuple(_read(bytes(raw), inner, value, seen, told) for raw, inner in pairs)
        return tool
    name = called(value)
    if name is not None:
        of = space.get("name") if space is not None else None
        tool.id = _free(f"{of}/{name}" if isinstance(of, str) and of else name, seen)
        # With the namespace around it, whose words count.
        told.append((tool, value if space is None else {**space, "tools": [value]}))
    return tool


def called(value: object) -> str | None:
    """What a model calls a tool by; None for what is not called by a name of the client's."""
    if not isinstance(value, dict) or value.get("type") not in _CALLED:
        return None
    inner = next((each for key in ("function", "custom") if isinstance(each := value.get(key), dict)), value)
    name = inner.get("name")
    return name if isinstance(name, str) and name.strip() else None


def _free(name: str, seen: set[str]) -> str:
    """An id no other has: of two tools of one name the second is ``name#2``."""
    found, number = name, 1
    while found in seen:
        number += 1
        found = f"{name}#{number}"
    seen.add(found)
    return found


def _selector(told: list[tuple[_Tool, dict[str, Any]]], artifact: bytes | None) -> ToolSelector:
    """Over what can be read; of the rest the id is taken away, so that it stays."""
    selector = ToolSelector(artifact=artifact)
    try:
        selector.add([value for _, value in told], ids=[tool.id or "" for tool, _ in told])
    except CandidateError:
        for tool, value in told:
            try:
                selector.add([value], ids=[tool.id or ""])
            except CandidateError:
                tool.id = None
    return selector


def _each(tools: Iterable[_Tool]) -> Iterator[_Tool]:
    for tool in tools:
        if tool.inner is None:
            yield tool
        else:
            yield from tool.inner


def _left(tools: Iterable[_Tool], chosen: set[str]) -> list[_Tool]:
    """What stays; a namespace of which nothing does is gone."""
    left: list[_Tool] = []
    for tool in tools:
        stays: _Tool | None = tool
        if tool.inner is not None:
            inner = _left(tool.inner, chosen)
            if len(inner) < len(tool.inner):
                listed = Raw(b"[" + b",".join(each.json for each in inner) + b"]")
                stays = _Tool(_encode({**_object(tool.json), "tools": listed})) if inner else None
        elif tool.id is not None and tool.id not in chosen:
            stays = None
        if stays is not None:
            left.append(stays)
        elif tool.breakpoint is not None:
            _move(tool.breakpoint, left)
    return left


def _move(breakpoint: Any, left: list[_Tool]) -> None:
    for place in range(len(left) - 1, -1, -1):
        tool = left[place]
        if tool.deferred:
            continue
        if tool.breakpoint is None and tool.json.lstrip().startswith(b"{"):
            json = _encode({**_object(tool.json), "cache_control": breakpoint})
            left[place] = _Tool(json, tool.id, None, breakpoint)
        return
