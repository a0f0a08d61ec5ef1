"""The vendors' tool search, answered here, so that it works for any upstream.

A request may hold tools that the model does not see (``defer_loading: true``) and a tool that finds them. The
upstream is asked with the tools that are loaded and a plain function that searches. Where the model calls that,
the call is answered here, what was found is put behind the other tools, where prompt caches keep what stands
before, and the same model is asked again: until it answers, calls a tool of the client's, or has searched
:data:`MOST_SEARCHES` times, after which the search is taken away. The client sees its vendor's own blocks or
items.

One conversation is written in one way: what the client sent and what was said since, in the vendor's words, become
plain calls and results. So the next turn, whose history holds the vendor's blocks, asks what this one has asked,
and finds its cache warm; tools that the history found, or called, are loaded from the start, in that order.

All of it is pure: bytes in, bytes out. The protocols have a module each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.errors import CandidateError, RequestError
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.tools.offered import Offered
from tiny_dancer.gateway.upstream import sse
from tiny_dancer.gateway.upstream.translate.fields import encode, parse, present, read
from tiny_dancer.routing.tool_search import (
    DeferredTools,
    ToolSearch,
    is_deferred,
    is_namespace,
    search_tool_kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tiny_dancer.gateway.upstream.dialect import Endpoint

MOST_SEARCHES: Final = 10
"""Searches answered for one request. The call after the last of them has no tool that searches."""

NO_MORE: Final = "no more searches in this turn; answer with the tools there are"
NOTHING: Final = "No tool was found. Search with other words, or answer without."

_LONGEST_NAME: Final = 64  # of a function, at OpenAI and Anthropic
_NAMESPACES_SHOWN: Final = 50
_DESCRIPTION_SHOWN: Final = 200
_MARKS: Final = (b"defer_loading", b"tool_search")
_tools: Final = msgspec.json.Decoder(list[Any])
_any: Final = msgspec.json.Decoder()
_object: Final = msgspec.json.Decoder(dict[str, Any])
raws: Final[msgspec.json.Decoder[list[Any]]] = msgspec.json.Decoder(list[Raw])


def may_search(tools: Raw) -> bool:
    """Whether a list of tools may have to do with tool search: a look at its bytes, as every request's has."""
    said = bytes(tools)
    return _MARKS[0] in said or _MARKS[1] in said


class Searcher(Struct, frozen=True):
    """A tool of the client's that searches for tools.

    Attributes:
        kind: as of :func:`~tiny_dancer.routing.tool_search.search_tool_kind`.
        name: by which the model calls it.
        shown: what the client calls it.
        client: whether the client answers it itself.
        definition: what the model is told, in the endpoint's words.
    """

    kind: str
    name: str
    shown: str
    client: bool
    definition: Raw


class Searchable:
    """The tools of a request, told apart. The same for every request with the same list: made once, and kept.

    Attributes:
        searchers: by the name the model calls them.
        loaded: what the model sees from the start, as the upstream is told: names and definitions.
        names: what the model calls each deferred tool, by the tool's id.
        spaces: namespace and name of what stands in one, by the name the model calls it.
        anthropic: whether they are in Anthropic's words.
        count: number of tools, those that search among them, functions of a namespace one by one.
        size: bytes of the client's list.
    """

    def __init__(self, endpoint: Endpoint, tools: bytes) -> None:
        """
        Raises:
            GatewayError: 400; what is no tool, or two of one name, or nothing that finds what is deferred.
        """
        given = read(Raw(tools), _tools, "tools")
        # Whoever searches on its own needs only tools that are loaded to do so, at Anthropic's.
        own_search = endpoint == "messages" and any(not is_deferred(tool) for tool in given)
        try:
            parts = DeferredTools.of(given, needs_search=not own_search)
            self.finder = ToolSearch(parts.deferred) if parts.deferred else None
        except (RequestError, CandidateError) as error:
            raise _invalid(error.field, f"{error.value}; {error.remedy}") from error
        self._form = _FORMS[endpoint]
        self.anthropic = endpoint == "messages"
        self.size = len(tools)
        self.spaces: dict[str, tuple[str, str]] = {}
        self.loaded: list[tuple[str, Raw]] = []
        used: set[str] = set()
        for tool in parts.loaded:
            for name, plain in self._flat(tool):
                if name in used:
                    raise _invalid("tools", f"two tools of the name '{name[:100]}'")
                used.update({name} - {""})
                self.loaded.append((name, Raw(encode(plain))))
        self._deferred: dict[str, Any] = {}
        self._encoded: dict[str, Raw] = {}
        for tool in parts.deferred:
            for name, plain in self._flat(tool):
                if not name:
                    raise _invalid("tools", "a deferred tool without a name")
                if name in used:
                    raise _invalid("tools", f"two tools of the name '{name[:100]}'")
                used.add(name)
                self._deferred[name] = plain
        self.count = len(self.loaded) + len(self._deferred) + len(parts.search)
        self.names = (
            {} if self.finder is None else {each: self._name_of(each) for each in self.finder.selector.ids}
        )
        self.searchers: dict[str, Searcher] = {}
        for tool in parts.search:
            searcher = self._searcher(tool, used, parts.deferred)
            used.add(searcher.name)
            self.searchers[searcher.name] = searcher

    def __contains__(self, name: object) -> bool:
        """Whether the model would call a deferred tool by this name."""
        return name in self._deferred

    def definition(self, name: str) -> Raw:
        """A deferred tool, as the upstream is told."""
        found = self._encoded.get(name)
        if found is None:
            found = self._encoded[name] = Raw(encode(self._deferred[name]))
        return found

    def loaded_of(self, tools: Raw) -> list[tuple[str, Raw]]:
        """As :attr:`loaded`, of a selection of them, or of more."""
        kept: list[tuple[str, Any]] = []
        for tool in _tools.decode(tools):
            if search_tool_kind(tool) is None and not is_deferred(tool):
                inner = [each for each in tool["tools"] if not is_deferred(each)] if is_namespace(tool) else []
                kept += flat({**tool, "tools": inner} if inner else tool, {})
        return [(name, Raw(encode(plain))) for name, plain in kept]

    def _flat(self, tool: Any) -> Iterator[tuple[str, Any]]:
        if is_namespace(tool) and self._form is not _RESPONSES:
            raise _invalid("tools", "a namespace is a tool of /v1/responses alone")
        return flat(tool, self.spaces)

    def _name_of(self, tool_id: str) -> str:
        assert self.finder is not None
        tool = self.finder.selector.tool(tool_id)
        return flat_name(tool.namespace, tool.name) if tool.namespace else tool.name

    def _searcher(
        self, tool: Mapping[str, Any], used: set[str], deferred: Sequence[Mapping[str, Any]]
    ) -> Searcher:
        kind = search_tool_kind(tool)
        assert kind is not None
        given = tool.get("name")
        if isinstance(given, str) and given in used:
            raise _invalid("tools", f"two tools of the name '{given[:100]}'")
        shown = given if isinstance(given, str) and given else "tool_search"
        name, number = shown, 1
        while name in used:
            number += 1
            name = f"{shown}_{number}"
        description, parameters = _explained(kind, len(self._deferred), deferred)
        client = tool.get("execution") == "client"
        if client:
            description = tool.get("description") or description
            parameters = tool.get("parameters") or parameters
        definition = self._form(name, description, parameters)
        if self.anthropic and "cache_control" in tool:
            definition["cache_control"] = tool["cache_control"]
        return Searcher(kind, name, shown, client, Raw(encode(definition)))


def flat(tool: Any, spaces: dict[str, tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """What the model calls a tool, and the tool as one that is loaded; each of a namespace by itself.

    Args:
        tool: as the client wrote it.
        spaces: gets namespace and name of each that stands in one, by the name the model calls it.
    """
    if not is_namespace(tool):
        yield (_name(tool), _without(tool)) if isinstance(tool, dict) else ("", tool)
        return
    space = str(tool.get("name") or "")
    for inner in tool["tools"]:
        if isinstance(inner, dict):
            own = str(inner.get("name") or "")
            name = flat_name(space, own)
            spaces[name] = (space, own)
            yield name, {**_without(inner), "name": name}


def flat_name(namespace: str, name: str) -> str:
    """What the model calls a tool of a namespace."""
    joined = f"{namespace}__{name}"
    if len(joined) <= _LONGEST_NAME:
        return joined
    digest = sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{joined[: _LONGEST_NAME - 9]}_{digest[:8]}"


def _explained(kind: str, count: int, deferred: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """What the model is told of a search, and its parameters."""
    what = f"Finds tools that are not loaded yet, and loads them: {count} can be found."
    after = "What it finds can be called afterwards."
    properties: dict[str, Any]
    if kind == "regex":
        said = "A regular expression in Python's syntax, at most 200 characters; (?i) ignores case."
        properties = {"pattern": {"type": "string", "description": said}}
        what += " Searches their names, descriptions and arguments."
    else:
        properties = {"query": {"type": "string", "description": "In words, what the tools should do."}}
    required = list(properties)
    spaces = [each for each in deferred if each.get("type") == "namespace"]
    if kind == "openai" and spaces:
        listed = [
            f"{each.get('name')} ({str(each.get('description') or '')[:_DESCRIPTION_SHOWN]})"
            for each in spaces[:_NAMESPACES_SHOWN]
        ]
        what += f" Groups of tools: {'; '.join(listed)}."
        said = "Names of groups or tools to load."
        properties["paths"] = {"type": "array", "items": {"type": "string"}, "description": said}
        required = []
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return f"{what} {after}", schema


def _messages(name: str, description: str, parameters: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "input_schema": parameters}


def _chat(name: str, description: str, parameters: Any) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _responses(name: str, description: str, parameters: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": False,
    }


_RESPONSES: Final = _responses
_FORMS: Final[dict[str, Any]] = {
    "messages": _messages,
    "chat.completions": _chat,
    "responses": _responses,
}


def _invalid(param: str, message: str) -> GatewayError:
    return GatewayError(400, f"Invalid {param}: {message}.", param=param, code="invalid_value")


def _name(tool: Mapping[str, Any]) -> str:
    inner = tool.get("function")
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def _without(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool as one that is loaded."""
    plain = {name: value for name, value in tool.items() if name != "defer_loading"}
    inner = plain.get("function")
    if isinstance(inner, dict) and "defer_loading" in inner:
        plain["function"] = {name: value for name, value in inner.items() if name != "defer_loading"}
    return plain


# Tools that only their vendor can list.
_LISTED_ELSEWHERE: Final = ("mcp", "mcp_toolset")
_MCP: Final = (b'"mcp"', b'"mcp_toolset"')


def listed_elsewhere(tools: Raw | None) -> bool:
    """Whether a request defers tools of a server that its vendor asks (``mcp_toolset``, ``mcp``): nobody else can
    search them, and the request goes on as it came."""
    if tools is None or not any(mark in (said := bytes(tools)) for mark in _MCP):
        return False
    try:
        given = _tools.decode(said)
    except (ValueError, RecursionError):
        return False
    return any(
        isinstance(tool, dict) and tool.get("type") in _LISTED_ELSEWHERE and b"defer_loading" in encode(tool)
        for tool in given
    )


class Found(Struct, frozen=True):
    """What came of a search.

    Attributes:
        ids: of the tools, best first.
        error: why it could not be made; empty where it could.
    """

    ids: tuple[str, ...] = ()
    error: str = ""


class Search(ABC):
    """The tool search of one request; see the module.

    Attributes:
        fields: what the upstream is asked now.
        searches: answered so far.
        offers: whether it is offered a search.
        answer_id: the id by which the client knows the answer.
    """

    history: str
    """The field that holds the conversation."""

    def __init__(self, given: Mapping[str, Raw], searchable: Searchable, selected: bool = False) -> None:
        """
        Args:
            given: the request's fields.
            searchable: of the client's tools.
            selected: whether ``given`` has others: of those that are loaded a part, or more.

        Raises:
            GatewayError: 400, the conversation cannot be read.
        """
        self.searchable = searchable
        self._loaded = searchable.loaded_of(given["tools"]) if selected else searchable.loaded
        self._spaces: dict[str, tuple[str, str]] = {}  # of tools a client has found itself
        self.searches = 0
        self.offers = False
        self._sent = self._sent_size = 0
        self._names: Mapping[str, str] | None = None
        self.answer_id: str | None = None
        self._given = given
        self._forced, self._choice = self._chosen(given.get("tool_choice"))
        self._beside: dict[str, Raw] = {}  # definitions a client has found itself
        self._usage: dict[str, Any] | None = None
        self._said: list[Any] = []  # so far, in the vendor's words
        self.fields = self._fields()

    @property
    def offered(self) -> Offered:
        """What has become of the tools so far."""
        searchable = self.searchable
        saved = searchable.size - self._sent_size
        return Offered("search", searchable.count, self._sent, saved, self._names, self.searches)

    def learns_from(self, names: Mapping[str, str]) -> None:
        """Calls are kept: of tools of these names, and of those that are deferred."""
        finder = self.searchable.finder
        deferred = {} if finder is None else {finder.selector.tool(id).name: id for id in self.searchable.names}
        self._names = {**deferred, **names}

    @abstractmethod
    def _plain(self) -> tuple[Raw, list[str]]:
        """The conversation so far in plain calls and results, and the names of tools that it found or called, in
        that order."""

    @abstractmethod
    def take(self, body: bytes) -> bool:
        """Takes one whole answer of the upstream's, in the client's protocol, and answers its searches.

        Returns:
            whether the upstream has to be asked again, with :attr:`fields`.

        Raises:
            ValueError: it cannot be read.
        """

    @abstractmethod
    def whole(self) -> bytes:
        """The answer as the client sees it."""

    @abstractmethod
    def voice(self) -> Voice:
        """What tells the client of the answer while it comes."""

    def _chosen(self, raw: Raw | None) -> tuple[list[str], Any]:
        """Deferred tools that ``tool_choice`` names, which are loaded; and the choice in plain words."""
        if raw is None or not present(raw):
            return [], None
        choice: Any = read(raw, _any, "tool_choice")
        if not isinstance(choice, dict):
            return [], choice
        return list(dict.fromkeys(self._named(choice))), choice

    def _named(self, choice: dict[str, Any]) -> Iterator[str]:
        """Deferred tools a choice names; what names a search is made to name the function that searches."""
        if search_tool_kind(choice) is not None:
            searcher = next(iter(self.searchable.searchers.values()), None)
            if searcher is not None:
                plain: dict[str, Any] = {"type": "function", "name": searcher.name}
                if self.history == "messages":
                    plain = {"type": "function", "function": {"name": searcher.name}}
                choice.clear()
                choice.update(plain)
            return
        inner = choice.get("function")
        name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
        if isinstance(name, str):
            if isinstance(space := choice.pop("namespace", None), str):
                name = choice["name"] = flat_name(space, name)
            if name in self.searchable:
                yield name
        for nested in (choice.get("tools"), choice.get("allowed_tools")):
            for each in [nested] if isinstance(nested, dict) else nested if isinstance(nested, list) else []:
                if isinstance(each, dict):
                    yield from self._named(each)

    def _forces_search(self) -> bool:
        choice = self._choice
        if not isinstance(choice, dict):
            return False
        inner = choice.get("function")
        return (inner.get("name") if isinstance(inner, dict) else choice.get("name")) in self.searchable.searchers

    def _fields(self) -> dict[str, Raw]:
        said, named = self._plain()
        searchable = self.searchable
        found = list(dict.fromkeys([*named, *self._forced]))
        tools = [definition for _, definition in self._loaded]
        if self.searches and self._forces_search():
            self._choice = None  # it has searched; what it does with that is its own choice
        self.offers = self.searches < MOST_SEARCHES and bool(searchable.searchers)
        if self.offers:
            tools += [each.definition for each in searchable.searchers.values()]
        own = {name for name, _ in self._loaded}
        for name in found:
            if name in searchable:
                tools.append(searchable.definition(name))
            elif name in self._beside and name not in own:
                tools.append(self._beside[name])
        fields = {**self._given, self.history: said}
        choice = self._choice
        if not tools and searchable.searchers:
            # Servers refuse a history of calls without any tools.
            tools += [each.definition for each in searchable.searchers.values()]
            choice = {"type": "none"} if searchable.anthropic else "none"
        fields.pop("tool_choice", None)
        if tools:
            fields["tools"] = Raw(encode(tools))
            if choice is not None:
                fields["tool_choice"] = Raw(encode(choice))
        else:
            fields.pop("tools", None)
        self._sent, self._sent_size = len(tools), len(fields.get("tools", b""))
        return fields

    def _answer(self, searcher: Searcher | None, given: object) -> Found:
        """Makes one search."""
        if self.searches >= MOST_SEARCHES:
            return Found(error=NO_MORE)
        self.searches += 1
        finder = self.searchable.finder
        if finder is None or searcher is None:
            return Found()
        try:
            return Found(finder.find(searcher.kind, given))
        except RequestError as error:
            return Found(error=f"{error.field}: {error.value}; {error.remedy}")

    def _count(self, usage: object) -> None:
        """Adds what one call took."""
        if isinstance(usage, dict):
            self._usage = usage if self._usage is None else added(self._usage, usage)


class Voice(ABC):
    """One streamed answer to the client, made of the streams of one upstream after the other."""

    def __init__(self) -> None:
        self._heard: list[bytes] = []

    def feed(self, events: bytes) -> bytes:
        """What the client gets for events of the stream under way, in its own protocol."""
        given = []
        # The line feed ends the last event even where lines end in carriage returns.
        for event in sse.split(events + b"\n")[0]:
            data = sse.data_of(event)
            if not data.startswith(b"{"):
                if data != b"[DONE]":
                    given.append(event)
                continue
            self._heard.append(event)
            given.append(self._event(event, parse(data, _object)))
        return b"".join(given)

    @abstractmethod
    def _event(self, event: bytes, said: dict[str, Any]) -> bytes:
        """What the client gets for one event."""

    @abstractmethod
    def end(self) -> tuple[bytes, bool]:
        """What the client gets where a stream has ended, and whether the upstream has to be asked again.

        Raises:
            ValueError: the stream cannot be read.
        """


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two accounts of tokens, together; what is no count is the latter's."""
    total = dict(one)
    for name, value in other.items():
        before = total.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            total[name] = added(before, value)
        elif _is_count(value) and _is_count(before):
            total[name] = before + value
        elif value is not None or before is None:
            total[name] = value
    return total


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
