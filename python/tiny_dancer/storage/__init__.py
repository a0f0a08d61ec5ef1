"""What must outlive the process: candidates, decisions, outcomes, feedback, a gateway's requests. The only SQL.

:class:`Storage` says what every backend does. :class:`MemoryStorage` needs nothing; ``SqliteStorage``, the default
for what shall last, needs the extra ``sqlite`` and is imported when first asked for.
"""

from typing import TYPE_CHECKING, Any

from tiny_dancer.storage.base import Storage
from tiny_dancer.storage.filters import Filter
from tiny_dancer.storage.memory import MemoryStorage
from tiny_dancer.storage.records import (
    CandidateRecord,
    Feedback,
    Neighbour,
    Outcome,
    RoutingRecord,
    RowCounts,
    ShownCandidate,
    Statistics,
    hash_query,
)
from tiny_dancer.storage.records_gateway import ApiKey, RequestSummary, Spend, SummaryBy

if TYPE_CHECKING:
    from tiny_dancer.storage.sqlite import SqliteStorage

__all__ = [
    "ApiKey",
    "CandidateRecord",
    "Feedback",
    "Filter",
    "MemoryStorage",
    "Neighbour",
    "Outcome",
    "RequestSummary",
    "RoutingRecord",
    "RowCounts",
    "ShownCandidate",
    "Spend",
    "SqliteStorage",
    "Statistics",
    "Storage",
    "SummaryBy",
    "hash_query",
]


def __getattr__(name: str) -> Any:
    if name == "SqliteStorage":
        from tiny_dancer.storage.sqlite import SqliteStorage

        return SqliteStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
