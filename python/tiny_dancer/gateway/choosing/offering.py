"""Which of a request's tools its model will get, before it is decided which model that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.choosing.chooser import router_of
from tiny_dancer.gateway.configuration.settings import ToolSelection
from tiny_dancer.gateway.tools.searches import search_of
from tiny_dancer.gateway.tools.selecting import PROTOCOLS, RouterTools

if TYPE_CHECKING:
    from msgspec import Raw

    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Choice
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.tools.kept import Kept
    from tiny_dancer.gateway.tools.offered import Offered
    from tiny_dancer.gateway.tools.search import Search
    from tiny_dancer.gateway.upstream.dialect import Endpoint

# Of a router that selects none, where a request asks for it.
_AS_ASKED: Final = RouterTools(ToolSelection(mode="filter"), "tool_selection", Path())


async def offer_tools(
    serving: Serving,
    incoming: Incoming,
    kept: Kept,
    endpoint: Endpoint | None = None,
    choice: Choice | None = None,
) -> tuple[Offered | None, Search | None]:
    """Leaves a request the tools that its model gets: a selection, and of what is deferred what was found.

    Args:
        serving: the configuration.
        incoming: the request; its fields are changed.
        kept: what was made of lists of tools.
        endpoint: in whose protocol its tools are written; None for its own.
        choice: what a chain has decided about it; None where none has.

    Returns:
        what became of them, None where nothing did; and what answers the model's searches, where it may make some.

    Raises:
        GatewayError: 400; its tools cannot be searched for.
    """
    given = incoming.fields.get("tools")
    offered = await select_tools(serving, incoming, kept, choice)
    search = await search_in(incoming, kept, given, endpoint)
    if search is None:
        return offered, None
    if offered is not None and offered.names is not None:
        search.learns_from(offered.names)
    return search.offered, search


async def search_in(
    incoming: Incoming, kept: Kept, given: Raw | None = None, endpoint: Endpoint | None = None
) -> Search | None:
    """The tool search of a request, whose fields then have only tools that are loaded; None where it has none.

    Args:
        incoming: the request.
        kept: what was made of lists of tools.
        given: its tools as the client sent them; None: as they are.
        endpoint: in whose protocol they are written; None for its own.

    Raises:
        GatewayError: 400; its tools cannot be searched for.
    """
    fields = incoming.fields
    search = await search_of(endpoint or incoming.endpoint, fields, given or fields.get("tools"), kept)
    if search is not None:
        incoming.searched, incoming.fields = fields, search.fields
    return search


async def select_tools(
    serving: Serving, incoming: Incoming, kept: Kept, choice: Choice | None = None
) -> Offered | None:
    """Leaves a request the tools it needs, as its router is configured, or the request asks.

    The router is then asked about the request as the model will get it: what a context window has to hold, what it
    costs and how many tools there are to choose from. The router of a chain's learned step has decided before, by
    the request as it came; ``choice`` is what the chain has decided, where one has.

    Returns:
        what became of them; None where nothing was selected.
    """
    asked = incoming.options.tool_selection
    if not (serving.selects_tools or asked is not None) or asked == "off" or incoming.endpoint not in PROTOCOLS:
        return None
    router = router_of(serving, incoming, choice)
    if router is None:
        return None
    tools = router.tools
    if tools is None:
        if asked is None:
            return None
        tools = _AS_ASKED
    return await tools.offer(incoming, incoming.words, kept, asked)
