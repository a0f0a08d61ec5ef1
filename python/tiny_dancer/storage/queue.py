"""Requests that wait for a person: the queue, and what storage does with it. Times are UTC seconds since 1970."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from tiny_dancer.errors import OptionError, QueueError
from tiny_dancer.storage import values
from tiny_dancer.storage.values import given, plain, settle, stored_text, utc_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

QueueState = Literal["waiting", "claimed", "answered", "expired", "cancelled"]
STATES: tuple[QueueState, ...] = get_args(QueueState)
OPEN: tuple[QueueState, ...] = ("waiting", "claimed")
LONGEST_CONTEXT = 1 << 20
"""Characters of a context: some 200,000 words, more than anybody reads to answer a question."""
CLAIM_SECONDS = 900.0
"""How long a claim lasts where nobody says otherwise."""


def _new_id() -> str:
    return f"q_{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRequest:
    """A request that waits for a person, or has been answered by one.

    Attributes:
        time: when it was put there.
        expires_at: from then on nobody can answer it.
        context: what a person reads to answer it, a JSON value: its messages, as they came.
        said: what the user said last, for lists.
        chain: that put it there.
        key: id of the API key whose request it is; empty without one.
        hops: what the chain had tried before, in words.
        id: names it.
        claimed_by: who says to be answering it, or said so last.
        claimed_until: from then on others may.
        answer: what a person answered.
        ended_by: who answered or cancelled it.
        ended_at: when.

    Raises:
        QueueError: a field is not what it should be.
    """

    time: float
    expires_at: float
    context: str
    said: str = ""
    chain: str = ""
    key: str = ""
    hops: str = ""
    id: str = field(default_factory=_new_id)
    claimed_by: str | None = None
    claimed_until: float | None = None
    answer: str | None = None
    ended_by: str | None = None
    ended_at: float | None = None

    def __post_init__(self) -> None:
        settle(self, "id", stored_text("id", self.id, error=QueueError))
        settle(self, "context", stored_text("context", self.context, error=QueueError))
        if len(self.context) > LONGEST_CONTEXT:
            remedy = f"give at most {LONGEST_CONTEXT:,}: what a person can read"
            raise QueueError("context", f"{len(self.context):,} characters", remedy)
        for name in ("said", "chain", "key", "hops"):
            settle(self, name, stored_text(name, getattr(self, name), empty=True, error=QueueError))
        for name in ("claimed_by", "answer", "ended_by"):
            settle(self, name, given(stored_text, name, getattr(self, name), error=QueueError))
        for name in ("time", "expires_at"):
            settle(self, name, utc_seconds(name, getattr(self, name), error=QueueError))
        for name in ("claimed_until", "ended_at"):
            settle(self, name, given(utc_seconds, name, getattr(self, name), error=QueueError))
        if self.expires_at <= self.time:
            raise QueueError("expires_at", self.expires_at, "give a time after it was put there")

    def state(self, now: float) -> QueueState:
        """``waiting``, ``claimed``, ``answered``, ``expired`` or ``cancelled`` at ``now``."""
        if self.ended_at is not None:
            return "cancelled" if self.answer is None else "answered"
        if self.expires_at <= now:
            return "expired"
        return "claimed" if self.claimed_until is not None and self.claimed_until > now else "waiting"


class QueueStorage(Protocol):
    """Keeps requests that wait for a person. Safe to use from many threads, and from many processes over one file.

    A write is durable when it returns: it survives the end of the process, and in a file also a loss of power. Of
    several who claim or answer one request at once, one succeeds. Claims and requests expire by the clock alone:
    nothing has to run for it.

    ``now`` is UTC seconds; the present by default. Every method raises
    :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def enqueue(self, request: QueuedRequest, *, most: int | None = None) -> bool:
        """Puts a request into the queue; false, and nothing is put there, where ``most`` are open at its time.

        Raises:
            QueueError: its id is stored already.
        """
        ...

    def queued_requests(
        self,
        *,
        states: Iterable[QueueState] | None = OPEN,
        ids: Iterable[str] | None = None,
        key: str | None = None,
        after: str | None = None,
        limit: int | None = 100,
        now: float | None = None,
    ) -> tuple[QueuedRequest, ...]:
        """Requests in one of the states (None: all), the oldest first.

        Args:
            states: at ``now``.
            ids: only these.
            key: only those of this API key.
            after: those put there after the request of this id: the last one of a page begins the next.
            limit: most to return; None for all.
            now: UTC seconds.

        Raises:
            OptionError: no such state, or another argument that is not what it should be.
            QueueError: there is no request ``after``.
        """
        ...

    def claim_request(
        self, id: str, by: str, *, seconds: float = CLAIM_SECONDS, now: float | None = None
    ) -> QueuedRequest:
        """Says that ``by`` is answering it, for so many seconds; nobody else can claim or answer it meanwhile.

        Raises:
            QueueError: there is none (``field`` is ``id``), or it is claimed or has ended (``state``).
        """
        ...

    def answer_request(self, id: str, by: str, answer: str, *, now: float | None = None) -> QueuedRequest:
        """Answers it, for good; it need not be claimed, but not by another.

        Raises:
            QueueError: as of :meth:`claim_request`.
        """
        ...

    def cancel_request(self, id: str, by: str, *, now: float | None = None) -> QueuedRequest:
        """Takes it out of the queue unanswered, whoever has claimed it.

        Raises:
            QueueError: there is none (``id``), or it has ended (``state``).
        """
        ...


@dataclass(frozen=True, slots=True)
class QueueQuery:
    """What is asked of a queue, checked."""

    states: frozenset[str] | None
    ids: tuple[str, ...] | None
    key: str | None
    after: str | None
    limit: int | None
    now: float


def check_queue(
    states: Iterable[QueueState] | None,
    ids: Iterable[str] | None,
    key: str | None,
    after: str | None,
    limit: int | None,
    now: float | None,
) -> QueueQuery:
    """The arguments of :meth:`QueueStorage.queued_requests`.

    Raises:
        OptionError: one is not what it should be.
    """
    found = None if states is None else frozenset(values.texts("states", states))
    for state in sorted(found or ()):
        if state not in STATES:
            raise OptionError("states", state, f"use {', '.join(STATES)}")
    return QueueQuery(
        found,
        None if ids is None else values.texts("ids", ids),
        None if key is None else stored_text("key", key, empty=True, error=OptionError),
        None if after is None else stored_text("after", after, error=OptionError),
        values.limit(limit),
        present(now),
    )


def present(now: float | None) -> float:
    """A moment, or this one.

    Raises:
        OptionError: it is no time.
    """
    return time.time() if now is None else utc_seconds("now", now, error=OptionError)


def check_most(most: int | None) -> int | None:
    """How many requests may be open.

    Raises:
        OptionError: no whole number from 1 on.
    """
    found = plain(most)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 1):
        raise OptionError("most", repr(most), "give a whole number from 1 on, or None")
    return found


@dataclass(frozen=True, slots=True)
class Move:
    """What is done to one request, checked: :meth:`apply` says what becomes of it."""

    id: str
    by: str
    now: float
    action: Literal["claim", "answer", "cancel"]
    seconds: float = 0.0
    answer: str | None = None

    def apply(self, found: QueuedRequest | None) -> QueuedRequest:
        """The request afterwards.

        Raises:
            QueueError: it is not there, or its state does not allow it.
        """
        if found is None:
            raise QueueError("id", self.id, "no request of this id is in the queue")
        state = found.state(self.now)
        if state not in OPEN:
            raise QueueError("state", state, f"{found.id} has ended: nothing is left to do")
        taken = state == "claimed" and (self.action == "claim" or found.claimed_by != self.by)
        if self.action != "cancel" and taken:
            assert found.claimed_until is not None
            left = max(1, round(found.claimed_until - self.now))
            raise QueueError("state", f"claimed by {found.claimed_by}", f"take another, or wait {left} s")
        if self.action == "claim":
            return replace(found, claimed_by=self.by, claimed_until=self.now + self.seconds)
        return replace(found, answer=self.answer, ended_by=self.by, ended_at=self.now)


def claim(id: str, by: str, seconds: float, now: float | None) -> Move:
    """A claim, checked."""
    length = values.number("seconds", seconds, error=OptionError)
    if length <= 0:
        raise OptionError("seconds", seconds, "give a time above 0")
    return Move(*_named(id, by), present(now), "claim", seconds=length)


def answer(id: str, by: str, said: str, now: float | None) -> Move:
    """An answer, checked."""
    text = stored_text("answer", said, error=QueueError)
    if not text.strip():
        raise QueueError("answer", "empty", "give the text the user shall read")
    return Move(*_named(id, by), present(now), "answer", answer=text)


def cancel(id: str, by: str, now: float | None) -> Move:
    """A cancellation, checked."""
    return Move(*_named(id, by), present(now), "cancel")


def _named(id: str, by: str) -> tuple[str, str]:
    return stored_text("id", id, error=QueueError), stored_text("by", by, error=QueueError)
