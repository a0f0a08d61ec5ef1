"""Which tools an answer calls, in any of the protocols, whole or streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer.gateway.upstream import sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CALLS: Final = ("tool_use", "function_call", "custom_tool_call")
# Within a text its quotes are escaped.
_NAME: Final = b'"name"'
_any: Final = msgspec.json.Decoder().decode


class Called:
    """Collects the calls of one answer, as the client gets it.

    Attributes:
        ids: of the tools called, each once, in the order of their calls.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        """``names``: ids of the tools that are looked for, by what a model calls them."""
        self.ids: dict[str, None] = {}
        self._names = names

    def add(self, body: bytes) -> None:
        """Takes a whole answer."""
        if _NAME in body:
            self._read(body)

    def add_events(self, events: bytes) -> None:
        """Takes events of a stream, each whole."""
        if _NAME in events:
            found, rest = sse.split(events)
            for event in (*found, rest):
                if _NAME in event:
                    self._read(sse.data_of(event))

    def _read(self, said: bytes) -> None:
        try:
            read = _any(said)
        except (ValueError, RecursionError):
            return  # what cannot be read calls nothing
        for name in _names(read):
            if isinstance(name, str) and (found := self._names.get(name)) is not None:
                self.ids[found] = None


def _names(said: Any) -> Iterator[Any]:
    for choice in _objects(said, "choices"):
        message = choice.get("delta") or choice.get("message")
        for call in _objects(message, "tool_calls"):
            yield from (_get(call.get(key), "name") for key in ("function", "custom"))
        yield _get(_get(message, "function_call"), "name")
    for key in ("content", "content_block", "output", "item"):
        for part in _objects(said, key):
            if part.get("type") in _CALLS:
                yield part.get("name")


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _objects(value: Any, key: str) -> list[dict[str, Any]]:
    """Objects of a list, or the object, under a key."""
    found = _get(value, key)
    listed = found if isinstance(found, list) else [found]
    return [each for each in listed if isinstance(each, dict)]
