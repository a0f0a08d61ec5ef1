"""What a router's ``tool_selection`` makes of a request's tools, before it is decided which model gets them.

The router is asked about the request as the model will get it: what its context window has to hold, what it costs
and how many tools there are to choose from follow from what is sent.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tiny_dancer.errors import RequestError
from tiny_dancer.gateway.tools.catalogue import NO_TOOLS, Catalogue, Own
from tiny_dancer.gateway.tools.listed import Listed, Wanted
from tiny_dancer.gateway.tools.offered import Offered
from tiny_dancer.routing.router import read_artifact
from tiny_dancer.routing.tools import ToolSelector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiny_dancer import _core
    from tiny_dancer.gateway.configuration.settings import ToolSelection
    from tiny_dancer.gateway.tools.kept import Kept
    from tiny_dancer.gateway.upstream.dialect import Call

PROTOCOLS: Final = ("chat.completions", "messages", "responses")
"""Endpoints whose requests have tools."""

_NULL: Final = Raw(b"null")
_any: Final = msgspec.json.Decoder().decode


class RouterTools:
    """The ``tool_selection`` of one router, loaded.

    Attributes:
        settings: of the configuration.
    """

    def __init__(
        self, settings: ToolSelection, field: str, folder: Path, before: RouterTools | None = None
    ) -> None:
        """Reads its files.

        Args:
            settings: of the configuration.
            field: where they stand in it, for errors.
            folder: where relative paths start.
            before: of the configuration that is replaced: what did not change is kept.

        Raises:
            ConfigError: a catalogue that cannot be used.
            ArtifactError: no artifact of kind ``tools``.
        """
        self.settings = settings
        self._artifact = None if settings.artifact is None else read_artifact(folder / settings.artifact)
        if self._artifact is not None and settings.catalogue is None:
            ToolSelector(artifact=self._artifact)  # refuses what is none
        self._purpose = ("filter", hashlib.sha256(self._artifact or b"").digest())
        self._catalogue: Catalogue | None = None
        if settings.catalogue is not None:
            path = folder / settings.catalogue
            same = before is not None and before._purpose == self._purpose
            last = before._catalogue if before is not None and same else None
            self._catalogue = Catalogue.read(path, self._artifact, f"{field}.catalogue", last)

    async def offer(
        self, call: Call, said: Callable[[], _core.Said], kept: Kept, top_k: int | None
    ) -> Offered | None:
        """Puts the tools a request needs into its field ``tools``; says what became of them, None if it has none.

        Whatever cannot be done, the request stays as it is, and it is said why.

        Args:
            call: the request.
            said: what to select by.
            kept: what was made of lists of tools.
            top_k: as the request asks, or None.
        """
        given = call.fields.get("tools")
        if given == _NULL:
            given = None
        settings = self.settings
        wanted = Wanted(top_k or settings.top_k, settings.preserve_count, settings.relevance_threshold)
        choice = _choice(call.fields.get("tool_choice"))
        try:
            if self._catalogue is None:
                if given is None:
                    return None
                listed = await kept.get(self._purpose, given, partial(Listed, artifact=self._artifact))
                before = listed.count
                json, offered = listed.select(said(), choice, wanted)
            else:
                own = NO_TOOLS if given is None else await kept.get("own", given, Own)
                before = own.count
                json, offered = self._catalogue.add(own, call.endpoint, said(), choice, wanted)
        except RequestError:
            return Offered("no_text", before, before, 0)
        except ValueError:
            return Offered("unreadable", 0, 0, 0)
        if json is not None:
            call.fields["tools"] = Raw(json)
        if settings.learn:
            names = listed.names if self._catalogue is None else self._catalogue.ids
            offered = replace(offered, names=names)
        return offered


def _choice(raw: Raw | None) -> Any:
    try:
        return None if raw is None else _any(raw)
    except (ValueError, RecursionError):
        return None
