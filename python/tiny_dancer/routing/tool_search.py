"""The vendors' tool search, answered without the vendor: which deferred tools a search finds, in their protocol.

A request may hold tools with ``defer_loading: true``, which the model does not see, and a tool that searches them:

- Anthropic's ``tool_search_tool_regex_20251119`` (input ``pattern``, a regular expression) and
  ``tool_search_tool_bm25_20251119`` (input ``query``, words). The result is a ``tool_search_tool_result`` block
  whose ``tool_references`` name the tools; an input that cannot be used gives a ``tool_search_tool_result_error``.
- OpenAI's ``tool_search`` (Responses). Arguments are ``paths``, names of namespaces or tools, or words under any
  other name (``query``, ``goal``); the result is a ``tool_search_output`` item with the definitions.

Everything here is pure: tools and the call's input in, the answer out. Whoever serves the request keeps the tools
that were loaded at the end of its list, in the order they were loaded, so that prompt caches live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import RequestError
from tiny_dancer.routing.tools import ToolSelector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DeferredTools", "ToolSearch", "is_deferred", "is_namespace", "search_tool_kind"]

LIMIT = 5
"""Tools one search finds: the vendors give three to five."""

_SEARCH_TYPES = {
    "tool_search_tool_regex_20251119": "regex",
    "tool_search_tool_regex": "regex",
    "tool_search_tool_bm25_20251119": "bm25",
    "tool_search_tool_bm25": "bm25",
    "tool_search": "openai",
}


def search_tool_kind(tool: object) -> str | None:
    """``regex``, ``bm25`` or ``openai`` where a tool is a vendor's tool search, else None."""
    return _SEARCH_TYPES.get(str(tool.get("type"))) if isinstance(tool, Mapping) else None


@dataclass(frozen=True, slots=True)
class DeferredTools:
    """A request's tools, told apart; each list in the request's order.

    Attributes:
        search: the vendors' tool searches.
        loaded: what the model sees from the start.
        deferred: what has to be found first. A namespace of which some functions are deferred is in both lists,
            each time with the functions that belong there.
    """

    search: tuple[Mapping[str, Any], ...]
    loaded: tuple[Any, ...]
    deferred: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, tools: Iterable[Any], *, needs_search: bool = True) -> DeferredTools:
        """Tells apart the tools of a request.

        Args:
            tools: of the request.
            needs_search: whether deferred tools need a vendor's search among them. Anthropic's do not where the
                client searches with a tool of its own, whose results refer to them (``tool_reference``).

        Raises:
            RequestError: a tool search that is deferred itself, or deferred tools with nothing to find them.
        """
        search: list[Mapping[str, Any]] = []
        loaded: list[Any] = []
        deferred: list[Mapping[str, Any]] = []
        for place, tool in enumerate(tools):
            if search_tool_kind(tool) is not None:
                if tool.get("defer_loading"):
                    raise RequestError(
                        f"tools[{place}].defer_loading", True, "what searches tools cannot be deferred"
                    )
                search.append(tool)
            elif is_namespace(tool):
                parts: dict[bool, list[Any]] = {False: [], True: []}
                for inner in tool["tools"]:
                    parts[is_deferred(inner) or is_deferred(tool)].append(inner)
                for hidden, inside in parts.items():
                    if inside:
                        (deferred if hidden else loaded).append({**tool, "tools": inside})
            elif is_deferred(tool):
                deferred.append(tool)
            else:
                loaded.append(tool)
        if deferred and not search and needs_search:
            remedy = "add a tool that searches (tool_search_tool_bm25_20251119, tool_search), or do not defer"
            raise RequestError("tools", f"{len(deferred)} deferred and nothing to find them", remedy)
        return cls(tuple(search), tuple(loaded), tuple(deferred))


def is_deferred(tool: object) -> bool:
    """Whether a model is not to see a tool from the start (``defer_loading``)."""
    if not isinstance(tool, Mapping):
        return False
    inner = tool.get("function")
    return bool(tool.get("defer_loading") or (isinstance(inner, Mapping) and inner.get("defer_loading")))


def is_namespace(tool: object) -> bool:
    """Whether it is a namespace of the Responses API: tools in a tool."""
    return isinstance(tool, Mapping) and tool.get("type") == "namespace" and isinstance(tool.get("tools"), list)


class ToolSearch:
    """Searches over the deferred tools of one request or conversation.

    Example:
        >>> search = ToolSearch([{"name": "get_weather", "description": "Forecast", "defer_loading": True}])
        >>> search.anthropic("bm25", {"query": "forecast"}, "srvtoolu_1")["content"]["tool_references"]
        [{'type': 'tool_reference', 'tool_name': 'get_weather'}]
    """

    def __init__(self, deferred: Sequence[Mapping[str, Any]], *, selector: ToolSelector | None = None) -> None:
        """Reads the tools.

        Args:
            deferred: the tools to be found; see :class:`DeferredTools`.
            selector: of these very tools, where the caller has one already.

        Raises:
            CandidateError: what is no tool, or two of one name.
        """
        self.selector = ToolSelector(deferred) if selector is None else selector
        self._by_name: dict[str, list[str]] = {}
        for tool_id in self.selector.ids:
            tool = self.selector.tool(tool_id)
            for word in {tool_id, tool.name, tool.namespace} - {""}:
                self._by_name.setdefault(word, []).append(tool_id)
        self._namespaces = {
            str(tool["name"]): tool for tool in deferred if is_namespace(tool) and tool.get("name")
        }

    def find(self, kind: str, given: object, *, limit: int = LIMIT) -> tuple[str, ...]:
        """Ids of the tools a search finds, best first.

        Args:
            kind: ``regex``, ``bm25`` or ``openai``; see :func:`search_tool_kind`.
            given: the call's input.
            limit: most tools; ``paths`` that name more are given whole.

        Raises:
            RequestError: an input that cannot be used.
        """
        if not isinstance(given, Mapping):
            raise RequestError("input", type(given).__name__, "give an object")
        if kind == "regex":
            return self.selector.search_pattern(_text(given, "pattern"), limit)
        if kind == "openai":
            paths = given.get("paths")
            if isinstance(paths, list) and paths:
                words = [str(path).replace(".", "/") for path in paths]
                named = [tool_id for word in words for tool_id in self._by_name.get(word, ())]
                return tuple(dict.fromkeys(named)) or self._ranked(" ".join(words), limit)
            text = " ".join(value for value in given.values() if isinstance(value, str))
            if not text.strip():
                raise RequestError("arguments", "no words", "give paths, or a query of words")
            return self._ranked(text, limit)
        return self._ranked(_text(given, "query"), limit)

    def _ranked(self, text: str, limit: int) -> tuple[str, ...]:
        # What shares neither words nor meaning with the search is not found.
        return tuple(each.id for each in self.selector.select(text, limit).tools if each.relevance > RELEVANT)

    def anthropic(self, kind: str, given: object, tool_use_id: str, *, limit: int = LIMIT) -> dict[str, Any]:
        """The ``tool_search_tool_result`` block that answers a ``server_tool_use`` block of Anthropic's search."""
        try:
            names = [self.selector.tool(tool_id).name for tool_id in self.find(kind, given, limit=limit)]
            content: dict[str, Any] = {
                "type": "tool_search_tool_search_result",
                "tool_references": [
                    {"type": "tool_reference", "tool_name": name} for name in dict.fromkeys(names)
                ],
            }
        except RequestError as error:
            content = {
                "type": "tool_search_tool_result_error",
                "error_code": "invalid_tool_input",
                "error_message": str(error),
            }
        return {"type": "tool_search_tool_result", "tool_use_id": tool_use_id, "content": content}

    def openai(
        self, arguments: object, item_id: str, *, call_id: str | None = None, limit: int = LIMIT
    ) -> dict[str, Any]:
        """The ``tool_search_output`` item that answers a ``tool_search_call`` item of OpenAI's search.

        Raises:
            RequestError: arguments that cannot be used.
        """
        found = self.find("openai", arguments, limit=limit)
        return {
            "type": "tool_search_output",
            "id": item_id,
            "call_id": call_id,
            "execution": "server" if call_id is None else "client",
            "status": "completed",
            "tools": self.definitions(found),
        }

    def definitions(self, ids: Iterable[str]) -> list[Any]:
        """Tools by id as the request had them; those of one namespace in one namespace, where its first is."""
        listed: list[Any] = []
        spaces: dict[str, dict[str, Any]] = {}
        for tool_id in ids:
            tool = self.selector.tool(tool_id)
            space = self._namespaces.get(tool.namespace)
            if space is None:
                listed.append(tool.tool)
                continue
            if tool.namespace not in spaces:
                spaces[tool.namespace] = {**space, "tools": []}
                listed.append(spaces[tool.namespace])
            spaces[tool.namespace]["tools"].append(tool.tool)
        return listed


RELEVANT = 0.05
"""Relevance below which nothing ties a tool to a search."""


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RequestError(f"input.{name}", repr(value)[:60], "give a text")
    return value
