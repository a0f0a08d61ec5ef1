"""Which tools an answer called, kept beside what was asked: what selecting tools learns from."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tiny_dancer.errors import StorageError
from tiny_dancer.storage import RoutingRecord, ShownCandidate, hash_query

if TYPE_CHECKING:
    from tiny_dancer.gateway.account.progress import Progress
    from tiny_dancer.storage import HistoryStorage


def keep_calls(progress: Progress, storage: HistoryStorage) -> None:
    """Remembers the calls of an answer that ended well, under the id that feedback refers to.

    Nothing waits for it, and what storage cannot take is lost: its own statistics count that.
    """
    plan, called = progress.plan, progress.called
    if (
        called is None
        or not called.ids
        or plan is None
        or not plan.said
        or progress.error
        or progress.status != 200
    ):
        return
    if not progress.serving.config.log.prompts:
        return
    names = list(called.ids)
    with suppress(StorageError):
        storage.record_routing(
            RoutingRecord(
                progress.id if plan.decision is None else plan.decision.id,
                "tools",
                names[0],
                query_hash=hash_query(plan.said),
                query_text=plan.said.replace("\0", "\N{REPLACEMENT CHARACTER}"),
                shown=tuple(ShownCandidate(name, rank) for rank, name in enumerate(names)),
            )
        )
