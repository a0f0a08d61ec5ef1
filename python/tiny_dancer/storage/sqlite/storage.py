"""The SQLite backend: puts connections, writer, mirror and statements together."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import apsw

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
from tiny_dancer.storage.sqlite import agents as agent_table
from tiny_dancer.storage.sqlite import (
    backup,
    calibration,
    candidates,
    history,
    keys,
    ledger,
    parts,
    queue_rows,
    summaries,
)
from tiny_dancer.storage.sqlite import budgets as budget_table
from tiny_dancer.storage.sqlite.candidate_history import candidate_history
from tiny_dancer.storage.sqlite.candidates import UNREADABLE
from tiny_dancer.storage.sqlite.catch_up import TableMirror
from tiny_dancer.storage.sqlite.connection import (
    BUSY_SECONDS,
    TROUBLE,
    Pool,
    checked_path,
    connect,
    connect_reading,
    retrying,
    storage_error,
    translated,
)
from tiny_dancer.storage.sqlite.migrate import migrate
from tiny_dancer.storage.sqlite.read_only import NoWriter, Reading, refuse_unready
from tiny_dancer.storage.sqlite.verify import explain, row_counts, verify
from tiny_dancer.storage.sqlite.writer import Writer
from tiny_dancer.storage.storage import RowCounts, retention_limits
from tiny_dancer.storage.summaries import check_summary
from tiny_dancer.storage.touches import Touch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    import numpy.typing as npt

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

# For so long retention removes rows in one transaction: others write in between.
_RETENTION_SECONDS = 0.01
# A candidate that is read with less than this to live lives on at once, not with the next batch of accesses.
_ENDING_SECONDS = 5.0
# Milliseconds that vacuum waits for who reads from the log, before it leaves the log as long as it is.
_READERS_MS = 500


class SqliteStorage:
    """The :class:`~tiny_dancer.storage.Storage` protocol over one SQLite file.

    Many threads may share one object, and many processes one file; after ``fork``, open it again. Writes are
    durable when acknowledged (write-ahead log, ``synchronous = FULL``), many in one commit.

    Args:
        path: of the database; made, readable by its owner alone, where there is none.
        create: refuse a path where there is no database yet, or an empty file, if false.
        mirror: keep the candidates in memory for searches in microseconds: 5 bytes x dimension and some 1 KB a
            candidate, plus its text. Without, sqlite-vec searches the file, with the same answers.
        queue_capacity: routing records that may wait to be written; beyond, they are dropped and counted.
        read_only: look at it only, also on a disk or in a folder that is read-only: nothing is made, changed or
            migrated, whatever writes is refused, and searches count no accesses.

    Raises:
        MissingExtraError: apsw or sqlite-vec is not installed.
        StorageError: the file is damaged, another program's, of a newer version, or cannot be read and written;
            with ``read_only``, it is missing, empty or of an earlier version.
        OptionError: ``queue_capacity`` below 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        mirror: bool = True,
        queue_capacity: int = 65_536,
        read_only: bool = False,
    ) -> None:
        queue_capacity = values.integer("queue_capacity", queue_capacity, error=OptionError)
        if queue_capacity < 1:
            raise OptionError("queue_capacity", queue_capacity, "give 1 or more")
        create = create and not read_only
        self.path = checked_path(path, create=create)
        if not create and not self.path.stat().st_size:
            raise StorageError(str(self.path), "empty: no database yet", "check the path, or restore a backup")
        self._process = os.getpid()
        self._mirror = TableMirror() if mirror else None
        self._writer: Writer | NoWriter
        with translated(self.path):
            if read_only:
                reading = Reading(self.path)
                self._pool = Pool(self.path, reading.connect, reading.close)
                try:
                    with self._pool.reading() as connection:
                        refuse_unready(connection, self.path)
                except StorageError:
                    self._pool.close()
                    raise
                self._writer = NoWriter(self.path)
            else:
                parts.clear(self.path)
                self._pool = Pool(self.path, partial(connect_reading, self.path))
                self._writer = Writer(_migrated(self.path), self.path, queue_capacity)
        # Also when it is forgotten, or the program ends without closing: what is queued is written. Neither of the
        # two may know this object, or nobody could forget it.
        self._close = weakref.finalize(self, _close, self._writer, self._pool, self._process)

    def insert_candidate(self, record: CandidateRecord, *, by: str | None = None) -> None:
        """Adds one candidate."""
        self.insert_candidates([record], by=by)

    def insert_candidates(self, records: Iterable[CandidateRecord], *, by: str | None = None) -> None:
        """Adds candidates, all or none."""
        self._check_open()
        rows, dimension = check_candidates(records)
        who = check_by(by)
        if rows:
            self._writer.submit(lambda connection: candidates.insert_candidates(connection, rows, dimension, who))

    def upsert_candidates(
        self, records: Iterable[CandidateRecord], *, by: str | None = None, keep_use: bool = False
    ) -> None:
        """Adds candidates, replacing those of the same ids as a whole."""
        self._check_open()
        rows, dimension = check_candidates(records)
        who = check_by(by)
        if rows:
            self._writer.submit(
                lambda connection: candidates.upsert_candidates(
                    connection, rows, dimension, who, keep_use=keep_use
                )
            )

    def delete_candidates(self, ids: Iterable[str], *, by: str | None = None, purge: bool = False) -> int:
        """Removes candidates; returns how many there were."""
        self._check_open()
        listed = values.texts("ids", ids)
        who = check_by(by)
        return self._writer.submit(
            lambda connection: candidates.delete_candidates(connection, listed, who, purge=purge)
        )

    def remove_expired(self, *, now: float | None = None) -> int:
        """Removes candidates that have expired, in bounded steps; returns how many."""
        self._check_open()
        until = time.time() if now is None else values.utc_seconds("now", now, error=OptionError)
        removed = step = self._writer.submit(lambda connection: candidates.remove_expired(connection, until))
        while step == candidates.EXPIRY_STEP:
            step = self._writer.submit(lambda connection: candidates.remove_expired(connection, until))
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
        with self._reading() as connection:
            if listed is None and self._mirror is not None and (where is not None or most is not None):
                # Fewer rows to read; what is read is looked at again, for it may have changed since.
                known = self._mirror.passing(connection, where, time.time())
                known = latest_first(known) if newest_first else sorted(known, key=lambda record: record.id)
                listed = tuple(record.id for record in known)
                wanted = len(listed) if most is None else most
                found: tuple[CandidateRecord, ...] = ()
                read = 0
                while read < len(listed) and len(found) < wanted:
                    # Where some are gone since, the next take their places.
                    some = listed[read : read + wanted - len(found)]
                    found += candidates.candidates(connection, some, where)
                    read += len(some)
            else:
                found = candidates.candidates(connection, listed, where)
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
        # What `self._reading` does, spelt out: its generators would take as long as the rest of a small search.
        try:
            connection = self._pool.take()
            try:
                if self._mirror is not None:
                    found = self._mirror.search(connection, search)
                elif search.text is None:
                    found = candidates.nearest(connection, search)
                else:
                    # Words are weighed by how many candidates have them: all have to be read.
                    found = TableMirror().search(connection, search)
            except BaseException:
                self._pool.discard(connection)
                raise
            self._pool.give_back(connection)
        except TROUBLE as error:
            raise storage_error(self.path, error) from error
        except UNREADABLE:
            with self._reading() as other:
                explain(other, self.path)
            raise
        if touch or refresh_ttl:
            self._touch([each.candidate for each in found], Touch(int(touch), search.now, refresh_ttl))
        return found

    def _touch(self, records: Sequence[CandidateRecord], touch: Touch) -> None:
        if not records:
            return
        self._writer.touch([record.id for record in records], touch)
        soon = touch.last + _ENDING_SECONDS
        if touch.refresh and any(record.expires_at is not None and record.expires_at < soon for record in records):
            # What is written in a batch would come too late.
            self._writer.flush()

    def live_candidates(self) -> LiveCandidates:
        """All candidates as the engine ranks them; without a mirror they are read anew each time."""
        mirror = TableMirror() if self._mirror is None else self._mirror
        with self._reading() as connection:
            return mirror.live(connection)

    def list_namespaces(self, prefix: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Namespaces that candidates have, those that begin with ``prefix``, in their order."""
        begin = path("prefix", prefix)
        with self._reading() as connection:
            found = candidates.list_namespaces(connection, time.time())
        return tuple(sorted(each for each in found if each[: len(begin)] == begin))

    def candidate_history(
        self, candidate_id: str | None = None, *, since: float | None = None, limit: int | None = 1000
    ) -> tuple[CandidateChange, ...]:
        """What was done to a candidate, or to all, newest first."""
        begin, _ = values.span(since, None)
        most = values.limit(limit)
        id = values.stored_text("candidate_id", candidate_id, optional=True, error=OptionError)
        with self._reading() as connection:
            return candidate_history(connection, id, begin, most)

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision; False where the queue is full."""
        self._check_open()
        check_record("record", record, RoutingRecord)
        if wait:
            self._writer.submit(lambda connection: history.insert_routing(connection, [record]))
            return True
        return self._writer.record(record)

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback, and counts it for its candidate."""
        self._check_open()
        check_record("feedback", feedback, Feedback)
        self._writer.submit(lambda connection: history.put_feedback(connection, feedback))

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        self._check_open()
        check_record("outcome", outcome, Outcome)
        self._writer.submit(lambda connection: history.put_outcome(connection, outcome))

    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable."""
        self._check_open()
        self._writer.flush()

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
        with self._reading() as connection:
            return history.routing_history(connection, query)

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
        with self._reading() as connection:
            return history.feedback_history(connection, query)

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
        with self._reading() as connection:
            return history.outcome_history(connection, query)

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway, in one transaction."""
        self._check_open()
        rows = check_requests(records)
        if rows:
            self._writer.submit(lambda connection: ledger.insert_requests(connection, rows))

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
        with self._reading() as connection:
            return ledger.request_history(connection, query)

    def spend(self, *, since: float, until: float | None = None) -> dict[str, Spend]:
        """What each key has used in a span of time."""
        since, until = check_span(since, until)
        with self._reading() as connection:
            return ledger.spend(connection, since, until)

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
        with self._reading() as connection:
            return summaries.request_summary(connection, query)

    def request_calibration(self, *, since: float | None = None, until: float | None = None) -> Calibration:
        """Requests by what was expected of them, beside what came of it."""
        since, until = values.span(since, until)
        with self._reading() as connection:
            return calibration.request_calibration(connection, since, until)

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway."""
        self._check_open()
        check_record("key", key, ApiKey)
        self._writer.submit(lambda connection: keys.insert_api_key(connection, key))

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first."""
        with self._reading() as connection:
            return keys.api_keys(connection)

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key; false where there is none, or it was revoked before."""
        name = values.stored_text("id", id, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        return self._writer.submit(lambda connection: keys.revoke_api_key(connection, name, moment))

    def enqueue(self, request: QueuedRequest, *, most: int | None = None) -> bool:
        """Puts a request into the queue; false where ``most`` are open."""
        self._check_open()
        check_record("request", request, QueuedRequest)
        limit = queue.check_most(most)
        return self._writer.submit(lambda connection: queue_rows.put(connection, request, limit))

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
        with self._reading() as connection:
            return queue_rows.find(connection, query)

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
        return self._writer.submit(lambda connection: queue_rows.move(connection, move))

    def insert_agents(self, agents: Iterable[Agent], *, at: float, replace: bool = False) -> None:
        """Adds agents, all or none."""
        listed = check_agents(agents)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        if listed:
            self._writer.submit(
                lambda connection: agent_table.insert_agents(connection, listed, moment, replace=replace)
            )

    def agents(self) -> tuple[AgentRecord, ...]:
        """All agents, by name."""
        with self._reading() as connection:
            return agent_table.agents(connection)

    def delete_agent(self, name: str) -> bool:
        """Removes an agent; false where there is none."""
        self._check_open()
        asked = values.stored_text("name", name, empty=True, error=OptionError)
        return self._writer.submit(lambda connection: agent_table.delete_agent(connection, asked))

    def set_agent_active(self, name: str, active: bool, *, at: float) -> bool:
        """Says whether an agent may be chosen; false where there is none."""
        asked = values.stored_text("name", name, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        self._check_open()
        return self._writer.submit(
            lambda connection: agent_table.set_agent_active(connection, asked, moment, active=active)
        )

    def record_agent_outcome(self, outcome: AgentOutcome, *, half_life_s: float | None) -> AgentRecord:
        """Adds an outcome to the sums of its agent, within one transaction."""
        check_record("outcome", outcome, AgentOutcome)
        self._check_open()
        return self._writer.submit(lambda connection: agent_table.record_outcome(connection, outcome, half_life_s))

    def agent_changes(self) -> int:
        """A number that every write about agents raises."""
        with self._reading() as connection:
            return agent_table.agent_changes(connection)

    def insert_budget(self, budget: Budget, *, replace: bool = False) -> Budget:
        """Adds a budget, or puts it in the place of that of its id."""
        self._check_open()
        checked = check_budget(budget)
        return self._writer.submit(
            lambda connection: budget_table.insert_budget(connection, checked, replace=replace)
        )

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, by id."""
        with self._reading() as connection:
            return budget_table.budgets(connection)

    def delete_budget(self, id: str) -> bool:
        """Removes a budget; false where there is none."""
        self._check_open()
        asked = values.stored_text("id", id, empty=True, error=OptionError)
        return self._writer.submit(lambda connection: budget_table.delete_budget(connection, asked))

    def budget_changes(self) -> int:
        """A number that every write about budgets raises."""
        with self._reading() as connection:
            return budget_table.budget_changes(connection)

    def draw_budget(self, draw: Draw) -> Drawn:
        """Lets a holder have more of a budget, within one transaction."""
        self._check_open()
        return self._writer.submit(lambda connection: budget_table.draw_budget(connection, draw))

    def tell_budgets(self, told: Sequence[Entry], *, shrink: bool = False) -> None:
        """Notes what holders have spent, within one transaction."""
        self._check_open()
        rows = tuple(told)
        if rows:
            self._writer.submit(lambda connection: budget_table.tell_budgets(connection, rows, shrink=shrink))

    def budget_entries(
        self, budget: str | None = None, *, holder: int | None = None, since: int | None = None
    ) -> tuple[Entry, ...]:
        """The ledger, by budget, start and holder."""
        with self._reading() as connection:
            return budget_table.budget_entries(connection, budget, holder, since)

    def budget_table(self) -> tuple[Path | None, str]:
        """Beside the database, by its name and ``-budgets``; and the database's epoch."""
        self._check_writable()
        with self._reading() as connection:
            epoch = budget_table.epoch(connection)
        real = Path(os.path.realpath(self.path))
        return real.with_name(f"{real.name}-budgets"), epoch

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of a span of time; what is still queued is not among them."""
        since, until = values.span(since, until)
        with self._reading() as connection:
            return history.statistics(connection, since, until, self._writer.dropped)

    def apply_retention(
        self, *, max_age_s: float | None = None, max_rows: int | None = None, now: float | None = None
    ) -> RowCounts:
        """Removes history that is older, or beyond the newest rows."""
        oldest, most = retention_limits(max_age_s, max_rows, now)
        self._check_open()
        # Requests before the feedback about them: it is summed up with them.
        removed = {"routing": 0, "outcome": 0, "request": 0, "feedback": 0, "candidate_history": 0}
        for table in removed:
            with self._reading() as connection:
                first = history.oldest_kept(connection, table, oldest, most)
            more = first is not None
            while first is not None and more:
                step, more = self._remove_history(table, first)
                removed[table] += step
        self._writer.submit(ledger.forget_ids)
        ended = queue.present(now)
        queued = self._writer.submit(lambda connection: queue_rows.remove(connection, oldest, most, ended))
        return RowCounts(
            0,
            removed["routing"],
            removed["outcome"],
            removed["feedback"],
            removed["request"],
            changes=removed["candidate_history"],
            queued=queued,
        )

    def _remove_history(self, table: str, first: tuple[float, int]) -> tuple[int, bool]:
        return self._writer.submit(
            lambda connection: history.remove_history(connection, table, first, _RETENTION_SECONDS)
        )

    def backup(self, path: str | os.PathLike[str]) -> RowCounts:
        """Writes a verified copy to a file, readable by its owner alone; an earlier backup there is replaced."""
        self.flush()
        with self._reading() as connection:
            return backup.back_up(connection, self.path, Path(path))

    def restore(self, path: str | os.PathLike[str]) -> RowCounts:
        """Replaces everything by a backup, in one transaction: other threads and processes may go on.

        What was there is kept beside the database, ending in ``.damaged``, where it is damaged.
        """
        self.flush()
        self._check_writable()
        with backup.prepared(Path(path), self.path) as part:
            self._writer.submit(lambda connection: backup.restore_over(connection, self.path, part), alone=True)
        return self._counts()

    def vacuum(self) -> None:
        """Gives back the space of what was removed; needs as much again while it runs.

        The write-ahead log is emptied too, unless somebody is reading what is in it.
        """
        self._check_open()
        self._writer.submit(_vacuum, alone=True)

    def verify(self) -> RowCounts:
        """Reads everything; raises where it is damaged, else says how many rows there are."""
        with self._reading() as connection:
            return verify(connection, self.path)

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

    def _counts(self) -> RowCounts:
        with self._reading() as connection:
            return row_counts(connection)

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        self._check_open()
        with self._pool.reading() as connection:
            try:
                yield connection
            except UNREADABLE:
                explain(connection, self.path)
                raise

    def _check_writable(self) -> None:
        if isinstance(self._writer, NoWriter):
            self._writer.submit(None)

    def _check_open(self) -> None:
        if not self._close.alive:
            raise StorageError(str(self.path), "closed", "open it again")
        if os.getpid() != self._process:
            raise StorageError(str(self.path), "opened before a fork", "open it again in this process")


def restore_file(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> RowCounts:
    """Restores a database that may be missing or damaged; a damaged one is kept beside it as ``.damaged``.

    Killed at any moment, it leaves the database as it was or restored.

    Raises:
        StorageError: the backup is no good (nothing changes then), or ``path`` is another program's database.
    """
    target = Path(os.path.realpath(Path(path).absolute()))
    backup.restore_file(target, Path(source))
    with SqliteStorage(target, create=False) as storage:
        return storage.verify()


def _migrated(path: Path) -> apsw.Connection:
    """A connection to write by, of a database whose tables are the present ones."""
    connection = retrying(lambda: connect(path))
    try:
        retrying(lambda: migrate(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def _vacuum(connection: apsw.Connection) -> None:
    retrying(lambda: connection.execute("VACUUM"))
    # Only then the file itself shrinks, and the log beside it. Who waits for readers holds up writers: one that
    # reads for long, or another connection that does the same, is not waited for.
    connection.set_busy_timeout(_READERS_MS)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        with suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    finally:
        connection.set_busy_timeout(int(BUSY_SECONDS * 1000))


def _close(writer: Writer | NoWriter, pool: Pool, process: int) -> None:
    # A fork has no writer thread, and must not touch its parent's connections.
    if os.getpid() == process:
        writer.close()
        pool.close()
