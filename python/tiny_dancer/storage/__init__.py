"""What must outlive the process: candidates, decisions, outcomes, feedback, a gateway's requests. The only SQL.

:class:`Storage` says what every backend does; it is :class:`CandidateStorage`, :class:`HistoryStorage`,
:class:`RequestStorage`, :class:`KeyStorage`, :class:`QueueStorage`, :class:`AgentStorage` and
:class:`BudgetStorage` in one database.
:class:`MemoryStorage` needs nothing; ``SqliteStorage``, the default for what shall last, needs the extra
``sqlite`` and is imported when first asked for; :class:`tiny_dancer.postgres.PostgresStorage` needs the extra
``postgres``. :func:`open_storage` opens the one that a path or an address names.
"""

from typing import TYPE_CHECKING, Any

from tiny_dancer.storage.agents import Agent, AgentOutcome, AgentRecord, AgentStorage
from tiny_dancer.storage.budgets import Budget, BudgetStorage
from tiny_dancer.storage.calibration import Calibration, ReliabilityBin
from tiny_dancer.storage.candidates import (
    CandidateChange,
    CandidateRecord,
    CandidateStorage,
    Filter,
    LiveCandidates,
    Neighbour,
)
from tiny_dancer.storage.history import (
    Feedback,
    HistoryStorage,
    Outcome,
    RoutingRecord,
    ShownCandidate,
    Statistics,
    hash_query,
)
from tiny_dancer.storage.keys import ApiKey, KeyStorage, ModelBudget, Spend
from tiny_dancer.storage.ledger import RequestStorage
from tiny_dancer.storage.memory import MemoryStorage
from tiny_dancer.storage.opening import open_storage
from tiny_dancer.storage.queue import QueuedRequest, QueueState, QueueStorage
from tiny_dancer.storage.storage import RowCounts, Storage
from tiny_dancer.storage.summaries import DIMENSIONS, Percentiles, RequestSummary

if TYPE_CHECKING:
    from tiny_dancer.storage.sqlite import SqliteStorage

__all__ = [
    "DIMENSIONS",
    "Agent",
    "AgentOutcome",
    "AgentRecord",
    "AgentStorage",
    "ApiKey",
    "Budget",
    "BudgetStorage",
    "Calibration",
    "CandidateChange",
    "CandidateRecord",
    "CandidateStorage",
    "Feedback",
    "Filter",
    "HistoryStorage",
    "KeyStorage",
    "LiveCandidates",
    "MemoryStorage",
    "ModelBudget",
    "Neighbour",
    "Outcome",
    "Percentiles",
    "QueueState",
    "QueueStorage",
    "QueuedRequest",
    "ReliabilityBin",
    "RequestStorage",
    "RequestSummary",
    "RoutingRecord",
    "RowCounts",
    "ShownCandidate",
    "Spend",
    "SqliteStorage",
    "Statistics",
    "Storage",
    "hash_query",
    "open_storage",
]


def __getattr__(name: str) -> Any:
    if name == "SqliteStorage":
        from tiny_dancer.storage.sqlite import SqliteStorage

        return SqliteStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
