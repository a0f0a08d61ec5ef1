"""OpenAI's Agents SDK: a session whose conversation is kept in a storage of candidates, and memory as tools."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.extras import needed
from tiny_dancer.integrations.ids import scoped
from tiny_dancer.integrations.memories import Memories
from tiny_dancer.storage import CandidateRecord

with needed("agents"):
    from agents import FunctionTool, SessionABC, function_tool
    from agents.items import TResponseInputItem
    from agents.memory import SessionSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tiny_dancer.storage import CandidateStorage

__all__ = ["TinyDancerSession", "memory_tools"]

SESSIONS: Final = "sessions"
"""The namespace above every session's."""
_BY: Final = "openai-agents"
_ROLES: Final = ("user", "assistant", "system", "developer", "tool")
# Others that add to the same session at the same moment.
_ATTEMPTS: Final = 100
# Characters of one candidate: an image or a tool's output may be more than metadata holds.
_PIECE: Final = 400_000
T = TypeVar("T")


class TinyDancerSession(SessionABC):
    """A conversation of OpenAI's Agents SDK, in the namespace ``("sessions", session_id)`` of a storage.

    What was added is durable when :meth:`add_items` returns, and stays in order however many tasks, threads and
    processes add to one session: each call's items follow each other. What messages say is found by its words, as
    any candidate's, so that an agent can recall what was said in other sessions.

    Example:
        >>> from tiny_dancer.storage import MemoryStorage
        >>> session = TinyDancerSession("anna-1", MemoryStorage())
        >>> asyncio.run(session.add_items([{"role": "user", "content": "When does the train leave?"}]))
        >>> asyncio.run(session.get_items())
        [{'role': 'user', 'content': 'When does the train leave?'}]
    """

    def __init__(
        self,
        session_id: str,
        storage: CandidateStorage,
        *,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        """Opens a session, which need not exist yet; the storage stays the caller's to close.

        Args:
            session_id: names the conversation.
            storage: keeps it.
            session_settings: its ``limit`` holds where :meth:`get_items` is given none.

        Raises:
            OptionError: no id.
        """
        if not isinstance(session_id, str) or not session_id:
            raise OptionError("session_id", repr(session_id), "give a text")
        self.session_id = session_id
        self.session_settings = SessionSettings().resolve(session_settings)
        self._storage = storage
        self._namespace = (SESSIONS, session_id)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The conversation in its order; with a limit, the latest of it. 0 gives none."""
        most = self.session_settings.limit if limit is None and self.session_settings else limit
        return await asyncio.to_thread(self._items, None if most is None or most < 0 else most)

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Adds items behind what is there, all or none."""
        if items:
            await _to_the_end(partial(self._add, list(items)))

    async def pop_item(self) -> TResponseInputItem | None:
        """Removes the latest item and returns it; None where there is none."""
        return await _to_the_end(self._pop)

    async def clear_session(self) -> None:
        """Removes the conversation; nothing of what was said is left."""
        await _to_the_end(self._clear)

    def _items(self, most: int | None) -> list[TResponseInputItem]:
        if most is None:
            return [_read(records) for records in self._records().values()]
        span = most
        last = self._last()
        while True:
            found = self._records({"$gt": last - span, "$lte": last})
            # Places may be empty: of what was removed while others added.
            if len(found) >= most or span > last:
                return [_read(records) for records in list(found.values())[len(found) - min(most, len(found)) :]]
            span *= 4

    def _records(self, places: dict[str, int] | None = None) -> dict[int, list[CandidateRecord]]:
        """What is stored of each item, by its place, in their order."""
        found = sorted(
            self._storage.get_candidates(filter=self._within(places)),
            key=lambda record: (record.metadata["place"], record.metadata.get("piece", 0)),
        )
        return {place: list(records) for place, records in groupby(found, lambda each: each.metadata["place"])}

    def _last(self) -> int:
        """The highest place; -1 where there is none."""
        newest = self._storage.get_candidates(filter=self._within(), newest_first=True, limit=1)
        place = max((record.metadata["place"] for record in newest), default=-1)
        # Clocks may go back: the latest written is not for sure the last.
        return max(self._records({"$gt": place}), default=place)

    def _add(self, items: Sequence[TResponseInputItem]) -> None:
        written = [_written(item) for item in items]
        for attempt in range(_ATTEMPTS):
            first = self._last() + 1
            records = [
                record
                for place, (text, metadata, pieces) in enumerate(written, first)
                for record in self._made(place, text, metadata, pieces)
            ]
            try:
                self._storage.insert_candidates(records, by=_BY)
            except CandidateError as error:
                # Somebody else's items have these places now; anything else is no matter of places.
                if error.field != "id" or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _made(
        self, place: int, text: str | None, metadata: dict[str, Any], pieces: Sequence[str]
    ) -> Iterator[CandidateRecord]:
        for number, piece in enumerate(pieces):
            first = number == 0
            yield CandidateRecord(
                scoped(self._namespace, place) if first else scoped(self._namespace, place, number),
                text=text if first else None,
                metadata={"item": piece, "place": place, **(metadata if first else {"piece": number})},
                group=scoped(self._namespace),
                position=place,
                namespace=self._namespace,
            )

    def _pop(self) -> TResponseInputItem | None:
        while (last := self._last()) >= 0:
            records = self._records({"$gte": last, "$lte": last}).get(last, [])
            if self._storage.delete_candidates([record.id for record in records], by=_BY, purge=True):
                return _read(records)
        return None

    def _clear(self) -> None:
        while records := self._storage.get_candidates(filter=self._within()):
            self._storage.delete_candidates([record.id for record in records], by=_BY, purge=True)

    def _within(self, places: dict[str, int] | None = None) -> dict[str, Any]:
        session = {"$namespace": list(self._namespace), "$group": scoped(self._namespace)}
        return session if places is None else {**session, "place": places}


def _read(records: Sequence[CandidateRecord]) -> TResponseInputItem:
    item: TResponseInputItem = json.loads("".join(record.metadata["item"] for record in records))
    return item


async def _to_the_end(change: Callable[[], T]) -> T:
    """What a change returns, made in a thread. Whoever is cancelled is so once it is known how it ended."""
    task = asyncio.ensure_future(asyncio.to_thread(change))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        task.exception()  # it is seen, and the cancelling goes before it
        raise cancelled
    return task.result()


def memory_tools(storage: CandidateStorage, namespace: Sequence[str] = ()) -> list[FunctionTool]:
    """Tools ``remember``, ``recall`` and ``forget`` for an agent, within one namespace.

    Args:
        storage: keeps the memories; stays the caller's to close.
        namespace: whose they are, such as ``("users", "anna")``.

    Example:
        >>> from agents import Agent
        >>> from tiny_dancer.storage import MemoryStorage
        >>> agent = Agent("Assistant", tools=memory_tools(MemoryStorage(), ("users", "anna")))
    """
    memories = Memories(storage, namespace, by=_BY)

    async def remember(text: str) -> str:
        """Keep something for later conversations: a fact, a preference, a decision.

        Args:
            text: What to remember, as one sentence that will be understood on its own.
        """
        return await asyncio.to_thread(memories.remember, text)

    async def recall(query: str, k: int = 5) -> str:
        """Look up what was remembered in earlier conversations.

        Args:
            query: What is asked, in words.
            k: Most memories to return, from 1 to 100.
        """
        found = await asyncio.to_thread(memories.recall, query, k=k)
        listed = [{"id": each.id, "text": each.text, "remembered_at": each.remembered_at} for each in found]
        return json.dumps(listed, ensure_ascii=False)

    async def forget(id: str) -> str:
        """Remove a memory for good.

        Args:
            id: As `recall` or `remember` returned it.
        """
        found = await asyncio.to_thread(memories.forget, id)
        return "forgotten" if found else "there is no such memory"

    return [function_tool(each) for each in (remember, recall, forget)]


def _written(item: Any) -> tuple[str | None, dict[str, Any], list[str]]:
    """What an item says in words, whose they are, and all of it as JSON, in pieces."""
    try:
        data = json.dumps(item, allow_nan=False)  # in ASCII, so half a surrogate pair comes back as it was
    except (TypeError, ValueError, RecursionError) as error:
        raise CandidateError("item", f"{type(item).__name__}: {error}", "give items that JSON holds") from error
    metadata = {}
    if isinstance(item, dict) and (role := item.get("role")) in _ROLES:
        metadata["role"] = role
    return _said(item), metadata, [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]


def _said(item: Any) -> str | None:
    """The words of a message; None of calls of tools, their results and reasoning."""
    if not isinstance(item, dict) or "role" not in item:
        return None
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    said = "\n".join(text for text in texts if isinstance(text, str) and text.strip())
    return said.replace("\0", "").encode("utf-8", "replace").decode() or None
