"""What is made of failures: who may be asked again, when, and how often."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.configuration.settings import Retries
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.attempts import RetryBudget, backoff, of_answer, of_call, of_status, retry_after
from tiny_dancer.gateway.upstream.clients.base import CallError, Phase
from tiny_dancer.resilience import Category


@given(st.floats(min_value=0, max_value=9e8, allow_nan=False))
def test_seconds_are_read_as_written(seconds: float) -> None:
    assert retry_after([("retry-after", repr(seconds))]) == seconds
    assert retry_after([("retry-after", f" {seconds!r} ")]) == seconds
    assert retry_after([("retry-after-ms", repr(seconds))]) == seconds / 1000


@given(st.integers(-100_000, 100_000), st.integers(-23 * 60, 23 * 60))
def test_a_date_is_the_time_until_then(seconds: int, zone: int) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    forms = [
        format_datetime(at, usegmt=True),
        format_datetime(at.astimezone(timezone(timedelta(minutes=zone)))),
        at.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        at.strftime("%a %b %e %H:%M:%S %Y"),
    ]
    for text in forms:
        found = retry_after([("retry-after", text)])
        assert found is not None, text
        assert found == pytest.approx(max(seconds, 0), abs=10)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_it(milliseconds: str, seconds: str) -> None:
    for headers in (
        [("retry-after-ms", milliseconds)],
        [("retry-after-ms", milliseconds), ("retry-after", seconds)],
    ):
        found = retry_after(headers)
        assert found is None or found >= 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "nan",
        "inf",
        "Infinity",
        "soon",
        "1 s",
        "inf",
        "9" * 400,
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Wed, 99 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 +" + "9" * 30,
        "9" * 30 + " Oct 2015 07:28:00 GMT",
    ],
)
def test_what_is_no_time_counts_as_none(text: str) -> None:
    assert retry_after([("retry-after", text)]) is None
    assert retry_after([("retry-after-ms", text), ("retry-after", "2")]) == 2


def test_more_than_anyone_waits() -> None:
    asked = retry_after([("retry-after", "9" * 9)])
    assert asked == 999_999_999
    assert backoff(Retries(), 0, asked) is None


def test_a_time_since_1970_is_no_wait() -> None:
    asked = retry_after([("retry-after", str(int(time.time()) + 40))])
    assert asked == pytest.approx(40, abs=2)
    assert retry_after([("retry-after", "1000000000")]) == 0


FAILED = (408, 425, 500, 502, 503, 504, 520, 524, 529, 599)
AGAIN = (409, 429, *FAILED)
OPERATOR = (401, 402, 407)
ELSEWHERE = (403, 404, 405, 501, *OPERATOR)
THE_CALLER_S = (400, 406, 410, 411, 412, 413, 414, 415, 418, 422, 451)


@pytest.mark.parametrize("status", [*AGAIN, *ELSEWHERE, *THE_CALLER_S])
def test_a_status_says_who_may_be_asked_next(status: int) -> None:
    found = of_status(GatewayError(status, "no", code="x"), [("retry-after", "3")])
    assert found.again == (status in AGAIN)
    assert found.elsewhere == (status not in THE_CALLER_S)
    # A server that says it cannot or will not is well: only its own failures count.
    assert found.category == (Category.UPSTREAM if status in (*FAILED, 401, 407) else None)
    assert found.rests == (status == 429)
    assert found.wait == (3.0 if status in AGAIN else None)
    assert not found.larger
    assert found.error.status == (502 if status in (401, 402, 407) else status)


@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_context_that_is_too_long_asks_for_a_larger_one(status: int) -> None:
    found = of_status(GatewayError(status, "too long", code="context_length_exceeded"), [])
    assert (found.larger, found.elsewhere, found.again, found.category) == (True, True, False, None)


def test_a_response_that_is_not_there_is_the_caller_s() -> None:
    found = of_status(GatewayError(404, "no such response", code="previous_response_not_found"), [])
    assert (found.elsewhere, found.again, found.category) == (False, False, None)


@pytest.mark.parametrize(
    ("status", "message", "param"),
    [
        (403, "Your input was flagged", None),
        (403, "blocked by our content policy", None),
        (404, "Item with id 'rs_1' not found.", "input"),
        (404, "Response with id 'resp_1' not found.", None),
    ],
)
def test_what_is_said_of_the_request_asks_no_other_model(status: int, message: str, param: str | None) -> None:
    found = of_status(GatewayError(status, message, param=param), [])
    assert (found.elsewhere, found.again, found.category) == (False, False, None)


def test_a_quota_that_is_used_up_is_not_asked_again() -> None:
    found = of_status(GatewayError(429, "no credit", code="insufficient_quota"), [])
    assert (found.elsewhere, found.again, found.category, found.rests) == (True, False, None, False)


@pytest.mark.parametrize("status", [401, 407])
@given(text=st.text(min_size=10))
def test_what_is_said_about_the_gateway_s_key_stays_here(status: int, text: str) -> None:
    found = of_status(GatewayError(status, text, param=text, code="invalid_api_key"), []).error
    assert text not in found.message
    assert (found.param, found.code) == (None, "upstream_authentication")


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_call_without_answer(repeatable: bool) -> None:
    connect = of_call(CallError(Phase.CONNECT), repeatable)
    broken = of_call(CallError(Phase.BROKEN), repeatable)
    late = of_call(CallError(Phase.TIMEOUT), repeatable)
    assert [each.again for each in (connect, broken, late)] == [True, repeatable, False]
    assert [each.error.status for each in (connect, broken, late)] == [502, 502, 504]
    assert [each.category for each in (connect, broken, late)] == [
        Category.UPSTREAM,
        Category.UPSTREAM,
        Category.TIMEOUT,
    ]
    assert all(each.elsewhere and each.wait is None for each in (connect, broken, late))
    assert late.error.message == "The model's server did not answer in time."


def test_an_answer_that_is_none_has_a_short_message() -> None:
    found = of_answer("x" * 10_000)
    assert len(found.error.message) <= 500
    assert (found.error.status, found.again, found.elsewhere) == (502, True, True)


@given(
    st.floats(1e-3, 100),
    st.floats(1e-3, 100),
    st.integers(0, 10_000),
    st.none() | st.floats(0, 1e6),
)
def test_a_wait_is_within_its_bounds(base: float, longest: float, retries: int, asked: float | None) -> None:
    found = backoff(Retries(base=base, longest=longest), retries, asked)
    if asked is not None and asked > longest:
        assert found is None
        return
    assert found is not None
    assert (asked or 0.0) <= found <= longest
    assert found <= max(asked or 0.0, base * 2.0 ** min(retries, 100))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0, 1), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.floats(0, 120)), max_size=30)
)
def test_retries_stay_a_share_of_the_requests(share: float, rounds: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    budget = RetryBudget(share, clock)
    requests = retries = 0
    for more, tries, pause in rounds:
        for _ in range(more):
            budget.request()
            requests += 1
        retries += sum(budget.retry() for _ in range(tries))
        clock.now += pause
        allowed = 10 + share * requests + (clock.now - Clock.now) / 6
        assert retries <= allowed + 1e-6


def test_ten_retries_a_minute_are_free() -> None:
    clock = Clock()
    budget = RetryBudget(0.0, clock)
    for _ in range(3):
        assert [budget.retry() for _ in range(11)] == [True] * 10 + [False]
        clock.now += 60.0
    clock.now += 3600.0
    assert sum(budget.retry() for _ in range(100)) == 10, "what was not used is not saved up"


def test_every_request_pays_for_its_share() -> None:
    budget = RetryBudget(0.2, Clock())
    assert sum(budget.retry() for _ in range(20)) == 10
    for _ in range(50):
        budget.request()
    assert sum(budget.retry() for _ in range(20)) in (9, 10)  # 50 times 0.2, in floating point
