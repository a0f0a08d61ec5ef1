"""Routing history, outcomes, feedback and statistics, for every storage backend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.conftest import DATABASES, OPENERS

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import (
    CandidateRecord,
    Feedback,
    MemoryStorage,
    Outcome,
    RoutingRecord,
    ShownCandidate,
    Storage,
    hash_query,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1.75e9


def decision(id: str, time: float = NOW, **rest: Any) -> RoutingRecord:
    return RoutingRecord(id, rest.pop("kind", "request"), rest.pop("chosen", "a model"), time, **rest)


FULL = RoutingRecord(
    decision_id="id-1",
    kind="candidates",
    chosen="memory 7",
    time=NOW + 0.25,
    artifact_version="1.2.3",
    query_hash=hash_query("What did Zoë say?"),
    query_text="What did Zoë say? '); DROP TABLE routing;--",
    shown=(
        ShownCandidate("memory 7", 0, 0.75, 0.9, bytes(range(256))),
        ShownCandidate("memory π", 1),
    ),
    confidence=0.5,
    use_lightweight=True,
    cost=0.001,
    baseline_cost=0.01,
    latency_us=14.25,
    level=2,
    reason="gain_worth_cost",
)


def test_a_decision_is_read_back_as_it_was(storage: Storage) -> None:
    bare = decision("id-2", NOW)
    assert storage.record_routing(FULL)
    assert storage.record_routing(bare, wait=True)
    storage.flush()
    assert storage.routing_history() == (FULL, bare)


def test_text_is_kept_only_where_it_was_given(storage: Storage) -> None:
    storage.record_routing(decision("a", query_hash=hash_query("a secret")), wait=True)
    (found,) = storage.routing_history()
    assert found.query_text is None
    assert found.query_hash == hash_query("a secret") != hash_query("another")
    assert len(hash_query("a secret")) == 32


def test_history_is_newest_first_and_can_be_narrowed(storage: Storage) -> None:
    for number in range(10):
        storage.record_routing(
            decision(f"{number}", NOW + number // 2, kind="candidates" if number % 3 == 0 else "request")
        )
    storage.flush()

    def found(**options: Any) -> str:
        return "".join(each.decision_id for each in storage.routing_history(**options))

    assert found() == "9876543210"
    assert found(limit=3) == "987"
    assert found(limit=None) == "9876543210"
    assert found(since=NOW + 3) == "9876"
    assert found(until=NOW + 1) == "10"
    assert found(since=NOW + 1, until=NOW + 3) == "5432"
    assert found(kind="candidates") == "9630"
    assert found(kind="candidates", limit=2) == "96"
    assert found(decision_ids=["3", "8", "x"]) == "83"
    assert found(decision_ids=[]) == ""
    assert found(decision_ids=["' OR 1=1 --"], kind="' OR 1=1 --") == ""


def test_a_second_record_of_a_decision_is_ignored(storage: Storage) -> None:
    storage.record_routing(decision("a", chosen="first"))
    storage.record_routing(decision("a", chosen="second"))
    storage.record_routing(decision("a", chosen="third"), wait=True)
    storage.flush()
    assert [each.chosen for each in storage.routing_history()] == ["first"]


def test_outcomes_and_feedback_by_decision_the_later_one_counts(storage: Storage) -> None:
    storage.record_outcome(Outcome("a", "small", 0.5, 0.001, 1.5, NOW))
    storage.record_outcome(Outcome("a", "large", 1.0, None, None, NOW + 1))
    storage.record_outcome(Outcome("a", "small", 0.75, time=NOW + 2))
    storage.record_outcome(Outcome("b", "small", 0.0, time=NOW - 1))
    assert storage.outcome_history() == (
        Outcome("a", "small", 0.75, time=NOW + 2),
        Outcome("a", "large", 1.0, None, None, NOW + 1),
        Outcome("b", "small", 0.0, time=NOW - 1),
    )
    assert [each.quality for each in storage.outcome_history(decision_ids=["b"])] == [0.0]

    storage.record_feedback(Feedback("a", 0.0, None, NOW, "no good"))
    storage.record_feedback(Feedback("a", 1.0, "memory", NOW + 1))
    storage.record_feedback(Feedback("a", 0.5, None, NOW + 2, "'; DROP TABLE feedback;--"))
    assert storage.feedback_history() == (
        Feedback("a", 0.5, None, NOW + 2, "'; DROP TABLE feedback;--"),
        Feedback("a", 1.0, "memory", NOW + 1),
    )
    assert storage.feedback_history(since=NOW + 2, limit=5)[0].score == 0.5
    assert storage.feedback_history(until=NOW) == ()


def test_statistics(storage: Storage) -> None:
    storage.insert_candidates([CandidateRecord("a"), CandidateRecord("b")])
    for number in range(100):
        storage.record_routing(
            decision(
                f"{number}",
                NOW + number,
                kind="candidates" if number < 10 else "request",
                use_lightweight=number < 25,
                cost=0.5 if number % 2 else None,
                baseline_cost=1.0,
                latency_us=float(100 - number),
                level=3 if number == 50 else 0,
            )
        )
    storage.record_routing(decision("untimed", NOW + 100))
    storage.record_feedback(Feedback("1", 1.0, time=NOW))
    storage.record_feedback(Feedback("2", 0.5, time=NOW))
    storage.record_outcome(Outcome("1", "m", 0.25, time=NOW))
    storage.flush()

    found = storage.get_statistics()
    assert (found.candidates, found.routes, found.dropped) == (2, 101, 0)
    assert found.by_kind == {"candidates": 10, "request": 91}
    assert found.by_level == {0: 100, 3: 1}
    assert found.light_share == pytest.approx(25 / 101)
    assert (found.cost, found.baseline_cost) == (25.0, 100.0)
    assert (found.latency_p50_us, found.latency_p90_us, found.latency_p99_us) == (50, 90, 99)
    assert (found.feedback, found.success_rate) == (2, 0.75)
    assert (found.outcomes, found.mean_quality) == (1, 0.25)

    later = storage.get_statistics(since=NOW + 98, until=NOW + 100)
    assert (later.routes, later.latency_p50_us, later.latency_p99_us) == (2, 1, 2)
    assert (later.feedback, later.success_rate, later.outcomes, later.mean_quality) == (0, None, 0, None)

    nothing = storage.get_statistics(until=NOW)
    assert (nothing.candidates, nothing.routes, nothing.light_share, nothing.cost) == (2, 0, None, 0.0)
    assert (nothing.by_kind, nothing.by_level, nothing.latency_p50_us) == ({}, {}, None)


def test_bad_options_are_refused(storage: Storage) -> None:
    for call in (
        lambda: storage.routing_history(limit=0),
        lambda: storage.routing_history(since="soon"),
        lambda: storage.feedback_history(limit=1.5),  # type: ignore[arg-type]
        lambda: storage.outcome_history(decision_ids="abc"),
        lambda: storage.get_statistics(until=float("nan")),
    ):
        with pytest.raises(OptionError):
            call()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"decision_id": ""}, "decision_id"),
        ({"decision_id": None}, "decision_id"),
        ({"decision_id": "\ud800"}, "decision_id"),
        ({"kind": "other"}, "kind"),
        ({"chosen": None}, "chosen"),
        ({"time": -7e10}, "time"),
        ({"time": None}, "time"),
        ({"artifact_version": None}, "artifact_version"),
        ({"query_hash": ""}, "query_hash"),
        ({"query_text": "nul\0"}, "query_text"),
        ({"confidence": 1.5}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"cost": -1.0}, "cost"),
        ({"cost": float("inf")}, "cost"),
        ({"baseline_cost": "1"}, "baseline_cost"),
        ({"latency_us": -1}, "latency_us"),
        ({"level": -1}, "level"),
        ({"level": None}, "level"),
        ({"reason": None}, "reason"),
    ],
    ids=str,
)
def test_a_bad_decision_cannot_be_made(change: dict[str, Any], named: str) -> None:
    with pytest.raises(StorageError, match=named):
        replace(decision("a"), **change)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ShownCandidate("", 0),
        lambda: ShownCandidate("a", -1),
        lambda: ShownCandidate("a", 0, float("nan")),
        lambda: ShownCandidate("a", 0, 0.5, 0.0),
        lambda: ShownCandidate("a", 0, 0.5, 1.5),
        lambda: ShownCandidate("a", 0, 0.5, 1.0, "text"),  # type: ignore[arg-type]
        lambda: Outcome("a", "m", 1.5),
        lambda: Outcome("a", "m", None),  # type: ignore[arg-type]
        lambda: Outcome("a", "", 1.0),
        lambda: Outcome("a", "m", 1.0, -1.0),
        lambda: Outcome("a", "m", 1.0, None, float("nan")),
        lambda: Feedback("a", -0.5),
        lambda: Feedback("a", None),  # type: ignore[arg-type]
        lambda: Feedback("", 1.0),
        lambda: Feedback("a", 1.0, ""),
        lambda: Feedback("a", 1.0, time=float("inf")),
    ],
)
def test_other_bad_records_cannot_be_made(make: Any) -> None:
    with pytest.raises(StorageError):
        make()


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
shares = st.floats(0, 1)
numbers = st.none() | st.floats(0, 1e12)
shown = st.builds(
    ShownCandidate,
    texts.filter(len),
    st.integers(0, 99),
    st.none() | st.floats(-1e12, 1e12),
    st.none() | st.floats(1e-6, 1),
    st.binary(max_size=20),
)
decisions = st.builds(
    RoutingRecord,
    texts.filter(len),
    st.sampled_from(["request", "candidates"]),
    texts,
    st.floats(0, 1e11),
    texts,
    st.none() | texts.filter(len),
    st.none() | texts,
    st.lists(shown, max_size=3).map(tuple),
    st.none() | shares,
    st.booleans(),
    numbers,
    numbers,
    numbers,
    st.integers(0, 3),
    texts,
)


@DATABASES
@settings(max_examples=60, deadline=None)
@given(records=st.lists(decisions, max_size=8))
def test_both_backends_remember_the_same(
    database: str, tmp_path_factory: pytest.TempPathFactory, records: list[Any]
) -> None:
    folder: Path = tmp_path_factory.mktemp("history")
    with MemoryStorage() as memory, OPENERS[database](folder) as other:
        for each in records:
            memory.record_routing(each)
            other.record_routing(each)
        other.flush()
        assert other.routing_history() == memory.routing_history()
        ours, theirs = other.get_statistics(), memory.get_statistics()
        assert replace(ours, cost=0, baseline_cost=0, light_share=None) == replace(
            theirs, cost=0, baseline_cost=0, light_share=None
        )
        assert ours.cost == pytest.approx(theirs.cost)
        assert ours.light_share == pytest.approx(theirs.light_share)
