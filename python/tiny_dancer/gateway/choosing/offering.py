"""Which of a request's tools its model will get, before it is decided which model that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.choosing.plan import router_of
from tiny_dancer.gateway.configuration.settings import ToolSelection
from tiny_dancer.gateway.tools.selecting import PROTOCOLS, RouterTools

if TYPE_CHECKING:
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.tools.kept import Kept
    from tiny_dancer.gateway.tools.offered import Offered

# Of a router that selects none, where a request asks for it.
_AS_ASKED: Final = RouterTools(ToolSelection(mode="filter"), "tool_selection", Path())


async def select_tools(serving: Serving, incoming: Incoming, kept: Kept) -> Offered | None:
    """Leaves a request the tools it needs, as its router is configured, or the request asks.

    The router is then asked about the request as the model will get it: what a context window has to hold, what it
    costs and how many tools there are to choose from.

    Returns:
        what became of them; None where nothing was selected.
    """
    asked = incoming.options.tool_selection
    if not (serving.selects_tools or asked is not None) or asked == "off" or incoming.endpoint not in PROTOCOLS:
        return None
    router = router_of(serving, incoming)
    if router is None:
        return None
    tools = router.tools
    if tools is None:
        if asked is None:
            return None
        tools = _AS_ASKED
    return await tools.offer(incoming, incoming.words, kept, asked)
