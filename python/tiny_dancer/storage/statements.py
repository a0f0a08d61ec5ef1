"""The statements that a database with SQL offers, whichever it is: modules of these functions, file by file.

Those that write run within a transaction; what each does, and raises, its module says.
"""
# ruff: noqa: D102

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tiny_dancer import _core
    from tiny_dancer.storage.agents import Agent, AgentOutcome, AgentRecord
    from tiny_dancer.storage.budgets import Budget, Draw, Drawn, Entry
    from tiny_dancer.storage.calibration import Calibration
    from tiny_dancer.storage.candidates import CandidateChange, CandidateRecord
    from tiny_dancer.storage.history import Feedback, HistoryQuery, Outcome, RoutingRecord, Statistics
    from tiny_dancer.storage.keys import ApiKey, Spend
    from tiny_dancer.storage.ledger import RequestQuery
    from tiny_dancer.storage.queue import Move, QueuedRequest, QueueQuery
    from tiny_dancer.storage.summaries import RequestSummary, SummaryQuery
    from tiny_dancer.types import RequestRecord

Connection = TypeVar("Connection")
C = TypeVar("C", contravariant=True)


class Candidates(Protocol[C]):
    """Candidates; ``EXPIRY_STEP``: as many expire in one transaction."""

    @property
    def EXPIRY_STEP(self) -> int: ...  # noqa: N802 - as the modules name it
    def insert_candidates(
        self, connection: C, records: Sequence[CandidateRecord], dimension: int | None, by: str | None
    ) -> None: ...
    def upsert_candidates(
        self,
        connection: C,
        records: Sequence[CandidateRecord],
        dimension: int | None,
        by: str | None,
        *,
        keep_use: bool,
    ) -> None: ...
    def delete_candidates(self, connection: C, ids: Iterable[str], by: str | None, *, purge: bool) -> int: ...
    def remove_expired(self, connection: C, now: float) -> int: ...
    def candidates(
        self, connection: C, ids: Iterable[str] | None, where: _core.CandidateFilter | None
    ) -> tuple[CandidateRecord, ...]: ...
    def list_namespaces(self, connection: C, now: float) -> list[tuple[str, ...]]: ...


class CandidateHistory(Protocol[C]):
    """What was done to candidates."""

    def candidate_history(
        self, connection: C, candidate_id: str | None, since: float | None, limit: int | None
    ) -> tuple[CandidateChange, ...]: ...


class History(Protocol[C]):
    """Decisions, and what came of them."""

    def put_feedback(self, connection: C, feedback: Feedback) -> None: ...
    def put_outcome(self, connection: C, outcome: Outcome) -> None: ...
    def routing_history(self, connection: C, query: HistoryQuery) -> tuple[RoutingRecord, ...]: ...
    def feedback_history(self, connection: C, query: HistoryQuery) -> tuple[Feedback, ...]: ...
    def outcome_history(self, connection: C, query: HistoryQuery) -> tuple[Outcome, ...]: ...
    def statistics(self, connection: C, since: float | None, until: float | None, dropped: int) -> Statistics: ...


class Ledger(Protocol[C]):
    """A gateway's requests."""

    def request_history(self, connection: C, query: RequestQuery) -> tuple[RequestRecord, ...]: ...
    def spend(self, connection: C, since: float, until: float | None) -> dict[str, Spend]: ...


class Summaries(Protocol[C]):
    """A gateway's requests, summed up."""

    def request_summary(self, connection: C, query: SummaryQuery) -> tuple[RequestSummary, ...]: ...


class Calibrations(Protocol[C]):
    """What was expected of requests, beside what came of it."""

    def request_calibration(self, connection: C, since: float | None, until: float | None) -> Calibration: ...


class Keys(Protocol[C]):
    """A gateway's keys."""

    def insert_api_key(self, connection: C, key: ApiKey) -> None: ...
    def api_keys(self, connection: C) -> tuple[ApiKey, ...]: ...
    def revoke_api_key(self, connection: C, id: str, at: float) -> bool: ...


class Queue(Protocol[C]):
    """Requests that wait for a person."""

    def put(self, connection: C, request: QueuedRequest, most: int | None) -> bool: ...
    def find(self, connection: C, query: QueueQuery) -> tuple[QueuedRequest, ...]: ...
    def move(self, connection: C, asked: Move) -> QueuedRequest: ...
    def remove(self, connection: C, oldest: float | None, most: int | None, now: float) -> int: ...


class Agents(Protocol[C]):
    """Agents, and sums over their outcomes."""

    def insert_agents(self, connection: C, agents: Sequence[Agent], at: float, *, replace: bool) -> None: ...
    def agents(self, connection: C) -> tuple[AgentRecord, ...]: ...
    def delete_agent(self, connection: C, name: str) -> bool: ...
    def set_agent_active(self, connection: C, name: str, at: float, *, active: bool) -> bool: ...
    def record_outcome(self, connection: C, outcome: AgentOutcome, half_life_s: float | None) -> AgentRecord: ...
    def agent_changes(self, connection: C) -> int: ...


class Budgets(Protocol[C]):
    """Budgets, and the ledger of what holders drew and spent."""

    def insert_budget(self, connection: C, budget: Budget, *, replace: bool) -> Budget: ...
    def budgets(self, connection: C) -> tuple[Budget, ...]: ...
    def delete_budget(self, connection: C, id: str) -> bool: ...
    def budget_changes(self, connection: C) -> int: ...
    def draw_budget(self, connection: C, draw: Draw) -> Drawn: ...
    def tell_budgets(self, connection: C, told: Sequence[Entry], *, shrink: bool) -> None: ...
    def budget_entries(
        self, connection: C, budget: str | None, holder: int | None, since: int | None
    ) -> tuple[Entry, ...]: ...


@dataclass(frozen=True, slots=True)
class Statements(Generic[Connection]):
    """All of them, of one database."""

    candidates: Candidates[Connection]
    candidate_history: CandidateHistory[Connection]
    history: History[Connection]
    ledger: Ledger[Connection]
    summaries: Summaries[Connection]
    calibration: Calibrations[Connection]
    keys: Keys[Connection]
    queue: Queue[Connection]
    agents: Agents[Connection]
    budgets: Budgets[Connection]
