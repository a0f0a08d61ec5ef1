from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer._core.timestamps import seconds_since_epoch
from tiny_dancer.errors import CandidateError

SECONDS = 1_683_554_160.0


@pytest.mark.parametrize(
    "value",
    [
        SECONDS,
        int(SECONDS),
        SECONDS * 1e3,
        int(SECONDS) * 10**6,
        int(SECONDS) * 10**9,
        datetime(2023, 5, 8, 13, 56, tzinfo=UTC),
        datetime(2023, 5, 8, 13, 56),
        datetime(2023, 5, 8, 15, 56, tzinfo=timezone(timedelta(hours=2))),
        "2023-05-08T13:56:00+00:00",
        "2023-05-08 13:56",
    ],
)
def test_every_way_to_write_a_time_is_the_same_time(value: object) -> None:
    assert seconds_since_epoch(value, "created_at") == pytest.approx(SECONDS, abs=1e-3)


def test_a_date_alone_is_its_midnight() -> None:
    assert seconds_since_epoch("2023-05-08", "created_at") == datetime(2023, 5, 8, tzinfo=UTC).timestamp()


def test_none_is_unknown() -> None:
    assert seconds_since_epoch(None, "created_at") is None


@given(st.datetimes(datetime(1973, 4, 1), datetime(2200, 1, 1)))
def test_units_are_told_apart_by_size(moment: datetime) -> None:
    seconds = moment.replace(tzinfo=UTC).timestamp()
    for factor in (1, 1e3, 1e6, 1e9):
        assert seconds_since_epoch(seconds * factor, "t") == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf, "yesterday", True, [1], b"x", 1j])
def test_what_is_no_time_is_refused_by_name(value: object) -> None:
    with pytest.raises(CandidateError) as caught:
        seconds_since_epoch(value, "candidates[3].created_at")
    assert caught.value.field == "candidates[3].created_at"
