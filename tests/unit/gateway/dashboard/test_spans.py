"""Ranges of the dashboard: whole steps of UTC, and few enough of them for a chart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.dashboard.spans import RANGES, span_of
from tiny_dancer.gateway.errors import GatewayError

NOW = 1_796_043_661.5


@pytest.mark.parametrize("name", RANGES)
def test_a_named_range_ends_with_the_step_that_has_begun(name: str) -> None:
    span = span_of({"range": name}, NOW)
    assert span.until - span.since == RANGES[name][0]
    assert span.until - span.step <= NOW < span.until
    assert span.since % span.step == 0
    assert len(span.starts) == RANGES[name][0] / RANGES[name][1]
    # What is asked again within a step is the same range, so that it is read once.
    assert span_of({"range": name}, NOW + 0.25) == span


def test_a_day_is_meant_where_nothing_is_said() -> None:
    assert span_of({}, NOW).name == "24h"


@given(st.floats(0, 2e9), st.floats(1e-3, 3e8))
def test_any_range_is_covered_by_a_hundred_steps_at_most(since: float, length: float) -> None:
    span = span_of({"since": repr(since), "until": repr(since + length)}, NOW)
    assert span.since <= since
    assert span.until == since + length
    assert 1 <= len(span.starts) <= 98
    assert span.starts[-1] < span.until <= span.starts[-1] + span.step + 1e-6


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"range": "2h"}, "1h, 24h, 7d, 30d"),
        ({"range": "<script>"}, "1h, 24h"),
        ({"since": "1"}, "until is missing"),
        ({"until": "1"}, "since is missing"),
        ({"since": "5", "until": "5"}, "exchange since and until"),
        ({"since": "9", "until": "5"}, "exchange since and until"),
        ({"since": "nan", "until": "5"}, "UTC seconds"),
        ({"since": "0", "until": "inf"}, "UTC seconds"),
        ({"since": "-1", "until": "5"}, "UTC seconds"),
        ({"since": "yesterday", "until": "5"}, "UTC seconds"),
        ({"since": "0", "until": "1e9"}, "ten years"),
    ],
)
def test_what_is_no_range_is_refused_with_the_remedy(query: dict[str, str], said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        span_of(query, NOW)
    assert caught.value.status == 400
    assert said in caught.value.message
    assert "<script>" not in caught.value.message
