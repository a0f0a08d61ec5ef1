"""What became of the tools of a request."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Offered(Struct, frozen=True):
    """Tools as the client offered them, and as the model got them.

    Attributes:
        how: what was done: ``filter`` or ``add`` by ``tool_selection``, ``search`` where the model searches them
            itself; or why nothing was: ``no_text`` (there is nothing to select by), ``unreadable`` (no list).
        before: how many the client sent, the functions of a namespace counted one by one.
        sent: how many went to the model's server.
        bytes_saved: of their JSON; below 0 where tools were added.
        names: ids of the tools that were chosen from, by what a model calls them, where calls are learned from.
        searches: made by the model, as far as it has come.
    """

    how: str
    before: int
    sent: int
    bytes_saved: int
    names: Mapping[str, str] | None = None
    searches: int = 0
