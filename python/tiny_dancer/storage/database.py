"""What every storage over a database with SQL does alike: it checks what comes in, and has its statements run.

How they are run is a subclass's: which connection reads, who writes, what waits.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import queue, values
from tiny_dancer.storage.agents import AgentOutcome, check_agents
from tiny_dancer.storage.budgets import check_budget
from tiny_dancer.storage.candidate_checks import check_by, check_candidates, check_search, path
from tiny_dancer.storage.candidates import compiled, latest_first
from tiny_dancer.storage.history import Feedback, Outcome, RoutingRecord, check_history, check_record
from tiny_dancer.storage.keys import ApiKey
from tiny_dancer.storage.ledger import check_request_history, check_requests, check_span
from tiny_dancer.storage.queue import QueuedRequest
from tiny_dancer.storage.storage import RowCounts, retention_limits
from tiny_dancer.storage.summaries import check_summary
from tiny_dancer.storage.touches import Touch

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    import numpy.typing as npt

    from tiny_dancer import _core
    from tiny_dancer.storage.agents import Agent, AgentRecord
    from tiny_dancer.storage.budgets import Budget, Draw, Drawn, Entry
    from tiny_dancer.storage.calibration import Calibration
    from tiny_dancer.storage.candidate_checks import Search
    from tiny_dancer.storage.candidates import CandidateChange, CandidateRecord, Filtering, Neighbour
    from tiny_dancer.storage.history import Statistics
    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.queue import QueueState
    from tiny_dancer.storage.statements import Statements
    from tiny_dancer.storage.summaries import RequestSummary
    from tiny_dancer.types import RequestRecord

T = TypeVar("T")
Connection = TypeVar("Connection")

# A candidate that is read with less than this to live lives on at once, not with the next batch of accesses.
_ENDING_SECONDS = 5.0


class DatabaseStorage(ABC, Generic[Connection]):
    """The :class:`~tiny_dancer.storage.Storage` protocol over a database with SQL, up to what only one of them
    does: opening, backups, and how reads and writes are run."""

    _sql: Statements[Connection]
    _where: str
    # The process that opened it, and what closes it, once.
    _process: int
    _close: weakref.finalize[Any, Any]

    def _check_open(self) -> None:
        if not self._close.alive:
            raise StorageError(self._where, "closed", "open it again")
        if os.getpid() != self._process:
            raise StorageError(self._where, "opened before a fork", "open it again in this process")

    @abstractmethod
    def _check_writable(self) -> object:
        """Raises where it is only read."""

    @abstractmethod
    def _read(self, action: Callable[[Connection], T]) -> T:
        """What ``action`` returns, which reads by one statement."""

    @abstractmethod
    def _snapshot(self, action: Callable[[Connection], T]) -> T:
        """What ``action`` returns, all of whose reads see one state of the database."""

    @abstractmethod
    def _write(self, action: Callable[[Connection], T], *, again: bool = False) -> T:
        """What ``action`` returns, when all that it wrote is durable; ``again``: it may be done twice without
        harm."""

    def _write_candidates(self, action: Callable[[Connection], T], *, again: bool = False) -> T:
        """A write to candidates: after the accesses so far, which were to those that are there now."""
        return self._write(action, again=again)

    @abstractmethod
    def _search(self, search: Search) -> tuple[Neighbour, ...]:
        """What a search finds, in the mirror or without."""

    @abstractmethod
    def _passing(self, where: _core.CandidateFilter | None, now: float) -> list[CandidateRecord] | None:
        """The candidates that pass a filter, as the mirror has them; None without one."""

    @abstractmethod
    def _count_reads(self, ids: list[str], touch: Touch) -> None:
        """Counts reads of candidates, to be written later; where nothing may be written, it does nothing."""

    @abstractmethod
    def _record_routing(self, record: RoutingRecord, *, wait: bool) -> bool:
        """Writes a decision, later unless ``wait``; False where the queue is full."""

    @abstractmethod
    def _dropped(self) -> int:
        """How many decisions were dropped."""

    @abstractmethod
    def _insert_requests(self, rows: Sequence[RequestRecord]) -> None:
        """Writes requests, those that do not fit as they fit."""

    @abstractmethod
    def _remove_history(self, table: str, oldest: float | None, most: int | None) -> int:
        """Removes rows of a history that are older or beyond the newest, step by step; returns how many."""

    @abstractmethod
    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable."""

    def insert_candidate(self, record: CandidateRecord, *, by: str | None = None) -> None:
        """Adds one candidate."""
        self.insert_candidates([record], by=by)

    def insert_candidates(self, records: Iterable[CandidateRecord], *, by: str | None = None) -> None:
        """Adds candidates, all or none."""
        self._check_open()
        rows, dimension = check_candidates(records)
        who = check_by(by)
        if rows:
            self._write_candidates(
                lambda connection: self._sql.candidates.insert_candidates(connection, rows, dimension, who)
            )

    def upsert_candidates(
        self, records: Iterable[CandidateRecord], *, by: str | None = None, keep_use: bool = False
    ) -> None:
        """Adds candidates, replacing those of the same ids as a whole."""
        self._check_open()
        rows, dimension = check_candidates(records)
        who = check_by(by)
        if rows:
            self._write_candidates(
                lambda connection: self._sql.candidates.upsert_candidates(
                    connection, rows, dimension, who, keep_use=keep_use
                )
            )

    def delete_candidates(self, ids: Iterable[str], *, by: str | None = None, purge: bool = False) -> int:
        """Removes candidates; returns how many there were."""
        self._check_open()
        listed = values.texts("ids", ids)
        who = check_by(by)
        return self._write_candidates(
            lambda connection: self._sql.candidates.delete_candidates(connection, listed, who, purge=purge)
        )

    def remove_expired(self, *, now: float | None = None) -> int:
        """Removes candidates that have expired, in bounded steps; returns how many."""
        self._check_open()
        until = time.time() if now is None else values.utc_seconds("now", now, error=OptionError)
        removed = step = self._write_candidates(
            lambda connection: self._sql.candidates.remove_expired(connection, until)
        )
        while step == self._sql.candidates.EXPIRY_STEP:
            step = self._write_candidates(
                lambda connection: self._sql.candidates.remove_expired(connection, until)
            )
            removed += step
        return removed

    def get_candidates(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Filtering | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        refresh_ttl: bool = False,
    ) -> tuple[CandidateRecord, ...]:
        """Candidates with their embeddings, in the order of ``ids``, or all by id, or newest first."""
        where = compiled(filter)
        listed = None if ids is None else values.texts("ids", ids)
        most = values.limit(limit)
        self._check_open()
        known = None
        if listed is None and (where is not None or most is not None):
            known = self._passing(where, time.time())
        if known is not None:
            # Fewer rows to read; what is read is looked at again, for it may have changed since.
            known = latest_first(known) if newest_first else sorted(known, key=lambda record: record.id)
            listed = tuple(record.id for record in known)
            wanted = len(listed) if most is None else most
            found: tuple[CandidateRecord, ...] = ()
            read = 0
            while read < len(listed) and len(found) < wanted:
                # Where some are gone since, the next take their places.
                some = listed[read : read + wanted - len(found)]
                found += self._candidates(some, where)
                read += len(some)
        else:
            found = self._candidates(listed, where)
        if newest_first:
            found = tuple(latest_first(found))
        found = found[:most]
        if refresh_ttl:
            self._touch(found, Touch(0, time.time(), refresh=True))
        return found

    def query_candidates(
        self,
        query: npt.ArrayLike | str,
        k: int = 10,
        *,
        text: str | None = None,
        filter: Filtering | None = None,
        max_distance: float | None = None,
        touch: bool = True,
        refresh_ttl: bool = False,
        embeddings: bool = False,
    ) -> tuple[Neighbour, ...]:
        """The candidates a query is about, best first."""
        search = check_search(query, k, text, filter, max_distance, embeddings=embeddings)
        self._check_open()
        found = self._search(search)
        if touch or refresh_ttl:
            self._touch([each.candidate for each in found], Touch(int(touch), search.now, refresh_ttl))
        return found

    def _candidates(
        self, ids: Sequence[str] | None, where: _core.CandidateFilter | None
    ) -> tuple[CandidateRecord, ...]:
        return self._read(lambda connection: self._sql.candidates.candidates(connection, ids, where))

    def _touch(self, records: Sequence[CandidateRecord], touch: Touch) -> None:
        if not records:
            return
        self._count_reads([record.id for record in records], touch)
        soon = touch.last + _ENDING_SECONDS
        if touch.refresh and any(record.expires_at is not None and record.expires_at < soon for record in records):
            # What is written in a batch would come too late.
            self.flush()

    def list_namespaces(self, prefix: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Namespaces that candidates have, those that begin with ``prefix``, in their order."""
        begin = path("prefix", prefix)
        now = time.time()
        found = self._read(lambda connection: self._sql.candidates.list_namespaces(connection, now))
        return tuple(sorted(each for each in found if each[: len(begin)] == begin))

    def candidate_history(
        self, candidate_id: str | None = None, *, since: float | None = None, limit: int | None = 1000
    ) -> tuple[CandidateChange, ...]:
        """What was done to a candidate, or to all, newest first."""
        begin, _ = values.span(since, None)
        most = values.limit(limit)
        id = values.stored_text("candidate_id", candidate_id, optional=True, error=OptionError)
        return self._read(
            lambda connection: self._sql.candidate_history.candidate_history(connection, id, begin, most)
        )

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision; False where the queue is full."""
        self._check_open()
        check_record("record", record, RoutingRecord)
        return self._record_routing(record, wait=wait)

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback, and counts it for its candidate."""
        self._check_open()
        check_record("feedback", feedback, Feedback)
        self._write(lambda connection: self._sql.history.put_feedback(connection, feedback))

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        self._check_open()
        check_record("outcome", outcome, Outcome)
        self._write(lambda connection: self._sql.history.put_outcome(connection, outcome))

    def routing_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        kind: str | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[RoutingRecord, ...]:
        """Decisions with ``since <= time < until``, newest first."""
        query = check_history(since, until, decision_ids, limit, kind)
        return self._read(lambda connection: self._sql.history.routing_history(connection, query))

    def feedback_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Feedback, ...]:
        """Feedback with ``since <= time < until``, newest first."""
        query = check_history(since, until, decision_ids, limit)
        return self._read(lambda connection: self._sql.history.feedback_history(connection, query))

    def outcome_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Outcome, ...]:
        """Outcomes with ``since <= time < until``, newest first."""
        query = check_history(since, until, decision_ids, limit)
        return self._read(lambda connection: self._sql.history.outcome_history(connection, query))

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway, in one transaction."""
        self._check_open()
        rows = check_requests(records)
        if rows:
            self._insert_requests(rows)

    def request_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_id: str | None = None,
        response_id: str | None = None,
        request_id: str | None = None,
        key: str | None = None,
        limit: int | None = 10_000,
    ) -> tuple[RequestRecord, ...]:
        """Requests with ``since <= time < until`` and the ids given, newest first."""
        fields = {"decision_id": decision_id, "response_id": response_id, "id": request_id, "key": key}
        query = check_request_history(since, until, fields, limit)
        return self._read(lambda connection: self._sql.ledger.request_history(connection, query))

    def spend(self, *, since: float, until: float | None = None) -> dict[str, Spend]:
        """What each key has used in a span of time."""
        since, until = check_span(since, until)
        return self._read(lambda connection: self._sql.ledger.spend(connection, since, until))

    def request_summary(
        self,
        *,
        by: str | Iterable[str] = (),
        since: float | None = None,
        until: float | None = None,
        where: Mapping[str, str | Iterable[str]] | None = None,
        percentiles: bool = True,
    ) -> tuple[RequestSummary, ...]:
        """Requests summed up, in the order of the groups."""
        query = check_summary(by, since, until, where, percentiles)
        return self._snapshot(lambda connection: self._sql.summaries.request_summary(connection, query))

    def request_calibration(self, *, since: float | None = None, until: float | None = None) -> Calibration:
        """Requests by what was expected of them, beside what came of it."""
        since, until = values.span(since, until)
        return self._snapshot(
            lambda connection: self._sql.calibration.request_calibration(connection, since, until)
        )

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway."""
        self._check_open()
        check_record("key", key, ApiKey)
        self._write(lambda connection: self._sql.keys.insert_api_key(connection, key))

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first."""
        return self._read(lambda connection: self._sql.keys.api_keys(connection))

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key; false where there is none, or it was revoked before."""
        name = values.stored_text("id", id, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        return self._write(lambda connection: self._sql.keys.revoke_api_key(connection, name, moment))

    def enqueue(self, request: QueuedRequest, *, most: int | None = None) -> bool:
        """Puts a request into the queue; false where ``most`` are open."""
        self._check_open()
        check_record("request", request, QueuedRequest)
        limit = queue.check_most(most)
        return self._write(lambda connection: self._sql.queue.put(connection, request, limit))

    def queued_requests(
        self,
        *,
        states: Iterable[QueueState] | None = queue.OPEN,
        ids: Iterable[str] | None = None,
        key: str | None = None,
        after: str | None = None,
        limit: int | None = 100,
        now: float | None = None,
    ) -> tuple[QueuedRequest, ...]:
        """Requests in one of the states, the oldest first."""
        query = queue.check_queue(states, ids, key, after, limit, now)
        return self._snapshot(lambda connection: self._sql.queue.find(connection, query))

    def claim_request(
        self, id: str, by: str, *, seconds: float = queue.CLAIM_SECONDS, now: float | None = None
    ) -> QueuedRequest:
        """Says that ``by`` is answering it."""
        return self._move(queue.claim(id, by, seconds, now))

    def answer_request(self, id: str, by: str, answer: str, *, now: float | None = None) -> QueuedRequest:
        """Answers it, for good."""
        return self._move(queue.answer(id, by, answer, now))

    def cancel_request(self, id: str, by: str, *, now: float | None = None) -> QueuedRequest:
        """Takes it out of the queue unanswered."""
        return self._move(queue.cancel(id, by, now))

    def _move(self, move: queue.Move) -> QueuedRequest:
        self._check_open()
        return self._write(lambda connection: self._sql.queue.move(connection, move))

    def insert_agents(self, agents: Iterable[Agent], *, at: float, replace: bool = False) -> None:
        """Adds agents, all or none."""
        listed = check_agents(agents)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        if listed:
            self._write(
                lambda connection: self._sql.agents.insert_agents(connection, listed, moment, replace=replace)
            )

    def agents(self) -> tuple[AgentRecord, ...]:
        """All agents, by name."""
        return self._read(lambda connection: self._sql.agents.agents(connection))

    def delete_agent(self, name: str) -> bool:
        """Removes an agent; false where there is none."""
        self._check_open()
        asked = values.stored_text("name", name, empty=True, error=OptionError)
        return self._write(lambda connection: self._sql.agents.delete_agent(connection, asked))

    def set_agent_active(self, name: str, active: bool, *, at: float) -> bool:
        """Says whether an agent may be chosen; false where there is none."""
        asked = values.stored_text("name", name, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        return self._write(
            lambda connection: self._sql.agents.set_agent_active(connection, asked, moment, active=active)
        )

    def record_agent_outcome(self, outcome: AgentOutcome, *, half_life_s: float | None) -> AgentRecord:
        """Adds an outcome to the sums of its agent, within one transaction."""
        check_record("outcome", outcome, AgentOutcome)
        self._check_open()
        return self._write(lambda connection: self._sql.agents.record_outcome(connection, outcome, half_life_s))

    def agent_changes(self) -> int:
        """A number that every write about agents raises."""
        return self._read(lambda connection: self._sql.agents.agent_changes(connection))

    def insert_budget(self, budget: Budget, *, replace: bool = False) -> Budget:
        """Adds a budget, or puts it in the place of that of its id."""
        self._check_open()
        checked = check_budget(budget)
        return self._write(
            lambda connection: self._sql.budgets.insert_budget(connection, checked, replace=replace)
        )

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, by id."""
        return self._read(lambda connection: self._sql.budgets.budgets(connection))

    def delete_budget(self, id: str) -> bool:
        """Removes a budget; false where there is none."""
        self._check_open()
        asked = values.stored_text("id", id, empty=True, error=OptionError)
        return self._write(lambda connection: self._sql.budgets.delete_budget(connection, asked))

    def budget_changes(self) -> int:
        """A number that every write about budgets raises."""
        return self._read(lambda connection: self._sql.budgets.budget_changes(connection))

    def draw_budget(self, draw: Draw) -> Drawn:
        """Lets a holder have more of a budget, within one transaction."""
        self._check_open()
        return self._write(lambda connection: self._sql.budgets.draw_budget(connection, draw), again=True)

    def tell_budgets(self, told: Sequence[Entry], *, shrink: bool = False) -> None:
        """Notes what holders have spent, within one transaction."""
        self._check_open()
        rows = tuple(told)
        if rows:
            self._write(
                lambda connection: self._sql.budgets.tell_budgets(connection, rows, shrink=shrink), again=True
            )

    def budget_entries(
        self, budget: str | None = None, *, holder: int | None = None, since: int | None = None
    ) -> tuple[Entry, ...]:
        """The ledger, by budget, start and holder."""
        return self._read(lambda connection: self._sql.budgets.budget_entries(connection, budget, holder, since))

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of a span of time; what is still queued is not among them."""
        since, until = values.span(since, until)
        dropped = self._dropped()
        return self._snapshot(lambda connection: self._sql.history.statistics(connection, since, until, dropped))

    def apply_retention(
        self, *, max_age_s: float | None = None, max_rows: int | None = None, now: float | None = None
    ) -> RowCounts:
        """Removes history that is older, or beyond the newest rows."""
        oldest, most = retention_limits(max_age_s, max_rows, now)
        self._check_open()
        # Requests before the feedback about them: it is summed up with them.
        self._check_writable()
        removed = {"routing": 0, "outcome": 0, "request": 0, "feedback": 0, "candidate_history": 0}
        for table in removed:
            removed[table] = self._remove_history(table, oldest, most)
        ended = queue.present(now)
        queued = self._write(lambda connection: self._sql.queue.remove(connection, oldest, most, ended))
        return RowCounts(
            0,
            removed["routing"],
            removed["outcome"],
            removed["feedback"],
            removed["request"],
            changes=removed["candidate_history"],
            queued=queued,
        )

    def close(self) -> None:
        """Writes what is queued and lets go of the database."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
