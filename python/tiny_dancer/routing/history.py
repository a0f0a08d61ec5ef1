"""From a decision to what storage remembers of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tiny_dancer.errors import StorageError
from tiny_dancer.routing.requests import as_engine, conversation
from tiny_dancer.storage import RoutingRecord, hash_query

if TYPE_CHECKING:
    from collections.abc import Collection

    from tiny_dancer.routing.requests import Request
    from tiny_dancer.storage import HistoryStorage
    from tiny_dancer.types import Decision


class StorageRecorder:
    """Records decisions in a database; a :class:`~tiny_dancer.routing.resilient.Recorder`.

    Example:
        >>> from tiny_dancer.routing.resilient import ResilientRouter
        >>> from tiny_dancer.storage import MemoryStorage
        >>> storage = MemoryStorage()
        >>> router = ResilientRouter.load(recorder=StorageRecorder(storage, light=["weak"]))
        >>> _ = router.route("What is 2 + 2?")
        >>> router.close()
        >>> storage.get_statistics().routes
        1
    """

    def __init__(self, storage: HistoryStorage, *, light: Collection[str] = (), keep_text: bool = False) -> None:
        """Keeps a hash of what the user said last, and the text itself only if asked.

        Args:
            storage: where to.
            light: models that count as light in its statistics.
            keep_text: whether to keep the text.
        """
        self._storage, self._light, self._keep_text = storage, frozenset(light), keep_text

    def __call__(self, request: Request, decision: Decision, /) -> None:
        """Records one decision.

        Raises:
            StorageError: the database cannot take it.
        """
        text = conversation(as_engine(request), None).said
        record = RoutingRecord(
            decision_id=decision.id,
            kind="request",
            chosen=decision.model,
            artifact_version=decision.artifact_version,
            query_hash=hash_query(text),
            # No database of ours holds NUL.
            query_text=text.replace("\0", "\N{REPLACEMENT CHARACTER}") if self._keep_text else None,
            confidence=None if math.isnan(decision.confidence) else decision.confidence,
            use_lightweight=decision.model in self._light,
            cost=decision.cost,
            latency_us=decision.elapsed_us,
            level=decision.level,
            reason=f"{decision.reason}; {decision.level_reason}" if decision.level_reason else decision.reason,
        )
        if not self._storage.record_routing(record):
            raise StorageError("routing record", "queue full", "the database is slower than decisions are made")
