"""Which requests have their tools searched for here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.tools.search import Search, Searchable, listed_elsewhere, may_search
from tiny_dancer.gateway.tools.search_chat import ChatSearch
from tiny_dancer.gateway.tools.search_messages import MessagesSearch
from tiny_dancer.gateway.tools.search_responses import ResponsesSearch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import msgspec

    from tiny_dancer.gateway.tools.kept import Kept
    from tiny_dancer.gateway.upstream.dialect import Endpoint

_SEARCHES: Final[dict[str, type[Search]]] = {
    "messages": MessagesSearch,
    "chat.completions": ChatSearch,
    "responses": ResponsesSearch,
}
# What the upstream keeps of a response made in parts would be the parts: it goes on as it came.
_KEPT_THERE: Final = ("conversation", "background")
_NOTHING: Final = (b"null", b"false")
# Types that say in a history that there was a search, and how they begin: one look suffices where there was none.
# Within a text the last quote would be escaped.
_BEGIN: Final = b'"tool_search_'
_IN_HISTORY: Final = (b'"tool_search_tool_result"', b'"tool_search_call"', b'"tool_search_output"')


async def search_of(
    endpoint: Endpoint, fields: Mapping[str, msgspec.Raw], tools: msgspec.Raw | None, kept: Kept
) -> Search | None:
    """The tool search of a request; None where it has none, or its vendor alone can make it.

    Args:
        endpoint: which of the gateway's.
        fields: of the request; their tools may be a selection.
        tools: as the client sent them.
        kept: what was made of lists of tools.

    Raises:
        GatewayError: 400; its tools cannot be searched for.
    """
    made = _SEARCHES.get(endpoint)
    if made is None:
        return None
    # Chat completions have no words for it.
    said = b"" if endpoint == "chat.completions" else bytes(fields.get(made.history, b""))
    found = _BEGIN in said and any(mark in said for mark in _IN_HISTORY)
    if not (found or (tools is not None and may_search(tools))) or listed_elsewhere(tools):
        return None
    if endpoint == "responses" and any(bytes(fields.get(name, b"null")) not in _NOTHING for name in _KEPT_THERE):
        return None
    given = b"[]" if tools is None else tools
    searchable = await kept.get(("search", endpoint), given, partial(Searchable, endpoint))
    if not (found or searchable.searchers or searchable.names):
        return None  # only words like it
    return made(fields, searchable, fields.get("tools") != tools)
