"""Buckets in a file: the same answers as a bucket in memory, seen by everybody who opened it."""

from __future__ import annotations

import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.gateway.access import shared_limits
from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.access.limits import TokenBucket
from tiny_dancer.gateway.access.shared_limits import SharedLimits, create
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "gateway.db.limits"
    create(found)
    return found


@pytest.fixture
def limits(path: Path) -> Iterator[SharedLimits]:
    opened = SharedLimits(path)
    yield opened
    opened.close()


@settings(deadline=None)
@given(
    per_minute=st.floats(0.01, 1e6),
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from(["take", "charge", "wait"]), st.floats(-10, 1000)),
        max_size=40,
    ),
)
def test_it_answers_as_a_bucket_in_memory(per_minute: float, steps: list[tuple[float, str, float]]) -> None:
    now = 100.0
    with TemporaryDirectory() as folder:
        create(Path(folder, "limits"))
        both = [SharedLimits(Path(folder, "limits")) for _ in range(2)]
        alone = TokenBucket(per_minute, clock=lambda: now)
        shared = [each.bucket("name", per_minute, clock=lambda: now) for each in both]
        for number, (passed, what, amount) in enumerate(steps):
            now += passed
            # In turns from the two that have it open.
            assert getattr(shared[number % 2], what)(amount) == getattr(alone, what)(amount)
            assert shared[1 - number % 2].level() == alone.level()
            assert shared[0].full_in() == alone.full_in()
        for each in both:
            each.close()


def test_each_name_has_a_bucket_of_its_own_that_stays(path: Path, limits: SharedLimits) -> None:
    buckets = [limits.bucket(f"key{number}", 60, clock=lambda: 0.5) for number in range(3000)]
    for number, bucket in enumerate(buckets):
        assert bucket.take(number % 60 + 1) == 0
    again = SharedLimits(path)
    for number in range(3000):
        assert round(again.bucket(f"key{number}", 60, clock=lambda: 0.5).level()) == 59 - number % 60
    again.close()


def test_a_new_table_forgets_and_leaves_the_old_one_to_those_who_use_it(path: Path, limits: SharedLimits) -> None:
    old = limits.bucket("a", 1)
    assert old.take() == 0
    create(path)
    fresh = SharedLimits(path)
    assert fresh.bucket("a", 1).take() == 0
    assert old.take() > 0
    fresh.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_is_no_table_is_refused(tmp_path: Path, limits: SharedLimits) -> None:
    with pytest.raises(StorageError, match="missing"):
        SharedLimits(tmp_path / "missing")
    (tmp_path / "other").write_bytes(b"x")
    with pytest.raises(StorageError, match="no table of limits"):
        SharedLimits(tmp_path / "other")
    with pytest.raises(StorageError, match="nowhere"):
        create(tmp_path / "nowhere" / "limits")
    with pytest.raises(OptionError, match="per_minute"):
        limits.bucket("a", 0)


def test_a_full_table_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_limits, "_SLOTS", 4)
    create(tmp_path / "limits")
    limits = SharedLimits(tmp_path / "limits")
    for name in "abcd":
        limits.bucket(name, 1).take()
    with pytest.raises(StorageError, match="4 buckets"):
        limits.bucket("e", 1)
    assert limits.bucket("a", 1).take() > 0, "those there are still served"
    limits.close()


def test_a_key_has_one_limit_for_all_workers(path: Path) -> None:
    storage, ada = MemoryStorage(), make_key("ada", requests_per_minute=10, tokens_per_minute=1000)
    storage.insert_api_key(ada.key)
    tables = [SharedLimits(path) for _ in range(3)]
    workers = [Access(storage, required=True, shared=each, monotonic=lambda: 50.0) for each in tables]
    for worker in workers:
        worker.refresh()
    for number in range(10):
        workers[number % 3].admit(ada.secret)
    for worker in workers:
        with pytest.raises(GatewayError, match="10 requests a minute"):
            worker.admit(ada.secret)
    workers[0]._callers[ada.key.id].charge(2000, None)
    with pytest.raises(GatewayError, match="1,000 tokens a minute"):
        workers[2].admit(ada.secret)
    for each in tables:
        each.close()
