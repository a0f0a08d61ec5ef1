"""Numbers of streamed tool calls where servers give none, or one to all: clients join pieces of a call by them.

Ollama says index 0 of every call, older servers none, some begin with 1. What some
servers repeat in every piece, id and name, is said once: clients put pieces of them together like all texts.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream.translate import arguments
from tiny_dancer.gateway.upstream.translate.fields import encode, index_of

_choices = msgspec.json.Decoder(list[dict[str, Any]])


class _Call(Struct):
    """A call that has begun.

    Attributes:
        number: that its pieces get.
        said: the server's.
        id: empty where it has none.
        name: of the tool.
        arguments: in the piece that began it.
    """

    number: int
    said: Any
    id: str
    name: str
    arguments: str


class Numbers:
    """Of the calls of one stream.

    Attributes:
        changed: whether the server does otherwise than clients expect. Then all pieces have to be shown to this,
            else only those with names, which begin calls.
    """

    def __init__(self) -> None:
        self.changed = False
        self._calls: dict[Any, list[_Call]] = {}  # by the index of the choice

    def told(self, choices: Raw) -> bytes | None:
        """The choices of a chunk with calls numbered so that they can be told apart; None where they are."""
        try:
            read = _choices.decode(choices)
        except (ValueError, RecursionError):
            return None
        for choice in read:
            delta = choice.get("delta")
            calls = delta.get("tool_calls") if isinstance(delta, dict) else None
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    self._tell(self._calls.setdefault(index_of(choice), []), call)
        return encode(read) if self.changed else None

    def _tell(self, calls: list[_Call], piece: dict[str, Any]) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        id, name, said = piece.get("id") or "", function.get("name") or "", piece.get("index")
        call = _known(calls, said, id, name)
        if call is None:
            begun = function.get("arguments")
            call = _Call(len(calls), said, id, name, begun if isinstance(begun, str) else "")
            calls.append(call)
        elif id or name:
            self.changed = True
            for where, field in ((piece, "id"), (piece, "type"), (function, "name")):
                where.pop(field, None)
        self.changed = self.changed or call.number != said
        piece["index"] = call.number


def _known(calls: list[_Call], said: Any, id: str, name: str) -> _Call | None:
    """The call that a piece goes on with; None where it begins one."""
    same = [each for each in calls if each.said == said] if said is not None else calls
    if id:
        same = [each for each in same if each.id == id] or ([] if name else same)
    if not same:
        return None
    call = same[-1]
    if name and not id and (name != call.name or arguments.are_whole(call.arguments)):
        return None
    return call
