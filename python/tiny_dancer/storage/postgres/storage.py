"""The PostgreSQL backend: puts connections, queue, mirror and statements together."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import queue, values
from tiny_dancer.storage.agents import AgentOutcome, check_agents
from tiny_dancer.storage.budgets import check_budget
from tiny_dancer.storage.candidate_checks import check_by, check_candidates, check_search, path
from tiny_dancer.storage.candidates import compiled, latest_first
from tiny_dancer.storage.history import Feedback, Outcome, RoutingRecord, check_history, check_record
from tiny_dancer.storage.keys import ApiKey
from tiny_dancer.storage.ledger import check_request_history, check_requests, check_span, fits, fitting
from tiny_dancer.storage.postgres import agents as agent_table
from tiny_dancer.storage.postgres import (
    backup,
    calibration,
    candidates,
    history,
    keys,
    ledger,
    queue_rows,
    summaries,
)
from tiny_dancer.storage.postgres import budgets as budget_table
from tiny_dancer.storage.postgres.candidate_history import candidate_history
from tiny_dancer.storage.postgres.catch_up import TableMirror
from tiny_dancer.storage.postgres.connection import UNREADABLE, Database
from tiny_dancer.storage.postgres.later import Later
from tiny_dancer.storage.postgres.migrate import migrate, migrations, missing_scripts
from tiny_dancer.storage.postgres.verify import TABLES, explain, row_counts, verify
from tiny_dancer.storage.queue import QueuedRequest
from tiny_dancer.storage.storage import RowCounts, retention_limits
from tiny_dancer.storage.summaries import check_summary
from tiny_dancer.storage.touches import Touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from tiny_dancer import _core
    from tiny_dancer.storage.agents import Agent, AgentRecord
    from tiny_dancer.storage.budgets import Budget, Draw, Drawn, Entry
    from tiny_dancer.storage.calibration import Calibration
    from tiny_dancer.storage.candidates import (
        CandidateChange,
        CandidateRecord,
        Filtering,
        LiveCandidates,
        Neighbour,
    )
    from tiny_dancer.storage.history import Statistics
    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.queue import QueueState
    from tiny_dancer.storage.summaries import RequestSummary
    from tiny_dancer.types import RequestRecord

T = TypeVar("T")

# A candidate that is read with less than this to live lives on at once, not with the next batch of accesses.
_ENDING_SECONDS = 5.0


class PostgresStorage:
    """The :class:`~tiny_dancer.storage.Storage` protocol over a PostgreSQL database, in its schema
    ``tiny_dancer``.

    Many threads may share one object, and many processes and machines one database; after ``fork``, open it again.
    A write is committed when it returns, as durable as the server makes commits (``synchronous_commit``). The
    tables are made where they are missing, or are the extension's where ``CREATE EXTENSION tiny_dancer`` made
    them.

    Args:
        conninfo: where the database is: ``postgresql://user:password@host:5432/database``, or ``key=value`` pairs
            of libpq; what is left out comes from libpq's environment (``PGHOST``, ``PGPASSFILE``, ...).
        create: refuse a database without the tables, if false.
        mirror: keep the candidates in memory for searches in microseconds: 5 bytes x dimension and some 1 KB a
            candidate, plus its text. Without, every search reads all of them, with the same answers.
        queue_capacity: routing records that may wait to be written; beyond, they are dropped and counted.
        read_only: look at it only, also on a standby: nothing is made or changed, whatever writes is refused, and
            searches count no accesses.
        pool_size: connections at a time, made when needed; threads beyond wait for one.

    Raises:
        MissingExtraError: psycopg or psycopg_pool is not installed.
        StorageError: the server cannot be reached or refuses; the database is not in UTF8, or its tables are of a
            newer version; they are the extension's and older than this program needs; or there are none and they
            may not be made.
        OptionError: ``queue_capacity`` or ``pool_size`` below 1.

    Attributes:
        conninfo: as it was given, with its password.
        where: the address without one.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        create: bool = True,
        mirror: bool = True,
        queue_capacity: int = 65_536,
        read_only: bool = False,
        pool_size: int = 4,
    ) -> None:
        for name, value in (("queue_capacity", queue_capacity), ("pool_size", pool_size)):
            if values.integer(name, value, error=OptionError) < 1:
                raise OptionError(name, value, "give 1 or more")
        if not isinstance(conninfo, str):
            remedy = "give an address such as postgresql://user@host/database"
            raise StorageError("conninfo", type(conninfo).__name__, remedy)
        self._process = os.getpid()
        self._database = database = Database(conninfo, pool_size=pool_size)
        self.conninfo, self.where = conninfo, database.where
        try:
            _make_ready(database, create=create and not read_only, read_only=read_only)
        except BaseException:
            database.close()
            raise
        self._mirror = TableMirror() if mirror else None
        self._later = None if read_only else Later(database, queue_capacity)
        # Also when it is forgotten, or the program ends without closing: what is queued is written. None of them
        # may know this object, or nobody could forget it.
        self._close = weakref.finalize(self, _close, self._later, database, self._process)

    def _write(self, action: Callable[[psycopg.Connection[Any]], T], *, again: bool = False) -> T:
        self._check_open()
        self._check_writable()
        return self._database.write(action, again=again)

    def _write_candidates(self, action: Callable[[psycopg.Connection[Any]], T], *, again: bool = False) -> T:
        """A write to candidates: after the accesses so far, which were to those that are there now."""
        self._check_open()
        self._check_writable().settle()
        return self._database.write(action, again=again)

    def _read(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        self._check_open()
        with self._explained():
            return self._database.read(action)

    def _snapshot(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        self._check_open()
        with self._explained():
            return self._database.snapshot(action)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Names the row where one cannot be read."""
        try:
            yield
        except UNREADABLE:
            self._database.snapshot(lambda connection: explain(connection, self.where))
            raise

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
                lambda connection: candidates.insert_candidates(connection, rows, dimension, who)
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
                lambda connection: candidates.upsert_candidates(
                    connection, rows, dimension, who, keep_use=keep_use
                )
            )

    def delete_candidates(self, ids: Iterable[str], *, by: str | None = None, purge: bool = False) -> int:
        """Removes candidates; returns how many there were."""
        self._check_open()
        listed = values.texts("ids", ids)
        who = check_by(by)
        return self._write_candidates(
            lambda connection: candidates.delete_candidates(connection, listed, who, purge=purge)
        )

    def remove_expired(self, *, now: float | None = None) -> int:
        """Removes candidates that have expired, in bounded steps; returns how many."""
        self._check_open()
        until = time.time() if now is None else values.utc_seconds("now", now, error=OptionError)
        removed = step = self._write_candidates(lambda connection: candidates.remove_expired(connection, until))
        while step == candidates.EXPIRY_STEP:
            step = self._write_candidates(lambda connection: candidates.remove_expired(connection, until))
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
        if listed is None and self._mirror is not None and (where is not None or most is not None):
            # Fewer rows to read; what is read is looked at again, for it may have changed since.
            known = self._mirror.passing(self._database, where, time.time())
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
        mirror = TableMirror() if self._mirror is None else self._mirror
        with self._explained():
            found = mirror.search(self._database, search)
        if touch or refresh_ttl:
            self._touch([each.candidate for each in found], Touch(int(touch), search.now, refresh_ttl))
        return found

    def _candidates(
        self, ids: Sequence[str] | None, where: _core.CandidateFilter | None
    ) -> tuple[CandidateRecord, ...]:
        return self._read(lambda connection: candidates.candidates(connection, ids, where))

    def _touch(self, records: Sequence[CandidateRecord], touch: Touch) -> None:
        if not records or self._later is None:
            return
        self._later.touch([record.id for record in records], touch)
        soon = touch.last + _ENDING_SECONDS
        if touch.refresh and any(record.expires_at is not None and record.expires_at < soon for record in records):
            # What is written in a batch would come too late.
            self._later.flush()

    def live_candidates(self) -> LiveCandidates:
        """All candidates as the engine ranks them; without a mirror they are read anew each time."""
        self._check_open()
        return (TableMirror() if self._mirror is None else self._mirror).live(self._database)

    def list_namespaces(self, prefix: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Namespaces that candidates have, those that begin with ``prefix``, in their order."""
        begin = path("prefix", prefix)
        now = time.time()
        found = self._read(lambda connection: candidates.list_namespaces(connection, now))
        return tuple(sorted(each for each in found if each[: len(begin)] == begin))

    def candidate_history(
        self, candidate_id: str | None = None, *, since: float | None = None, limit: int | None = 1000
    ) -> tuple[CandidateChange, ...]:
        """What was done to a candidate, or to all, newest first."""
        begin, _ = values.span(since, None)
        most = values.limit(limit)
        id = values.stored_text("candidate_id", candidate_id, optional=True, error=OptionError)
        return self._read(lambda connection: candidate_history(connection, id, begin, most))

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision; False where the queue is full."""
        self._check_open()
        check_record("record", record, RoutingRecord)
        later = self._check_writable()
        if not wait:
            return later.record(record)
        # Those before it first: of one decision the first stays.
        later.settle()
        self._write(lambda connection: history.insert_routing(connection, [record]), again=True)
        return True

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback, and counts it for its candidate."""
        self._check_open()
        check_record("feedback", feedback, Feedback)
        self._write(lambda connection: history.put_feedback(connection, feedback))

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        self._check_open()
        check_record("outcome", outcome, Outcome)
        self._write(lambda connection: history.put_outcome(connection, outcome))

    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable."""
        self._check_open()
        if self._later is not None:
            self._later.flush()

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
        return self._read(lambda connection: history.routing_history(connection, query))

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
        return self._read(lambda connection: history.feedback_history(connection, query))

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
        return self._read(lambda connection: history.outcome_history(connection, query))

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway, in one transaction."""
        self._check_open()
        rows = check_requests(records)
        if not rows:
            return
        if not all(map(fits, rows)):
            rows = tuple(map(fitting, rows))
        try:
            self._record_requests(rows)
        except (UnicodeEncodeError, OverflowError):
            self._record_requests(tuple(map(fitting, rows)))
        except StorageError as error:
            # Where a constraint of the tables refuses a value.
            if not isinstance(error.__cause__, psycopg.DataError | psycopg.IntegrityError):
                raise
            self._record_requests(tuple(map(fitting, rows)))

    def _record_requests(self, rows: Sequence[RequestRecord]) -> None:
        listed = ledger.as_json(rows)
        self._write(lambda connection: ledger.insert_requests(connection, listed), again=True)

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
        return self._read(lambda connection: ledger.request_history(connection, query))

    def spend(self, *, since: float, until: float | None = None) -> dict[str, Spend]:
        """What each key has used in a span of time."""
        since, until = check_span(since, until)
        return self._read(lambda connection: ledger.spend(connection, since, until))

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
        return self._snapshot(lambda connection: summaries.request_summary(connection, query))

    def request_calibration(self, *, since: float | None = None, until: float | None = None) -> Calibration:
        """Requests by what was expected of them, beside what came of it."""
        since, until = values.span(since, until)
        return self._snapshot(lambda connection: calibration.request_calibration(connection, since, until))

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway."""
        self._check_open()
        check_record("key", key, ApiKey)
        self._write(lambda connection: keys.insert_api_key(connection, key))

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first."""
        return self._read(lambda connection: keys.api_keys(connection))

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key; false where there is none, or it was revoked before."""
        name = values.stored_text("id", id, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        return self._write(lambda connection: keys.revoke_api_key(connection, name, moment))

    def enqueue(self, request: QueuedRequest, *, most: int | None = None) -> bool:
        """Puts a request into the queue; false where ``most`` are open."""
        self._check_open()
        check_record("request", request, QueuedRequest)
        limit = queue.check_most(most)
        return self._write(lambda connection: queue_rows.put(connection, request, limit))

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
        return self._snapshot(lambda connection: queue_rows.find(connection, query))

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
        return self._write(lambda connection: queue_rows.move(connection, move))

    def insert_agents(self, agents: Iterable[Agent], *, at: float, replace: bool = False) -> None:
        """Adds agents, all or none."""
        listed = check_agents(agents)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        if listed:
            self._write(lambda connection: agent_table.insert_agents(connection, listed, moment, replace=replace))

    def agents(self) -> tuple[AgentRecord, ...]:
        """All agents, by name."""
        return self._read(lambda connection: agent_table.agents(connection))

    def delete_agent(self, name: str) -> bool:
        """Removes an agent; false where there is none."""
        self._check_open()
        asked = values.stored_text("name", name, empty=True, error=OptionError)
        return self._write(lambda connection: agent_table.delete_agent(connection, asked))

    def set_agent_active(self, name: str, active: bool, *, at: float) -> bool:
        """Says whether an agent may be chosen; false where there is none."""
        asked = values.stored_text("name", name, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        return self._write(
            lambda connection: agent_table.set_agent_active(connection, asked, moment, active=active)
        )

    def record_agent_outcome(self, outcome: AgentOutcome, *, half_life_s: float | None) -> AgentRecord:
        """Adds an outcome to the sums of its agent, within one transaction."""
        check_record("outcome", outcome, AgentOutcome)
        self._check_open()
        return self._write(lambda connection: agent_table.record_outcome(connection, outcome, half_life_s))

    def agent_changes(self) -> int:
        """A number that every write about agents raises."""
        return self._read(lambda connection: agent_table.table_changes(connection, "agent"))

    def insert_budget(self, budget: Budget, *, replace: bool = False) -> Budget:
        """Adds a budget, or puts it in the place of that of its id."""
        self._check_open()
        checked = check_budget(budget)
        return self._write(lambda connection: budget_table.insert_budget(connection, checked, replace=replace))

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, by id."""
        return self._read(lambda connection: budget_table.budgets(connection))

    def delete_budget(self, id: str) -> bool:
        """Removes a budget; false where there is none."""
        self._check_open()
        asked = values.stored_text("id", id, empty=True, error=OptionError)
        return self._write(lambda connection: budget_table.delete_budget(connection, asked))

    def budget_changes(self) -> int:
        """A number that every write about budgets raises."""
        return self._read(lambda connection: agent_table.table_changes(connection, "budget"))

    def draw_budget(self, draw: Draw) -> Drawn:
        """Lets a holder have more of a budget, within one transaction."""
        self._check_open()
        return self._write(lambda connection: budget_table.draw_budget(connection, draw), again=True)

    def tell_budgets(self, told: Sequence[Entry], *, shrink: bool = False) -> None:
        """Notes what holders have spent, within one transaction."""
        self._check_open()
        rows = tuple(told)
        if rows:
            self._write(lambda connection: budget_table.tell_budgets(connection, rows, shrink=shrink), again=True)

    def budget_entries(
        self, budget: str | None = None, *, holder: int | None = None, since: int | None = None
    ) -> tuple[Entry, ...]:
        """The ledger, by budget, start and holder."""
        return self._read(lambda connection: budget_table.budget_entries(connection, budget, holder, since))

    def budget_table(self) -> tuple[Path | None, str]:
        """Nowhere: a process draws for itself. What one that was killed had drawn, a hundredth of the limit at
        most beyond what it spent, counts as spent until the period ends."""
        self._check_open()
        self._check_writable()
        return None, self._read(budget_table.epoch)

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of a span of time; what is still queued is not among them."""
        since, until = values.span(since, until)
        dropped = 0 if self._later is None else self._later.dropped
        return self._snapshot(lambda connection: history.statistics(connection, since, until, dropped))

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
        queued = self._write(lambda connection: queue_rows.remove(connection, oldest, most, ended))
        return RowCounts(
            0,
            removed["routing"],
            removed["outcome"],
            removed["feedback"],
            removed["request"],
            changes=removed["candidate_history"],
            queued=queued,
        )

    def _remove_history(self, table: str, oldest: float | None, most: int | None) -> int:
        first = self._read(lambda connection: history.oldest_kept(connection, table, oldest, most))
        if first is None:
            return 0
        removed = step = self._write(lambda connection: history.remove_history(connection, table, first))
        while step == history.REMOVED_AT_ONCE:
            step = self._write(lambda connection: history.remove_history(connection, table, first))
            removed += step
        return removed

    def backup(self, path: str | os.PathLike[str]) -> RowCounts:
        """Writes a verified copy to a file, readable by its owner alone; an earlier backup there is replaced.

        The file is a SQLite database, which :class:`~tiny_dancer.storage.SqliteStorage` restores as well.

        Raises:
            MissingExtraError: the extra ``sqlite`` is not installed.
        """
        self.flush()
        return self._snapshot(lambda connection: backup.back_up(connection, self.where, path))

    def restore(self, path: str | os.PathLike[str]) -> RowCounts:
        """Replaces everything by a backup, also one of SQLite's, in one transaction: others may go on.

        Raises:
            MissingExtraError: the extra ``sqlite`` is not installed.
        """
        self.flush()
        self._check_writable()
        with backup.prepared(path) as source:
            self._write(lambda connection: backup.restore(connection, source), again=True)
        return self._snapshot(row_counts)

    def vacuum(self) -> None:
        """Gives back the space of what was removed, table by table, each of which nobody else uses meanwhile;
        needs as much again as the largest while it runs. What PostgreSQL does by itself (autovacuum) is enough in
        most cases.

        Raises:
            StorageError: the tables are another user's.
        """
        self._check_open()
        self._check_writable()
        self._database.outside(lambda connection: _vacuum(connection, self.where))

    def verify(self) -> RowCounts:
        """Reads everything; raises where it is damaged, else says how many rows there are."""
        return self._snapshot(lambda connection: verify(connection, self.where))

    def close(self) -> None:
        """Writes what is queued and lets go of the file."""
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

    def _check_writable(self) -> Later:
        if self._later is None:
            raise StorageError(self.where, "opened with read_only=True", "open it without, to write")
        return self._later

    def _check_open(self) -> None:
        if not self._close.alive:
            raise StorageError(self.where, "closed", "open it again")
        if os.getpid() != self._process:
            raise StorageError(self.where, "opened before a fork", "open it again in this process")


def _make_ready(database: Database, *, create: bool, read_only: bool) -> None:
    """Makes the tables, where they are missing and may be made.

    Raises:
        StorageError: they are missing, or not such as this program can use.
    """
    where = database.where
    missing = database.read(lambda connection: missing_scripts(connection, where))
    if not missing:
        return
    if not create and len(missing) == len(migrations()):
        raise StorageError(where, "no tables of tiny-dancer yet", "check the address, or open it once to write")
    if read_only:
        raise StorageError(
            where, "tables of an earlier version", "open it once to write, as tiny-dancer db vacuum does"
        )
    database.write(lambda connection: migrate(connection, where), again=True)


def _vacuum(connection: psycopg.Connection[Any], where: str) -> None:
    refused: list[str] = []

    def note(said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            refused.append(str(said.message_primary))

    connection.add_notice_handler(note)
    try:
        for table in TABLES:
            connection.execute(f"VACUUM (FULL, ANALYZE) tiny_dancer.{table}")
    finally:
        connection.remove_notice_handler(note)
    if refused:
        raise StorageError(where, refused[0], "vacuum as the owner of the tables; autovacuum does without")


def _close(later: Later | None, database: Database, process: int) -> None:
    # A fork has no writer thread, and must not touch its parent's connections.
    if os.getpid() == process:
        if later is not None:
            later.close()
        database.close()
