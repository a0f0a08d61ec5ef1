"""Sums and percentiles of requests: every figure is what SQL over the rows gives, in every backend."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.conftest import DATABASES, OPENERS
from tests.contract.requests import DAY, MIDNIGHT, request

from tiny_dancer.errors import OptionError
from tiny_dancer.storage import DIMENSIONS, Feedback, MemoryStorage, Percentiles, SqliteStorage
from tiny_dancer.storage.summaries import EMPTY, KEPT, figures, nearest_rank
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.storage import RequestSummary, Storage

# Written by hand, and not as the backends reckon: r has the requests of one group.
BY_HAND = {
    "requests": "SELECT count(*) FROM r",
    "errors": "SELECT count(*) FROM r WHERE status >= 400 OR error != ''",
    "success_rate": "SELECT avg(CASE WHEN status < 400 AND error = '' THEN 1.0 ELSE 0.0 END) FROM r",
    "fallbacks": "SELECT count(*) FROM r WHERE fallbacks > 0",
    "attempts": "SELECT sum(attempts) FROM r",
    "input_tokens": "SELECT sum(input_tokens) FROM r",
    "output_tokens": "SELECT sum(output_tokens) FROM r",
    "cached_tokens": "SELECT sum(cached_tokens) FROM r",
    "spent": "SELECT coalesce(sum(cost), 0) FROM r",
    "cost": "SELECT coalesce(sum(cost), 0) FROM r WHERE baseline_cost IS NOT NULL",
    "baseline_cost": "SELECT coalesce(sum(baseline_cost), 0) FROM r WHERE cost IS NOT NULL",
    "saved": "SELECT coalesce(sum(baseline_cost - cost), 0) FROM r",
    "saved_share": "SELECT sum(baseline_cost - cost) / nullif(sum(baseline_cost), 0) FROM r "
    "WHERE cost IS NOT NULL",
    "compared": "SELECT count(cost + baseline_cost) FROM r",
    "other_cost": "SELECT coalesce(sum(cost), 0) FROM r WHERE baseline_cost IS NULL",
    "unpriced": "SELECT count(*) FROM r WHERE (cost IS NULL OR baseline_cost IS NULL) AND model != '' "
    "AND (status < 400 OR status = 499)",
    "uncosted": "SELECT count(*) FROM r WHERE cost IS NULL AND model != '' AND (status < 400 OR status = 499)",
    "guessed": "SELECT count(*) FROM r WHERE guessed",
    "guessed_cost": "SELECT sum(guessed_cost) FROM r",
    "latency": "SELECT avg(latency) FROM r",
    "ttft": "SELECT avg(ttft) FROM r",
    "timed": "SELECT count(*) FROM r WHERE ttft IS NOT NULL",
    "confidence": "SELECT avg(confidence) FROM r",
    "decided": "SELECT count(*) FROM r WHERE confidence IS NOT NULL",
    "feedback": "SELECT count(*) FROM r JOIN feedback f ON f.decision_id = ifnull(r.decision_id, r.id) "
    "WHERE f.candidate_id = ''",
    "score": "SELECT avg(f.score) FROM r JOIN feedback f ON f.decision_id = ifnull(r.decision_id, r.id) "
    "WHERE f.candidate_id = ''",
    "guarded": "SELECT count(*) FROM r WHERE guarantee = 'yes'",
    "guarded_share": "SELECT avg(guarantee = 'yes') FROM r",
    # The least value that at least so many of them do not exceed.
    **{
        f"{column}_p{percent}": f"SELECT min({column}) FROM r AS one WHERE 100 * (SELECT count(*) FROM r "
        f"WHERE {column} <= one.{column}) >= {percent} * (SELECT count({column}) FROM r)"
        for column in ("latency", "ttft")
        for percent in (50, 90, 95, 99)
    },
}
IN_WORDS = {
    "day": "strftime('%Y-%m-%d', CAST(time AS INTEGER), 'unixepoch')",
    "hour": "strftime('%Y-%m-%dT%H:00Z', CAST(time AS INTEGER), 'unixepoch')",
    "status": "CAST(status AS TEXT)",
}


def by_hand(
    path: Any, by: Sequence[str], since: float, until: float, where: Mapping[str, Sequence[str]]
) -> dict[tuple[str, ...], dict[str, Any]]:
    """Figures by group, by statements over the file."""
    columns = ", ".join(
        f"{IN_WORDS.get(name, 'q.' + field)} AS dim_{name}" for name, field in DIMENSIONS.items() if name != "tag"
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            f"CREATE TEMP TABLE told AS SELECT q.*, {columns}, tags AS dim_tag FROM request q "
            "WHERE time >= ? AND time < ?",
            (since, until),
        )
        for name, wanted in where.items():
            listed = ", ".join("?" * len(wanted))
            if name == "tag":
                connection.execute(
                    "DELETE FROM told WHERE NOT EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN "
                    f"({listed})) AND NOT (tags = '[]' AND ? IN ({listed}))",
                    (*wanted, "", *wanted),
                )
            else:
                connection.execute(f"DELETE FROM told WHERE dim_{name} NOT IN ({listed})", tuple(wanted))
        if "tag" in by:
            connection.execute(
                "CREATE TEMP TABLE tagged AS SELECT DISTINCT told.rowid AS of, value FROM told, json_each(tags) "
                "UNION SELECT rowid, '' FROM told WHERE tags = '[]'"
            )
            names = ", ".join("value" if name == "tag" else f"dim_{name}" for name in by)
            source = "told JOIN tagged ON tagged.of = told.rowid"
        else:
            names, source = ", ".join(f"dim_{name}" for name in by), "told"
        found = {}
        groups = connection.execute(f"SELECT DISTINCT {names} FROM {source}").fetchall() if by else [()]
        for group in groups:
            condition = " AND ".join(f"{name} = ?" for name in names.split(", ")) if by else "1"
            connection.execute("DROP TABLE IF EXISTS temp.r")
            connection.execute(f"CREATE TEMP TABLE r AS SELECT told.* FROM {source} WHERE {condition}", group)
            if connection.execute("SELECT count(*) FROM r").fetchone()[0]:
                found[group] = {
                    name: connection.execute(statement).fetchone()[0] for name, statement in BY_HAND.items()
                }
        return found


few = st.sampled_from(["", "a", "b", "é", "=1+1"])
moments = st.sampled_from(
    [
        MIDNIGHT,
        MIDNIGHT + 1,
        math.nextafter(MIDNIGHT + DAY, 0),
        MIDNIGHT + DAY,
        MIDNIGHT + DAY + 3599.9999,
        MIDNIGHT + DAY + 3600,
        MIDNIGHT + 2 * DAY,
    ]
)
seconds = st.sampled_from([0.0, 0.5, 0.5, 1.0, 7.25]) | st.floats(0, 100)
costs = st.none() | st.sampled_from([0.0, 0.1, 2.0]) | st.floats(0, 1000)
records = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str),
        "time": moments,
        "endpoint": few,
        "key": few,
        "asked": few,
        "status": st.sampled_from([200, 201, 399, 400, 429, 499, 500]),
        "model": few,
        "upstream": few,
        "decision_id": st.none() | st.sampled_from(["d1", "d2", "d3"]),
        "router": few,
        "routed_by": few,
        "variant": few,
        "role": st.sampled_from(["chat", "edit"]),
        "confidence": st.none() | st.floats(0, 1),
        "attempts": st.integers(0, 5),
        "fallbacks": st.integers(0, 2),
        "input_tokens": st.integers(0, 10**9),
        "output_tokens": st.integers(0, 10**6),
        "cached_tokens": st.integers(0, 10**6),
        "cost": costs,
        "baseline_cost": costs,
        "latency": seconds,
        "ttft": st.none() | seconds,
        "error": few,
        "guessed": st.booleans(),
        "guessed_cost": st.floats(0, 10),
        "agent": few,
        "route": few,
        "user": few,
        "team": few,
        "project": few,
        "tags": st.lists(few, max_size=3).map(tuple),
        "guarantee": st.sampled_from(["", "yes", "no: overridden by the caller"]),
    }
).map(lambda fields: RequestRecord(**fields))
feedbacks = st.dictionaries(
    st.tuples(st.sampled_from(["d1", "d2", "nothing known"]), st.none() | st.just("c")),
    st.floats(0, 1),
    max_size=4,
).map(lambda told: [Feedback(id, score, candidate, MIDNIGHT) for (id, candidate), score in told.items()])
dimensions = st.lists(st.sampled_from(list(DIMENSIONS)), max_size=2, unique=True).map(tuple)
filters = st.dictionaries(
    st.sampled_from(["model", "team", "tag", "role"]), st.lists(few, min_size=1, max_size=2), max_size=2
)


def test_every_figure_is_reckoned_by_hand() -> None:
    assert set(BY_HAND) == set(figures(EMPTY)) - {"score_low", "score_high", "removed", "unknown"}


@settings(max_examples=30, deadline=None)
@given(st.lists(records, max_size=12), feedbacks, dimensions, moments, moments, filters)
def test_every_figure_equals_sql_over_the_rows(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[RequestRecord],
    told: list[Feedback],
    by: tuple[str, ...],
    one: float,
    other: float,
    where: dict[str, list[str]],
) -> None:
    path = tmp_path_factory.mktemp("summaries") / "a.db"
    asked: Any = {"by": by, "since": min(one, other), "until": max(one, other), "where": where}
    with MemoryStorage() as memory, SqliteStorage(path, mirror=False) as sqlite:
        for storage in (memory, sqlite):
            storage.record_requests(rows)
            for each in told:
                storage.record_feedback(each)
        expected = by_hand(path, by, asked["since"], asked["until"], where)
        for storage in (memory, sqlite):
            found = storage.request_summary(**asked)
            assert {each.group for each in found} == set(expected)
            for summary in found:
                shown = figures(summary)
                assert (summary.removed, summary.unknown) == (0, 0)
                for name, value in expected[summary.group].items():  # type: ignore[index]
                    assert same(shown[name], value), (name, shown[name], value)
                exact: Any = {**asked, "percentiles": False}
                assert storage.request_summary(**exact) == tuple(map(without_percentiles, found))
        assert groups(memory, **asked) == groups(sqlite, **asked)


def without_percentiles(summary: RequestSummary) -> RequestSummary:
    return dataclasses.replace(summary, latency_percentiles=None, ttft_percentiles=None)


def groups(storage: Storage, **asked: Any) -> list[Any]:
    """In their order, with what is exact."""
    return [(each.group, each.requests, each.latency_percentiles) for each in storage.request_summary(**asked)]


@DATABASES
@settings(max_examples=30, deadline=None)
@given(
    st.lists(records, max_size=12),
    feedbacks,
    dimensions,
    moments | st.none(),
    moments,
    st.integers(0, 6),
    filters,
    st.none() | moments,
)
def test_sums_stay_when_retention_removes_requests(
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[RequestRecord],
    told: list[Feedback],
    by: tuple[str, ...],
    oldest: float | None,
    since: float,
    kept: int,
    where: dict[str, list[str]],
    whole: float | None,
) -> None:
    folder = tmp_path_factory.mktemp("summaries")
    with MemoryStorage() as memory, OPENERS[database](folder) as other:
        for storage in (memory, other):
            storage.record_requests(rows)
            for each in told:
                storage.record_feedback(each)
            before = {group.group: group for group in storage.request_summary(by=by, where=where)}
            if oldest is not None:
                storage.apply_retention(max_age_s=0, now=oldest)
            storage.apply_retention(max_rows=kept)
            after = {group.group: group for group in storage.request_summary(by=by, where=where)}
            gone = len(rows) - len(storage.request_history())
            if set(by) <= set(KEPT) and set(where) <= set(KEPT):
                assert after.keys() == before.keys()
                for group, summary in after.items():
                    assert_same_sums(summary, before[group])
                    left = without_percentiles(summary) if summary.removed else before[group]
                    assert summary.latency_percentiles == left.latency_percentiles
                    assert summary.ttft_percentiles == left.ttft_percentiles
            if "tag" not in by:
                assert counted(after) == counted(before) or set(where) - set(KEPT)
                assert sum(group.removed + group.unknown for group in after.values()) <= gone
        for asked in ({}, {"since": since}, {"until": since}, {"since": whole, "until": since}):
            if (asked.get("since") or 0.0) <= asked.get("until", math.inf):
                ours: Any = {**asked, "by": by, "where": where}
                assert whole_groups(memory, **ours) == whole_groups(other, **ours)


def counted(summaries: Mapping[Any, RequestSummary]) -> int:
    return sum(each.requests for each in summaries.values())


def whole_groups(storage: Storage, **asked: Any) -> list[Any]:
    return [
        (each.group, each.requests, each.removed, each.unknown, each.latency_percentiles, each.feedback)
        for each in storage.request_summary(**asked)
    ]


def assert_same_sums(one: RequestSummary, other: RequestSummary) -> None:
    for name, value in figures(one).items():
        if "_p" not in name and name not in ("removed", "unknown", "feedback", "score", "score_low", "score_high"):
            assert same(value, figures(other)[name]), name


def same(one: float | None, other: float | None) -> bool:
    """Sums are rounded otherwise; percentiles are values of rows, and close to no other by chance."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)


def test_percentiles_are_values_of_requests(storage: Storage) -> None:
    storage.record_requests([request(f"{n}", MIDNIGHT, latency=float(n), ttft=1.0) for n in range(1, 101)])
    (summary,) = storage.request_summary()
    assert summary.latency_percentiles == Percentiles(50.0, 90.0, 95.0, 99.0)
    assert summary.ttft_percentiles == Percentiles(1.0, 1.0, 1.0, 1.0)
    (lowest,) = storage.request_summary(where={"hour": "2025-07-31T00:00Z"})
    assert lowest == summary
    storage.record_requests([request("101", MIDNIGHT, latency=1000.0)])
    (summary,) = storage.request_summary()
    # Not between two of them, and not of averages: the 100th of 101 is the first that 99 % reach.
    assert summary.latency_percentiles == Percentiles(51.0, 91.0, 96.0, 100.0)


def test_ranks_are_reckoned_in_whole_numbers() -> None:
    assert math.ceil(0.07 * 100) == 8, "why"
    assert nearest_rank(100, 7) == 6
    for count in range(1, 300):
        for percent in (7, 50, 90, 95, 99):
            place = nearest_rank(count, percent)
            assert (place + 1) * 100 >= percent * count > place * 100 or place == 0


def test_a_day_ends_with_its_last_moment(storage: Storage) -> None:
    last = math.nextafter(MIDNIGHT + DAY, 0)
    storage.record_requests([request("a", last, cost=1.0), request("b", MIDNIGHT + DAY, cost=2.0)])
    assert [each.group for each in storage.request_summary(by="day")] == [("2025-07-31",), ("2025-08-01",)]
    assert [each.group for each in storage.request_summary(by="hour")] == [
        ("2025-07-31T23:00Z",),
        ("2025-08-01T00:00Z",),
    ]
    assert storage.spend(since=MIDNIGHT + DAY)[""].cost == 2.0
    (summary,) = storage.request_summary(until=MIDNIGHT + DAY)
    assert (summary.requests, summary.spent) == (1, 1.0)
    (summary,) = storage.request_summary(where={"day": ["2025-07-31"]})
    assert summary.requests == 1
    # One moment in other words: no day but the UTC day.
    assert storage.request_summary(where={"hour": "2025-08-01T01:00+01:00"})[0].spent == 2.0


def test_a_request_is_one_however_often_it_was_tried(storage: Storage) -> None:
    storage.record_requests([request("a", attempts=4, fallbacks=2, cost=0.5), request("b", attempts=1)])
    (summary,) = storage.request_summary()
    assert (summary.requests, summary.attempts, summary.fallbacks) == (2, 5, 1)


def test_what_is_not_known_is_none_and_not_nothing(storage: Storage) -> None:
    assert storage.request_summary() == storage.request_summary(by="model") == ()
    storage.record_requests([request("a", model="m")])
    (summary,) = storage.request_summary()
    absent = (summary.ttft, summary.ttft_percentiles, summary.confidence, summary.score, summary.score_interval)
    assert (*absent, summary.saved_share) == (None,) * 6
    assert (summary.spent, summary.unpriced) == (0.0, 1), "a cost that nobody knows is counted beside the sum"
    assert EMPTY.latency is EMPTY.success_rate is EMPTY.guarded_share is None


def test_the_mean_of_feedback_has_an_interval(storage: Storage) -> None:
    for n in range(10):
        storage.record_requests([request(f"{n}", decision_id=f"d{n}")])
        storage.record_feedback(Feedback(f"d{n}", float(n < 8), time=MIDNIGHT))
    (summary,) = storage.request_summary()
    # Of 8 in 10, as Wilson's interval is tabulated.
    assert summary.score_interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    storage.record_feedback(Feedback("d8", 1.0, time=MIDNIGHT))
    storage.record_feedback(Feedback("d9", 1.0, time=MIDNIGHT))
    (summary,) = storage.request_summary()
    assert summary.score_interval == pytest.approx((0.7224672, 1.0), abs=1e-6)


def test_a_request_is_in_the_group_of_each_of_its_tags(storage: Storage) -> None:
    storage.record_requests(
        [
            request("a", tags=("x", "y", "x"), cost=1.0, latency=1.0),
            request("b", tags=("y",), cost=2.0, latency=3.0),
            request("c", cost=4.0),
        ]
    )
    found = {each.group: each for each in storage.request_summary(by="tag")}
    assert {group: each.spent for group, each in found.items()} == {("",): 4.0, ("x",): 1.0, ("y",): 3.0}
    assert found["y",].latency_percentiles == Percentiles(1.0, 3.0, 3.0, 3.0)
    assert [each.spent for each in storage.request_summary(where={"tag": ["x", ""]})] == [5.0]
    # Filtered by one tag, a request is still in the groups of its others.
    assert [each.group for each in storage.request_summary(by="tag", where={"tag": "x"})] == [("x",), ("y",)]


def test_removed_requests_keep_their_sums_and_have_no_percentiles(storage: Storage) -> None:
    storage.record_requests(
        [
            request("a", MIDNIGHT + 10, model="m", user="ada", cost=1.0, latency=1.0, ttft=1.0, decision_id="d"),
            request("b", MIDNIGHT + 20, model="m", user="bob", cost=2.0, latency=3.0),
            request("c", MIDNIGHT + DAY, model="m", user="bob", cost=4.0, latency=5.0),
        ]
    )
    storage.record_feedback(Feedback("d", 0.5, time=MIDNIGHT + 11))
    storage.apply_retention(max_age_s=DAY, now=MIDNIGHT + DAY + 15)
    first, second = storage.request_summary(by="day")
    assert (first.requests, first.removed, first.spent, first.latency, first.score) == (2, 1, 3.0, 2.0, 0.5)
    assert (first.latency_percentiles, first.ttft_percentiles) == (None, None), "not of the request that is left"
    assert (second.removed, second.latency_percentiles) == (0, Percentiles(5.0, 5.0, 5.0, 5.0))
    # What was not kept is said to be gone: groups still come to the whole.
    assert [(each.group, each.requests) for each in storage.request_summary(by=("user", "model"))] == [
        ((None, "m"), 1),
        (("bob", "m"), 2),
    ]
    storage.apply_retention(max_age_s=DAY, now=MIDNIGHT + DAY + 25)
    # A filter that nobody can answer any more, or a span that ends within them: counted, not added.
    (by_user,) = storage.request_summary(where={"user": "bob"})
    assert (by_user.requests, by_user.removed, by_user.unknown, by_user.spent) == (1, 0, 2, 4.0)
    assert by_user.latency_percentiles is None
    (cut,) = storage.request_summary(until=MIDNIGHT + 15)
    assert (cut.requests, cut.unknown, cut.latency, cut.success_rate) == (0, 2, None, None)
    assert storage.request_summary(until=MIDNIGHT + 5) == ()
    # Whole, where all of them are within.
    (whole,) = storage.request_summary(since=MIDNIGHT + 10, until=MIDNIGHT + 21)
    assert (whole.requests, whole.removed, whole.unknown, whole.spent) == (2, 2, 0, 3.0)
    assert storage.request_summary(where={"hour": "2025-08-01T07:00Z"}) == ()
    (hours,) = storage.request_summary(where={"hour": "2025-07-31T07:00Z"})
    assert (hours.requests, hours.unknown) == (0, 2)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"by": "modle"}, "did you mean model"),
        ({"by": ("model", "model")}, "once"),
        ({"by": 5}, "texts"),
        ({"by": ["day", None]}, "text"),
        ({"since": MIDNIGHT, "until": MIDNIGHT - 1}, "before until"),
        ({"since": "soon"}, "since"),
        ({"where": {"colour": "red"}}, "colour"),
        ({"where": {"day": "yesterday"}}, "2026-11-21"),
        ({"where": {"day": "2026-11-21T05:00"}}, "2026-11-21"),
        ({"where": {"hour": "2026-11-21T05:30Z"}}, "2026-11-21T13:00Z"),
        ({"where": {"status": "ok"}}, "200"),
        ({"where": {"model": 5}}, "texts"),
        ({"where": {"model": [None]}}, "text"),
        ({"where": "model"}, "by dimension"),
        ({"percentiles": "yes"}, "true or false"),
    ],
)
def test_what_cannot_be_asked_is_refused(storage: Storage, asked: Any, word: str) -> None:
    with pytest.raises(OptionError, match=word):
        storage.request_summary(**asked)


def test_odd_names_are_groups_like_others(storage: Storage) -> None:
    names = ["=cmd|' /C calc'!A0", "ﷺ" * 3000, "a\nb", "'; DROP TABLE request;--", "%", "\u202egpt", "NULL"]
    storage.record_requests([request(f"{n}", user=name, tags=(name,)) for n, name in enumerate(names)])
    for dimension in ("user", "tag"):
        assert {each.group[0] for each in storage.request_summary(by=dimension)} == set(names)
        for name in names:
            (found,) = storage.request_summary(where={dimension: name})
            assert found.requests == 1
