"""Requests that wait for a person, for every storage backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.conftest import DATABASES, OPENERS
from tests.contract.requests import MIDNIGHT

from tiny_dancer.errors import OptionError, QueueError
from tiny_dancer.storage import QueuedRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tiny_dancer.storage import Storage


def queued(id: str, time: float = MIDNIGHT, **fields: Any) -> QueuedRequest:
    usual: dict[str, Any] = {"expires_at": time + 100, "context": '{"messages":[]}', "said": f"said {id}"}
    return QueuedRequest(id=id, time=time, **usual | fields)


FULL = queued("full", said="Zoë's '); DROP TABLE queue;--", chain="triage", key="k", hops="semantic: π 0.4 < 0.7")


def ids(found: tuple[QueuedRequest, ...]) -> list[str]:
    return [each.id for each in found]


def test_a_request_is_read_back_as_it_was_put(storage: Storage) -> None:
    assert storage.queued_requests(now=MIDNIGHT) == ()
    assert storage.enqueue(FULL)
    assert storage.queued_requests(now=MIDNIGHT) == (FULL,)
    assert storage.verify().queued == 1
    with pytest.raises(QueueError, match=r"^id"):
        storage.enqueue(queued("full"))


def test_the_oldest_come_first_page_by_page(storage: Storage) -> None:
    for place in (3, 1, 2, 0):
        storage.enqueue(queued(f"r{place}", MIDNIGHT + place // 2))
    assert ids(storage.queued_requests(now=MIDNIGHT)) == ["r1", "r0", "r3", "r2"]
    found: list[str] = []
    after = None
    while page := ids(storage.queued_requests(now=MIDNIGHT, after=after, limit=3)):
        found += page
        after = page[-1]
    assert found == ["r1", "r0", "r3", "r2"]
    with pytest.raises(QueueError, match=r"^after"):
        storage.queued_requests(after="nobody's")


def test_they_are_found_by_state_id_and_key(storage: Storage) -> None:
    for name in ("waiting", "claimed", "answered", "cancelled"):
        storage.enqueue(queued(name, key="a" if name == "claimed" else "b"))
    storage.enqueue(queued("expired", expires_at=MIDNIGHT + 5))
    storage.claim_request("claimed", "ann", seconds=50, now=MIDNIGHT)
    storage.answer_request("answered", "ann", "yes", now=MIDNIGHT)
    storage.cancel_request("cancelled", "bob", now=MIDNIGHT)
    now = MIDNIGHT + 10
    everything = storage.queued_requests(states=None, now=now)
    assert {each.id: each.state(now) for each in everything} == {
        name: name for name in ("waiting", "claimed", "answered", "cancelled", "expired")
    }
    for state in ("waiting", "claimed", "answered", "cancelled", "expired"):
        assert ids(storage.queued_requests(states=(state,), now=now)) == [state]
    assert ids(storage.queued_requests(now=now)) == ["waiting", "claimed"]
    assert ids(storage.queued_requests(states=None, ids=("expired", "nobody's"), now=now)) == ["expired"]
    assert ids(storage.queued_requests(states=None, key="a", now=now)) == ["claimed"]
    assert ids(storage.queued_requests(states=(), now=now)) == []
    with pytest.raises(OptionError, match=r"^states"):
        storage.queued_requests(states=("asleep",))  # type: ignore[arg-type]


def test_a_claim_holds_until_it_lapses(storage: Storage) -> None:
    storage.enqueue(queued("r"))
    claimed = storage.claim_request("r", "ann", seconds=10, now=MIDNIGHT)
    assert (claimed.claimed_by, claimed.claimed_until) == ("ann", MIDNIGHT + 10)
    for by in ("bob", "ann"):  # two who work under one name are two
        with pytest.raises(QueueError, match=r"state: claimed by ann.*6 s"):
            storage.claim_request("r", by, now=MIDNIGHT + 4)
    with pytest.raises(QueueError, match=r"^state"):
        storage.answer_request("r", "bob", "mine", now=MIDNIGHT + 4)
    assert storage.claim_request("r", "bob", now=MIDNIGHT + 10).claimed_by == "bob"
    with pytest.raises(QueueError, match=r"^state"):
        storage.answer_request("r", "ann", "late", now=MIDNIGHT + 11)
    answered = storage.answer_request("r", "bob", "mine", now=MIDNIGHT + 11)
    assert (answered.answer, answered.ended_by, answered.ended_at) == ("mine", "bob", MIDNIGHT + 11)
    assert storage.queued_requests(states=("answered",), now=MIDNIGHT) == (answered,)


def test_who_answers_need_not_have_claimed(storage: Storage) -> None:
    storage.enqueue(queued("r"))
    assert storage.answer_request("r", "ann", "yes", now=MIDNIGHT).answer == "yes"


def test_a_lapsed_claim_may_still_be_answered(storage: Storage) -> None:
    storage.enqueue(queued("r"))
    storage.claim_request("r", "ann", seconds=1, now=MIDNIGHT)
    assert storage.answer_request("r", "ann", "slowly", now=MIDNIGHT + 50).answer == "slowly"


@pytest.mark.parametrize("ended", ["answered", "cancelled", "expired"])
def test_what_has_ended_stays_as_it_is(storage: Storage, ended: str) -> None:
    storage.enqueue(queued("r"))
    now = MIDNIGHT + 1
    if ended == "answered":
        storage.answer_request("r", "ann", "yes", now=MIDNIGHT)
    elif ended == "cancelled":
        storage.cancel_request("r", "ann", now=MIDNIGHT)
    else:
        now = MIDNIGHT + 100  # exactly at its end
    before = storage.queued_requests(states=None)
    for act in (
        lambda: storage.claim_request("r", "bob", now=now),
        lambda: storage.answer_request("r", "bob", "no", now=now),
        lambda: storage.cancel_request("r", "bob", now=now),
    ):
        with pytest.raises(QueueError, match=rf"^state: {ended}"):
            act()
    assert storage.queued_requests(states=None) == before


def test_a_claimed_request_can_be_cancelled_by_anybody(storage: Storage) -> None:
    storage.enqueue(queued("r"))
    storage.claim_request("r", "ann", now=MIDNIGHT)
    assert storage.cancel_request("r", "its client", now=MIDNIGHT).state(MIDNIGHT) == "cancelled"


def test_unknown_ids_are_said(storage: Storage) -> None:
    for act in (
        lambda: storage.claim_request("r", "bob"),
        lambda: storage.answer_request("r", "bob", "no"),
        lambda: storage.cancel_request("r", "bob"),
    ):
        with pytest.raises(QueueError, match=r"^id: r"):
            act()


def test_the_most_that_may_be_open(storage: Storage) -> None:
    for place in range(3):
        assert storage.enqueue(queued(f"r{place}"), most=3)
    assert not storage.enqueue(queued("r3"), most=3)
    storage.cancel_request("r0", "ann", now=MIDNIGHT)
    assert storage.enqueue(queued("r3"), most=3)
    # Those that have expired by the time of the new one are open no longer.
    assert storage.enqueue(queued("late", MIDNIGHT + 100), most=1)
    for most in (0, -1, True, 1.5, "3"):
        with pytest.raises(OptionError, match=r"^most"):
            storage.enqueue(queued("r9"), most=most)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": "a\0"}, "id"),
        ({"context": ""}, "context"),
        ({"context": "x" * (2**20 + 1)}, "context"),
        ({"said": None}, "said"),
        ({"chain": 3}, "chain"),
        ({"hops": "\ud800"}, "hops"),
        ({"expires_at": MIDNIGHT}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"time": "soon"}, "time"),
        ({"answer": ""}, "answer"),
        ({"claimed_until": float("inf")}, "claimed_until"),
    ],
    ids=str,
)
def test_a_bad_request_cannot_be_made(change: dict[str, Any], named: str) -> None:
    with pytest.raises(QueueError, match=rf"^{named}"):
        replace(FULL, **change)


@pytest.mark.parametrize(
    "act",
    [
        lambda storage: storage.claim_request("full", ""),
        lambda storage: storage.claim_request("full", "ann", seconds=0),
        lambda storage: storage.claim_request("full", "ann", seconds=float("nan")),
        lambda storage: storage.answer_request("full", "ann", ""),
        lambda storage: storage.answer_request("full", "ann", " \n"),
        lambda storage: storage.answer_request("full", "ann", "nul\0"),
        lambda storage: storage.queued_requests(limit=0),
    ],
)
def test_bad_arguments_are_refused_and_change_nothing(storage: Storage, act: Any) -> None:
    storage.enqueue(FULL)
    with pytest.raises((QueueError, OptionError)):
        act(storage)
    assert storage.queued_requests(states=None) == (FULL,)


def test_retention_removes_what_has_ended_and_is_old(storage: Storage) -> None:
    for place in range(4):
        storage.enqueue(queued(f"r{place}", MIDNIGHT + place, expires_at=MIDNIGHT + 1000))
    storage.answer_request("r0", "ann", "yes", now=MIDNIGHT)
    storage.answer_request("r3", "ann", "yes", now=MIDNIGHT + 3)
    assert storage.apply_retention(max_age_s=10, now=MIDNIGHT + 11).queued == 1  # r1 is old, but open
    assert ids(storage.queued_requests(states=None)) == ["r1", "r2", "r3"]
    # All have expired: the newest of them stays.
    assert storage.apply_retention(max_rows=1, now=MIDNIGHT + 1000).queued == 2
    assert ids(storage.queued_requests(states=None)) == ["r3"]


def test_of_many_threads_one_claims(storage: Storage) -> None:
    for place in range(10):
        storage.enqueue(queued(f"r{place}"))

    def claim(name: int) -> int:
        won = 0
        for place in range(10):
            try:
                storage.claim_request(f"r{place}", f"thread {name}", now=MIDNIGHT)
                won += 1
            except QueueError:
                continue
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 10


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["put", "claim", "answer", "cancel"]),
        st.sampled_from("abc"),
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 30),
    ),
    max_size=20,
)


@DATABASES
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES)
def test_every_backend_does_the_same(database: str, moves: list[Any], tmp_path_factory: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("queue")
    with OPENERS["memory"](folder) as memory, OPENERS[database](folder) as other:
        clock = MIDNIGHT
        for action, id, by, wait in moves:
            clock += wait
            said = []
            for storage in (memory, other):
                try:
                    if action == "put":
                        storage.enqueue(queued(id, clock, expires_at=clock + 60), most=2)
                    elif action == "claim":
                        storage.claim_request(id, by, seconds=20, now=clock)
                    elif action == "answer":
                        storage.answer_request(id, by, f"by {by}", now=clock)
                    else:
                        storage.cancel_request(id, by, now=clock)
                    said.append("")
                except QueueError as error:
                    said.append(str(error))
            assert said[0] == said[1]
            assert memory.queued_requests(states=None, now=clock) == other.queued_requests(states=None, now=clock)
            assert memory.queued_requests(now=clock) == other.queued_requests(now=clock)
