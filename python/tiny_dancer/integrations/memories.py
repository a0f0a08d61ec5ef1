"""Memories as tools of an agent: remember, recall, forget, within one namespace of a storage."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import CandidateError, OptionError
from tiny_dancer.storage import CandidateRecord

if TYPE_CHECKING:
    from tiny_dancer.storage import CandidateStorage

_MOST = 100  # memories of one answer: a model reads them all


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that was found.

    Attributes:
        id: to forget it by.
        text: what was remembered.
        score: how well it answers the query, beside the others.
        remembered_at: ISO 8601 in UTC.
        metadata: what was remembered beside the text.
    """

    id: str
    text: str
    score: float
    remembered_at: str
    metadata: dict[str, Any]


class Memories:
    """What an agent remembers in one namespace; what is in others can be neither found nor changed.

    Example:
        >>> from tiny_dancer.storage import MemoryStorage
        >>> memories = Memories(MemoryStorage(), ("users", "anna"))
        >>> id = memories.remember("The train to Bern leaves at nine.")
        >>> memories.recall("When does the train leave?")[0].text
        'The train to Bern leaves at nine.'
        >>> memories.forget(id)
        True
    """

    def __init__(self, storage: CandidateStorage, namespace: Sequence[str] = (), *, by: str | None = None) -> None:
        """Opens a namespace of a storage, which stays the caller's to close.

        Args:
            storage: keeps the memories.
            namespace: whose they are, such as ``("users", "anna")``; what is below it counts as well.
            by: who writes, for the storage's history of changes.

        Raises:
            OptionError: a namespace that is one text instead of several.
        """
        if isinstance(namespace, str):
            raise OptionError("namespace", namespace, "give a list of texts, from the widest to the narrowest")
        self.namespace = tuple(namespace)
        self._storage, self._by = storage, by

    def remember(self, text: str, *, metadata: Mapping[str, Any] | None = None, ttl_s: float | None = None) -> str:
        """Keeps a text; it is durable when this returns.

        Args:
            text: what to remember.
            metadata: properties to recall it by.
            ttl_s: seconds after which it is forgotten; None keeps it.

        Returns:
            The memory's id.

        Raises:
            CandidateError: nothing to remember, or what cannot be stored.
        """
        if not isinstance(text, str) or not text.strip():
            raise CandidateError("text", repr(text), "give what is to be remembered, in words")
        id = uuid.uuid4().hex
        record = CandidateRecord(
            id, text=text, metadata=dict(metadata or {}), namespace=self.namespace, ttl_s=ttl_s
        )
        self._storage.insert_candidates([record], by=self._by)
        return id

    def recall(self, query: str, *, k: int = 5, filter: Mapping[str, Any] | None = None) -> tuple[Recalled, ...]:
        """The memories a query is about, best first; fewer than ``k`` where fewer have to do with it.

        Args:
            query: what is asked.
            k: most to give, up to 100.
            filter: conditions on metadata, such as ``{"topic": "travel"}``.

        Raises:
            OptionError: a query without words, ``k`` outside its range, or no filter.
        """
        if not isinstance(query, str) or not query.strip():
            raise OptionError("query", repr(query), "ask in words")
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MOST:
            raise OptionError("k", k, f"give a whole number from 1 to {_MOST}")
        found = self._storage.query_candidates(query, k, filter=self._within(filter))
        return tuple(
            Recalled(
                each.candidate.id,
                each.candidate.text or "",
                each.score,
                datetime.fromtimestamp(each.candidate.created_at, UTC).isoformat(timespec="seconds"),
                dict(each.candidate.metadata),
            )
            for each in found
        )

    def forget(self, id: str) -> bool:
        """Removes a memory of this namespace, with its history; whether there was one."""
        if not self._storage.get_candidates([id], filter=self._within(None)):
            return False
        return self._storage.delete_candidates([id], by=self._by, purge=True) == 1

    def _within(self, filter: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The filter and the namespace: both, whatever the filter says of namespaces."""
        if not (filter is None or isinstance(filter, Mapping)):
            raise OptionError("filter", type(filter).__name__, "give a mapping from metadata keys")
        conditions = [dict(filter)] if filter else []
        if self.namespace:
            conditions.append({"$namespace": list(self.namespace)})
        return {"$and": conditions} if conditions else None
