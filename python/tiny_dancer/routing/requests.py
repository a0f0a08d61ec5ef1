"""Requests as callers write them → requests as the engine takes them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tiny_dancer import _core
from tiny_dancer.errors import RequestError

if TYPE_CHECKING:
    from tiny_dancer.types import FeatureTable

ChatMessages: TypeAlias = Sequence[Mapping[str, Any]]
Request: TypeAlias = "str | ChatMessages"


def as_engine(request: Request, field: str = "messages") -> _core.Said:
    """A request as the engine takes it: a text, or chat messages as JSON in bytes.

    The engine reads them: roles, parts, calls and their results (see ``request.rs``).

    Raises:
        RequestError: it is neither, or holds what is no JSON.
    """
    if isinstance(request, str):
        return request
    if not isinstance(request, list | tuple):
        raise RequestError("request", type(request).__name__, "give a text or a list of chat messages")
    try:
        return _core.encode_json(request)
    except UnicodeEncodeError as error:
        raise RequestError(field, "a lone surrogate", "give a string that is valid Unicode") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(field, str(error), 'give messages as {"role": …, "content": …}') from error


def listed_requests(requests: Any) -> list[Request]:
    """A list of what a list, numpy array or Arrow array holds; a lone string is refused, not spelt out."""
    if isinstance(requests, str):
        raise RequestError("requests", "one text", "give a list of requests, or call route")
    if hasattr(requests, "to_pylist"):  # Arrow arrays: iterating them gives scalars of their own type
        requests = requests.to_pylist()
    elif hasattr(requests, "tolist"):
        requests = requests.tolist()
    # A mapping would be spelt out by its keys; an array without dimensions is no list.
    if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable):
        raise RequestError("requests", type(requests).__name__, "give a list of requests")
    return requests if isinstance(requests, list) else list(requests)


def listed_tools(tools: Iterable[object], rows: int) -> list[_core.Json | None]:
    """Tools of a batch as JSON, one entry a request.

    Raises:
        RequestError: they are no list of so many entries, or one is no JSON.
    """
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable):
        raise RequestError("tools", type(tools).__name__, "give a list with one entry a request")
    listed = list(tools)
    if len(listed) != rows:
        raise RequestError("tools", f"{len(listed)} for {rows} requests", "give one entry a request")
    return [as_json(each, f"tools[{row}]") for row, each in enumerate(listed)]


def as_json(value: object, field: str) -> _core.Json | None:
    """Tools or a response format as JSON: text stays, anything else is encoded.

    Raises:
        RequestError: it holds what is no JSON, or no valid Unicode.
    """
    if value is None or isinstance(value, str):
        return value
    try:
        return _core.encode_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        remedy = f"give {field} as JSON text or JSON values"
        raise RequestError(field, f"{type(value).__name__}: {error}", remedy) from error


def as_batch(requests: Sequence[Request]) -> list[_core.Said]:
    """Requests of a batch as the engine takes them.

    Raises:
        RequestError: as :func:`as_engine`, naming the row.
    """
    given: list[_core.Said] = []
    for row, request in enumerate(requests):
        try:
            given.append(as_engine(request, "messages"))
        except RequestError as error:
            raise RequestError(f"requests[{row}].{error.field}", error.value, error.remedy) from error
    return given


class Conversation(NamedTuple):
    """What a request turns on.

    Attributes:
        said: by the user, last.
        context: all around it.
        begun: the request up to the end of the user's first turn.
    """

    said: str
    context: Hashable
    begun: _core.Said


def conversation(request: _core.Said, tools: _core.Json | None) -> Conversation:
    """What a request, as the engine takes it, turns on.

    Raises:
        RequestError: it cannot be read.
    """
    if isinstance(request, str):
        return Conversation(request, tools, request)
    said, start, end, begun = _core.conversation_outline(request)
    return Conversation(said, (tools, request[:start], request[end:]), request[:begun])


def featurise(
    prompts: Sequence[str],
    messages: Sequence[str | None] | None = None,
    tools: Sequence[str | None] | None = None,
    spec: str = _core.FEATURE_SPEC,
) -> FeatureTable:
    """Engine features of a table's rows, whose messages and tools are JSON texts, to the specification ``spec``.

    Raises:
        RequestError: a row that cannot be routed.
    """
    given: Sequence[_core.Said] = prompts
    if messages is not None:
        rows = zip(prompts, messages, strict=True)
        given = [prompt if said is None else said.encode() for prompt, said in rows]
    return _core.featurise(given, tools, spec)
