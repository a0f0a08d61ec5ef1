"""Storage in this process's memory: for tests, and for agents whose memory may end with them."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tiny_dancer.errors import AccessError, CandidateError, OptionError, StorageError
from tiny_dancer.storage import queue, values
from tiny_dancer.storage.agents import (
    DEFAULT_HALF_LIFE_S,
    AgentOutcome,
    AgentRecord,
    check_agents,
    outcomes_of,
    outcomes_of_feedback,
    state_after,
    with_active,
)
from tiny_dancer.storage.budgets import Drawn, Entry, check_budget, drawn, exists
from tiny_dancer.storage.candidate_checks import check_by, check_candidates, check_search, path, with_use
from tiny_dancer.storage.candidates import CandidateChange, compiled, latest_first
from tiny_dancer.storage.history import Feedback, Outcome, RoutingRecord, check_history, check_record
from tiny_dancer.storage.keys import ApiKey
from tiny_dancer.storage.ledger import check_request_history, check_requests, check_span
from tiny_dancer.storage.memory.calibration import calibrated
from tiny_dancer.storage.memory.ledger import RequestRows
from tiny_dancer.storage.memory.queue import QueueRows
from tiny_dancer.storage.memory.rows import newest, retain, within
from tiny_dancer.storage.mirror import Mirror, given
from tiny_dancer.storage.queue import QueuedRequest
from tiny_dancer.storage.statistics import summarise
from tiny_dancer.storage.storage import RowCounts, retention_limits
from tiny_dancer.storage.summaries import check_summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import NoReturn

    import numpy.typing as npt

    from tiny_dancer.storage.agents import Agent
    from tiny_dancer.storage.budgets import Budget, Draw
    from tiny_dancer.storage.calibration import Calibration
    from tiny_dancer.storage.candidates import (
        CandidateRecord,
        ChangeAction,
        Filtering,
        LiveCandidates,
        Neighbour,
    )
    from tiny_dancer.storage.history import HistoryQuery, Statistics
    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.queue import QueueState
    from tiny_dancer.storage.summaries import RequestSummary
    from tiny_dancer.types import RequestRecord

    Row = TypeVar("Row", RoutingRecord, Feedback, Outcome)


class MemoryStorage:
    """The :class:`~tiny_dancer.storage.Storage` protocol over dictionaries. Nothing outlives the object."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._candidates: dict[str, CandidateRecord] = {}
        self._mirror = Mirror()
        self._dimension: int | None = None
        self._changes: dict[int, CandidateChange] = {}
        self._changed = 0
        self._routing: dict[str, RoutingRecord] = {}
        self._feedback: dict[tuple[str, str | None], Feedback] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._requests = RequestRows()
        self._keys: dict[str, ApiKey] = {}
        self._queue = QueueRows()
        self._agents: dict[str, AgentRecord] = {}
        self._agent_changes = 0
        self._budgets: dict[str, Budget] = {}
        self._budget_changes = 0
        # By budget, start and holder: drawn and spent.
        self._spending: dict[tuple[str, int, int], tuple[int, int]] = {}

    def insert_candidate(self, record: CandidateRecord, *, by: str | None = None) -> None:
        """Adds one candidate."""
        self.insert_candidates([record], by=by)

    def insert_candidates(self, records: Iterable[CandidateRecord], *, by: str | None = None) -> None:
        """Adds candidates, all or none."""
        rows, dimension = check_candidates(records)
        who = check_by(by)
        now = time.time()
        with self._open_lock():
            present = self._present(rows, now)
            if present:
                raise CandidateError("id", next(iter(present)), "it is stored already: upsert to replace it")
            self._check_dimension(dimension)
            ended = self._put(rows)
            self._remember(ended, "expire", None, now)
            self._note(CandidateChange(record.id, now, "insert", who, None) for record in rows)

    def upsert_candidates(
        self, records: Iterable[CandidateRecord], *, by: str | None = None, keep_use: bool = False
    ) -> None:
        """Adds candidates, replacing those of the same ids as a whole."""
        rows, dimension = check_candidates(records)
        who = check_by(by)
        now = time.time()
        with self._open_lock():
            self._check_dimension(dimension)
            present = self._present(rows, now)
            replaced = self._put([with_use(each, present.get(each.id) if keep_use else None) for each in rows])
            self._remember([each for each in replaced if each.id not in present], "expire", None, now)
            self._remember(list(present.values()), "update", who, now)
            fresh = [record.id for record in rows if record.id not in present]
            self._note(CandidateChange(id, now, "insert", who, None) for id in fresh)

    def _present(self, rows: Sequence[CandidateRecord], now: float) -> dict[str, CandidateRecord]:
        """Those of the ids that are stored and live."""
        stored = (self._candidates[each.id] for each in rows if each.id in self._candidates)
        return {each.id: each for each in stored if not each.has_expired(now)}

    def _check_dimension(self, dimension: int | None) -> None:
        if dimension is None:
            return
        if self._dimension is None:
            self._dimension = dimension
        if dimension != self._dimension:
            raise CandidateError(
                "embedding",
                f"dimension {dimension}",
                f"the stored candidates have {self._dimension}: use their encoder",
            )

    def _put(self, records: Sequence[CandidateRecord]) -> list[CandidateRecord]:
        """Stores records; returns those they replace. What is written anew comes last, as in a file."""
        self._mirror.apply([], records)
        replaced = [self._candidates.pop(each.id) for each in records if each.id in self._candidates]
        self._candidates.update((record.id, record) for record in records)
        return replaced

    def _remember(self, before: list[CandidateRecord], action: ChangeAction, by: str | None, now: float) -> None:
        self._note(CandidateChange(each.id, now, action, by, replace(each, embedding=None)) for each in before)

    def _note(self, changes: Iterable[CandidateChange]) -> None:
        for change in changes:
            self._changes[self._changed] = change
            self._changed += 1

    def delete_candidates(self, ids: Iterable[str], *, by: str | None = None, purge: bool = False) -> int:
        """Removes candidates; returns how many there were."""
        listed = dict.fromkeys(values.texts("ids", ids))
        who = check_by(by)
        now = time.time()
        with self._open_lock():
            gone = self._pop(listed)
            if purge:
                self._changes = {
                    number: each for number, each in self._changes.items() if each.candidate_id not in listed
                }
            else:
                self._remember(gone, "delete", who, now)
            return sum(not each.has_expired(now) for each in gone)

    def _pop(self, ids: Iterable[str]) -> list[CandidateRecord]:
        gone = [self._candidates.pop(each) for each in ids if each in self._candidates]
        self._mirror.apply([each.id for each in gone], [])
        return gone

    def remove_expired(self, *, now: float | None = None) -> int:
        """Removes candidates that have expired; returns how many."""
        until = time.time() if now is None else values.utc_seconds("now", now, error=OptionError)
        with self._open_lock():
            gone = self._pop([each.id for each in self._candidates.values() if each.has_expired(until)])
            self._remember(gone, "expire", None, until)
            return len(gone)

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
        named = None if ids is None else values.texts("ids", ids)
        where = compiled(filter)
        most = values.limit(limit)
        now = time.time()
        with self._open_lock():
            passing = {record.id for record in self._mirror.passing(where, now)}
            names = (
                sorted(passing) if named is None else [each for each in dict.fromkeys(named) if each in passing]
            )
            found = [self._candidates[each] for each in names]
            found = (latest_first(found) if newest_first else found)[:most]
            if refresh_ttl:
                self._touch(found, now, count=0, refresh=True)
            return tuple(_owned(record) for record in found)

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
        with self._open_lock():
            found = self._mirror.search(search)
            if touch or refresh_ttl:
                records = [self._candidates[each.candidate.id] for each in found]
                self._touch(records, search.now, count=int(touch), refresh=refresh_ttl)
            return found

    def live_candidates(self) -> LiveCandidates:
        """All candidates as the engine ranks them."""
        with self._open_lock():
            return self._mirror.live

    def list_namespaces(self, prefix: Iterable[str] = ()) -> tuple[tuple[str, ...], ...]:
        """Namespaces that candidates have, those that begin with ``prefix``, in their order."""
        begin = path("prefix", prefix)
        now = time.time()
        with self._open_lock():
            found = {each.namespace for each in self._candidates.values() if not each.has_expired(now)}
        return tuple(sorted(each for each in found if each and each[: len(begin)] == begin))

    def candidate_history(
        self, candidate_id: str | None = None, *, since: float | None = None, limit: int | None = 1000
    ) -> tuple[CandidateChange, ...]:
        """What was done to a candidate, or to all, newest first."""
        begin, _ = values.span(since, None)
        most = values.limit(limit)
        id = values.stored_text("candidate_id", candidate_id, optional=True, error=OptionError)
        with self._open_lock():
            found = [
                each
                for each in reversed(self._changes.values())
                if id in (None, each.candidate_id) and (begin is None or each.time >= begin)
            ]
        return tuple(
            each if each.before is None else replace(each, before=_owned(each.before)) for each in found[:most]
        )

    def _touch(self, records: list[CandidateRecord], now: float, *, count: int, refresh: bool) -> None:
        touched = []
        for record in records:
            last = max(now, now if record.last_accessed_at is None else record.last_accessed_at)
            expires_at = record.expires_at
            if refresh and record.ttl_s is not None:
                expires_at = max(now + record.ttl_s, now if expires_at is None else expires_at)
            touched.append(
                replace(
                    record,
                    access_count=min(record.access_count + count, values.MOST),
                    last_accessed_at=last if count else record.last_accessed_at,
                    expires_at=expires_at,
                )
            )
        self._use(touched)

    def _use(self, records: list[CandidateRecord]) -> None:
        """Stores what is counted of candidates, and when they expire."""
        self._candidates.update((record.id, record) for record in records)
        self._mirror.use(records)

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision; never drops one."""
        del wait
        check_record("record", record, RoutingRecord)
        with self._open_lock():
            self._routing.setdefault(record.decision_id, record)
        return True

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback, and counts it for its candidate."""
        check_record("feedback", feedback, Feedback)
        with self._open_lock():
            key = (feedback.decision_id, feedback.candidate_id)
            before = self._feedback.pop(key, None)
            self._feedback[key] = feedback
            if before is None and feedback.candidate_id is None:
                self._count_feedback(feedback)
            record = self._candidates.get(feedback.candidate_id or "")
            if record is None:
                return
            trials = min(record.trial_count + (before is None), values.MOST)
            successes = record.success_count + feedback.score - (before.score if before else 0.0)
            # A candidate replaced since the first feedback has other counts: they stay a possible pair.
            bounded = min(max(successes, 0.0), float(trials))
            self._use([replace(record, trial_count=trials, success_count=bounded)])

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        check_record("outcome", outcome, Outcome)
        with self._open_lock():
            key = (outcome.decision_id, outcome.model)
            self._outcomes.pop(key, None)
            self._outcomes[key] = outcome

    def flush(self) -> None:
        """Nothing waits to be written."""
        self._open_lock()

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
        return self._history(self._routing, check_history(since, until, decision_ids, limit, kind))

    def feedback_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Feedback, ...]:
        """Feedback with ``since <= time < until``, newest first."""
        return self._history(self._feedback, check_history(since, until, decision_ids, limit))

    def outcome_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Outcome, ...]:
        """Outcomes with ``since <= time < until``, newest first."""
        return self._history(self._outcomes, check_history(since, until, decision_ids, limit))

    def _history(self, rows: dict[Any, Row], query: HistoryQuery) -> tuple[Row, ...]:
        wanted = None if query.decision_ids is None else set(query.decision_ids)

        def passes(row: Row) -> bool:
            of_kind = query.kind is None or getattr(row, "kind", None) == query.kind
            return of_kind and (wanted is None or row.decision_id in wanted)

        with self._open_lock():
            return newest(rows, query.since, query.until, passes, query.limit)

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway."""
        rows = check_requests(records)
        with self._open_lock():
            for record in self._requests.add(rows):
                for outcome in outcomes_of(record):
                    self._count_agent(outcome, DEFAULT_HALF_LIFE_S)

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
        with self._open_lock():
            return self._requests.history(query)

    def spend(self, *, since: float, until: float | None = None) -> dict[str, Spend]:
        """What each key has used in a span of time."""
        since, until = check_span(since, until)
        with self._open_lock():
            return self._requests.spend(since, until)

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
        with self._open_lock():
            return self._requests.summary(query, self._scores())

    def _scores(self) -> dict[str, float]:
        """Of the feedback about requests as a whole, by decision."""
        return {
            decision: each.score for (decision, candidate), each in self._feedback.items() if candidate is None
        }

    def request_calibration(self, *, since: float | None = None, until: float | None = None) -> Calibration:
        """Requests by what was expected of them, beside what came of it."""
        since, until = values.span(since, until)
        with self._open_lock():
            scores = {
                decision: each.score for (decision, candidate), each in self._feedback.items() if candidate is None
            }
            return calibrated(self._requests.history(check_request_history(since, until, {}, None)), scores)

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway."""
        check_record("key", key, ApiKey)
        with self._open_lock():
            for stored in self._keys.values():
                if key.id == stored.id or key.secret_hash == stored.secret_hash:
                    field = "id" if key.id == stored.id else "secret_hash"
                    raise AccessError(field, key.id, "it is stored already: make another key")
            self._keys[key.id] = key

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first."""
        with self._open_lock():
            return tuple(sorted(self._keys.values(), key=lambda key: (key.created_at, key.id)))

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key; false where there is none, or it was revoked before."""
        name = values.stored_text("id", id, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        with self._open_lock():
            key = self._keys.get(name)
            if key is None or key.revoked_at is not None:
                return False
            self._keys[name] = replace(key, revoked_at=moment)
            return True

    def enqueue(self, request: QueuedRequest, *, most: int | None = None) -> bool:
        """Puts a request into the queue; false where ``most`` are open."""
        check_record("request", request, QueuedRequest)
        limit = queue.check_most(most)
        with self._open_lock():
            return self._queue.put(request, limit)

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
        with self._open_lock():
            return self._queue.find(query)

    def claim_request(
        self, id: str, by: str, *, seconds: float = queue.CLAIM_SECONDS, now: float | None = None
    ) -> QueuedRequest:
        """Says that ``by`` is answering it."""
        move = queue.claim(id, by, seconds, now)
        with self._open_lock():
            return self._queue.move(move)

    def answer_request(self, id: str, by: str, answer: str, *, now: float | None = None) -> QueuedRequest:
        """Answers it, for good."""
        move = queue.answer(id, by, answer, now)
        with self._open_lock():
            return self._queue.move(move)

    def cancel_request(self, id: str, by: str, *, now: float | None = None) -> QueuedRequest:
        """Takes it out of the queue unanswered."""
        move = queue.cancel(id, by, now)
        with self._open_lock():
            return self._queue.move(move)

    def insert_agents(self, agents: Iterable[Agent], *, at: float, replace: bool = False) -> None:
        """Adds agents, all or none."""
        listed = check_agents(agents)
        moment = values.utc_seconds("at", at, error=OptionError)
        with self._open_lock():
            for agent in listed:
                if agent.name in self._agents and not replace:
                    raise CandidateError(
                        "name", agent.name, "it is stored already: replace it, or name it otherwise"
                    )
            for agent in listed:
                before = self._agents.get(agent.name)
                self._agents[agent.name] = AgentRecord(agent, before.state if before else "", moment)
                self._agent_changes += 1

    def agents(self) -> tuple[AgentRecord, ...]:
        """All agents, by name."""
        with self._open_lock():
            return tuple(record for _, record in sorted(self._agents.items()))

    def delete_agent(self, name: str) -> bool:
        """Removes an agent; false where there is none."""
        with self._open_lock():
            found = self._agents.pop(name, None)
            self._agent_changes += found is not None
            return found is not None

    def set_agent_active(self, name: str, active: bool, *, at: float) -> bool:
        """Says whether an agent may be chosen; false where there is none."""
        moment = values.utc_seconds("at", at, error=OptionError)
        with self._open_lock():
            found = self._agents.get(name)
            if found is None:
                return False
            agent = with_active(found.agent, active=active)
            self._agents[name] = AgentRecord(agent, found.state, moment)
            self._agent_changes += 1
            return True

    def record_agent_outcome(self, outcome: AgentOutcome, *, half_life_s: float | None) -> AgentRecord:
        """Adds an outcome to the sums of its agent."""
        check_record("outcome", outcome, AgentOutcome)
        with self._open_lock():
            record = self._count_agent(outcome, half_life_s)
            if record is None:
                raise CandidateError("agent", outcome.agent, "add it first")
            return record

    def _count_agent(self, outcome: AgentOutcome, half_life_s: float | None) -> AgentRecord | None:
        found = self._agents.get(outcome.agent)
        if found is None:
            return None
        record = replace(found, state=state_after(found.state, outcome, half_life_s))
        self._agents[outcome.agent] = record
        self._agent_changes += 1
        return record

    def _count_feedback(self, feedback: Feedback) -> None:
        """Counts the first feedback on a request for the agent that answered it."""
        for outcome in outcomes_of_feedback(feedback, self._requests.history):
            self._count_agent(outcome, DEFAULT_HALF_LIFE_S)

    def agent_changes(self) -> int:
        """A number that every write about agents raises."""
        with self._open_lock():
            return self._agent_changes

    def insert_budget(self, budget: Budget, *, replace: bool = False) -> Budget:
        """Adds a budget, or puts it in the place of that of its id."""
        checked = check_budget(budget)
        with self._open_lock():
            before = self._budgets.get(checked.id)
            if before is not None:
                if not replace:
                    raise exists(checked.id)
                checked = dataclasses.replace(checked, created_at=before.created_at)
            self._budgets[checked.id] = checked
            self._budget_changes += 1
            return checked

    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, by id."""
        with self._open_lock():
            return tuple(budget for _, budget in sorted(self._budgets.items()))

    def delete_budget(self, id: str) -> bool:
        """Removes a budget; false where there is none."""
        with self._open_lock():
            found = self._budgets.pop(values.stored_text("id", id, empty=True, error=OptionError), None)
            self._budget_changes += found is not None
            return found is not None

    def budget_changes(self) -> int:
        """A number that every write about budgets raises."""
        with self._open_lock():
            return self._budget_changes

    def draw_budget(self, draw: Draw) -> Drawn:
        """Lets a holder have more of a budget."""
        with self._open_lock():
            rolls = draw.since < draw.start
            others = sum(
                row[0]
                for (budget, start, holder), row in self._spending.items()
                if budget == draw.budget
                and holder != draw.holder
                and (start == draw.start or (rolls and start >= draw.since))
            )
            place = (draw.budget, draw.start, draw.holder)
            have, spent = self._spending.get(place, (0, 0))
            now = drawn(draw, have, others)
            if now > have:
                self._spending[place] = (now, spent)
                for old in [each for each in self._spending if each[0] == draw.budget and each[1] < draw.forget]:
                    del self._spending[old]
            return Drawn(now, others)

    def tell_budgets(self, told: Sequence[Entry], *, shrink: bool = False) -> None:
        """Notes what holders have spent."""
        with self._open_lock():
            for each in told:
                place = (each.budget, each.start, each.holder)
                have, _ = self._spending.get(place, (0, 0))
                self._spending[place] = (each.drawn if shrink else max(have, each.drawn), each.spent)

    def budget_entries(
        self, budget: str | None = None, *, holder: int | None = None, since: int | None = None
    ) -> tuple[Entry, ...]:
        """The ledger, by budget, start and holder."""
        with self._open_lock():
            rows = sorted(Entry(*place, *row) for place, row in self._spending.items())
        return tuple(
            row
            for row in rows
            if (budget is None or row.budget == budget)
            and (holder is None or row.holder == holder)
            and (since is None or row.start >= since)
        )

    def budget_table(self) -> tuple[Path | None, str]:
        """Nowhere: it is of this process alone."""
        return None, ""

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of a span of time."""
        since, until = values.span(since, until)
        with self._open_lock():
            return summarise(
                len(self._candidates),
                [row for row in self._routing.values() if within(row, since, until)],
                [row for row in self._feedback.values() if within(row, since, until)],
                [row for row in self._outcomes.values() if within(row, since, until)],
                self._requests.count(since, until),
            )

    def apply_retention(
        self, *, max_age_s: float | None = None, max_rows: int | None = None, now: float | None = None
    ) -> RowCounts:
        """Removes history that is older, or beyond the newest rows."""
        oldest, most = retention_limits(max_age_s, max_rows, now)
        with self._open_lock():
            # Requests before the feedback about them: it is summed up with them.
            requests = self._requests.retain(oldest, most, self._scores())
            return RowCounts(
                0,
                len(retain(self._routing, oldest, most)),
                len(retain(self._outcomes, oldest, most)),
                len(retain(self._feedback, oldest, most)),
                requests,
                changes=len(retain(self._changes, oldest, most)),
                queued=self._queue.retain(oldest, most, queue.present(now)),
            )

    def backup(self, path: str | Path) -> NoReturn:
        """Refused: memory has no file form.

        Raises:
            StorageError: always.
        """
        raise StorageError("backup", path, "storage in memory has no file: use SqliteStorage")

    def restore(self, path: str | Path) -> NoReturn:
        """Refused, as :meth:`backup`.

        Raises:
            StorageError: always.
        """
        raise StorageError("restore", path, "storage in memory has no file: use SqliteStorage")

    def vacuum(self) -> None:
        """Nothing to give back."""
        self._open_lock()

    def verify(self) -> RowCounts:
        """How many rows there are."""
        with self._open_lock():
            rows = (
                self._candidates,
                self._routing,
                self._outcomes,
                self._feedback,
                self._requests,
                self._keys,
                self._changes,
                self._queue,
                self._agents,
                self._budgets,
            )
            return RowCounts(*[len(each) for each in rows])

    def close(self) -> None:
        """Refuses all further calls."""
        with self._lock:
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open_lock(self) -> threading.RLock:
        if self._closed:
            raise StorageError("storage", "closed", "open it again")
        return self._lock


def _owned(record: CandidateRecord) -> CandidateRecord:
    """A copy that shares nothing its former owner may change."""
    found = given(record)
    return found if found.embedding is None else replace(found, embedding=found.embedding.copy())
