"""What users of other gateways' analytics have reported, tried against ours."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.commands import done
from tests.contract.requests import DAY, MIDNIGHT, api_key, request

from tiny_dancer.storage import DIMENSIONS, Feedback, Percentiles, SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with SqliteStorage(tmp_path / "gateway.db", mirror=False) as opened:
        yield opened


def filled(storage: SqliteStorage, count: int = 200) -> None:
    storage.record_requests(
        [
            request(
                f"{n}",
                MIDNIGHT + n * 3701.0,
                model=("a", "b", "")[n % 3],
                status=200 if n % 3 < 2 else 503,
                user=("", "ada", "bob")[n % 3],
                key=("", "k1", "k2")[n % 3],
                decision_id=f"d{n}",
                cost=None if n % 5 == 0 else n / 100,
                baseline_cost=None if n % 7 == 0 else n / 50,
                latency=float(n),
                tags=("x", "y")[: n % 3],
            )
            for n in range(count)
        ]
    )


def test_days_come_to_what_their_span_comes_to(storage: SqliteStorage) -> None:
    """Windows widened by a day for a time zone counted requests twice."""
    filled(storage)
    (whole,) = storage.request_summary(since=MIDNIGHT, until=MIDNIGHT + 9 * DAY)
    singles = [
        each
        for day in range(9)
        for each in storage.request_summary(since=MIDNIGHT + day * DAY, until=MIDNIGHT + (day + 1) * DAY)
    ]
    assert sum(each.requests for each in singles) == whole.requests == 200
    assert sum(each.spent for each in singles) == pytest.approx(whole.spent)
    assert [each.requests for each in storage.request_summary(by="day")] == [each.requests for each in singles]


def test_groups_come_to_the_whole_by_every_dimension(storage: SqliteStorage) -> None:
    """Totals by user and by session were twice those of the dashboard; rows without a user were left out."""
    filled(storage)
    (whole,) = storage.request_summary()
    for dimension in set(DIMENSIONS) - {"tag"}:
        found = storage.request_summary(by=dimension)
        assert sum(each.requests for each in found) == whole.requests, dimension
        assert sum(each.spent for each in found) == pytest.approx(whole.spent), dimension
        assert all(0.0 <= (each.success_rate or 0.0) <= 1.0 for each in found)


def test_what_is_joined_multiplies_nothing(storage: SqliteStorage) -> None:
    """A filter over metadata doubled every count: one row for each thing joined."""
    filled(storage, 6)
    for candidate in ("c1", "c2", None):
        storage.record_feedback(Feedback("d2", 1.0, candidate, MIDNIGHT))
    storage.record_feedback(Feedback("d2", 0.5, None, MIDNIGHT + 1))
    (summary,) = storage.request_summary(where={"tag": ["x", "y"]})
    assert (summary.requests, summary.feedback, summary.score) == (4, 1, 0.5)


def test_today_is_among_the_last_days(storage: SqliteStorage, tmp_path: Path) -> None:
    """An evening's traffic was missing until the day was over in UTC."""
    storage.record_requests([request("now", time.time() - 1.0, cost=1.0)])
    for since in ("1d", "7d", "12h"):
        found = json.loads(done("analytics", tmp_path / "gateway.db", "--since", since, "--format", "json"))
        assert found["total"]["requests"] == 1


def test_what_has_no_price_is_not_free(storage: SqliteStorage) -> None:
    """Streams were booked with 0 USD: sums looked right, and were too low."""
    storage.record_requests([request("a", model="m", stream=True), request("b", model="m", cost=0.0)])
    (summary,) = storage.request_summary()
    assert (summary.spent, summary.uncosted, summary.unpriced) == (0.0, 1, 2)


def test_percentiles_of_days_are_not_averaged(storage: SqliteStorage) -> None:
    """A month's p95 was the mean of its days'."""
    storage.record_requests([request(f"a{n}", MIDNIGHT, latency=1.0) for n in range(99)])
    storage.record_requests([request("b", MIDNIGHT + DAY, latency=100.0)])
    by_day = [each.latency_percentiles for each in storage.request_summary(by="day")]
    assert by_day == [Percentiles(1.0, 1.0, 1.0, 1.0), Percentiles(100.0, 100.0, 100.0, 100.0)]
    assert storage.request_summary()[0].latency_percentiles == Percentiles(1.0, 1.0, 1.0, 1.0)


def test_keys_of_one_name_stay_apart(storage: SqliteStorage, tmp_path: Path) -> None:
    """Rows of two models with one label overwrote each other."""
    for id, digit in (("k1", "a"), ("k2", "b")):
        storage.insert_api_key(api_key(id, digit, name="shop"))
    storage.record_requests([request("a", key="k1", cost=1.0), request("b", key="k2", cost=2.0)])
    said = done("analytics", tmp_path / "gateway.db", "--by", "key")
    assert "shop (k1)" in said and "shop (k2)" in said


def test_one_answer_is_of_one_moment(storage: SqliteStorage) -> None:
    """Sums read while requests come in did not fit each other."""
    done_ = threading.Event()

    def serve() -> None:
        for batch in range(40):
            storage.record_requests([request(f"{batch}-{n}", MIDNIGHT, latency=float(batch)) for n in range(25)])
        done_.set()

    writer = threading.Thread(target=serve)
    writer.start()
    seen = [0]
    while not done_.is_set():
        for summary in storage.request_summary():
            batches, left = divmod(summary.requests, 25)
            assert left == 0 and batches >= seen[-1]
            ranked = sorted(float(batch) for batch in range(batches) for _ in range(25))
            assert summary.latency_percentiles is not None
            assert summary.latency_percentiles.p50 == ranked[-(-len(ranked) // 2) - 1]
            seen.append(batches)
    writer.join()
    assert storage.request_summary()[0].requests == 1000


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever may do anything can write everywhere")
def test_a_folder_that_is_read_only_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    with SqliteStorage(folder / "gateway.db") as storage:
        filled(storage)
    (folder / "gateway.db").chmod(0o400)
    folder.chmod(0o500)
    try:
        found = json.loads(done("analytics", folder / "gateway.db", "--format", "json"))
    finally:
        folder.chmod(0o700)
    assert found["total"]["requests"] == 200


def test_nothing_is_changed_by_looking(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "gateway.db") as storage:
        filled(storage)
    before = (tmp_path / "gateway.db").read_bytes()
    for words in ([], ["--by", "user,day"], ["--by", "tag", "--format", "csv"]):
        done("analytics", tmp_path / "gateway.db", *words)
    assert (tmp_path / "gateway.db").read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"gateway.db"}


def test_a_request_recorded_again_counts_once(storage: SqliteStorage) -> None:
    """Spend was logged twice where an answer was retrieved again, or a process replayed what it had sent."""
    row: Any = {"cost": 1.0, "response_id": "resp_1", "model": "m"}
    storage.record_requests([request("a", **row)])
    storage.record_requests([request("a", **row), request("fetched", MIDNIGHT + 1, endpoint="responses.stored")])
    (summary,) = storage.request_summary()
    assert (summary.requests, summary.spent) == (2, 1.0)
