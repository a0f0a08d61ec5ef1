"""OpenAI's Agents SDK: a session whose conversation is kept in a storage of candidates, and memory as tools."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tiny_dancer.errors import CandidateError, MissingExtraError, OptionError
from tiny_dancer.integrations.memories import Memories
from tiny_dancer.storage import CandidateRecord

try:
    from agents import FunctionTool, SessionABC, function_tool
    from agents.items import TResponseInputItem
    from agents.memory import SessionSettings
except ModuleNotFoundError as error:
    raise MissingExtraError("agents", error.name, "run pip install 'tiny-dancer[agents]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.storage import CandidateStorage

__all__ = ["TinyDancerSession", "memory_tools"]

SESSIONS: Final = "sessions"
"""The namespace above every session's."""
_BY: Final = "openai-agents"
_ROLES: Final = ("user", "assistant", "system", "developer", "tool")
# Others that add to the same session at the same moment.
_ATTEMPTS: Final = 100
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
        records = await asyncio.to_thread(self._records)
        if most is not None and most >= 0:
            records = records[len(records) - min(most, len(records)) :]
        return [json.loads(record.metadata["item"]) for record in records]

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

    def _records(self) -> list[CandidateRecord]:
        found = self._storage.get_candidates(filter={"$namespace": list(self._namespace), "$group": self._id()})
        return sorted(found, key=lambda record: record.position or 0)

    def _add(self, items: Sequence[TResponseInputItem]) -> None:
        written = [_written(item) for item in items]
        for attempt in range(_ATTEMPTS):
            last = self._records()[-1:]
            first = (last[0].position or 0) + 1 if last else 0
            records = [
                CandidateRecord(
                    self._id(first + place),
                    text=text,
                    metadata=metadata,
                    group=self._id(),
                    position=first + place,
                    namespace=self._namespace,
                )
                for place, (text, metadata) in enumerate(written)
            ]
            try:
                self._storage.insert_candidates(records, by=_BY)
            except CandidateError as error:
                # Somebody else's items have these places now; anything else is no matter of places.
                if error.field != "id" or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _pop(self) -> TResponseInputItem | None:
        while records := self._records():
            last = records[-1]
            if self._storage.delete_candidates([last.id], by=_BY, purge=True):
                item: TResponseInputItem = json.loads(last.metadata["item"])
                return item
        return None

    def _clear(self) -> None:
        while records := self._records():
            self._storage.delete_candidates([record.id for record in records], by=_BY, purge=True)

    def _id(self, position: int | None = None) -> str:
        """Of the session, or of an item of it."""
        return json.dumps([*self._namespace, *(() if position is None else (position,))], ensure_ascii=False)


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


def _written(item: Any) -> tuple[str | None, dict[str, Any]]:
    """What an item says in words, and what is kept of it: all of it, as JSON."""
    try:
        data = json.dumps(item, allow_nan=False)  # in ASCII, so half a surrogate pair comes back as it was
    except (TypeError, ValueError, RecursionError) as error:
        raise CandidateError("item", f"{type(item).__name__}: {error}", "give items that JSON holds") from error
    metadata = {"item": data}
    if isinstance(item, dict) and (role := item.get("role")) in _ROLES:
        metadata["role"] = role
    return _said(item), metadata


def _said(item: Any) -> str | None:
    """The words of a message; None of calls of tools, their results and reasoning."""
    if not isinstance(item, dict) or "role" not in item:
        return None
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    said = "\n".join(text for text in texts if isinstance(text, str) and text.strip())
    return said.replace("\0", "").encode("utf-8", "replace").decode() or None
