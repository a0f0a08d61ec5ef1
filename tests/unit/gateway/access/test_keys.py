"""Making keys, finding them by what a person types, and the days and months their budgets go by."""

from __future__ import annotations

import calendar
import hashlib
import math
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import AccessError
from tiny_dancer.gateway.access.keys import (
    expiry,
    find_key,
    make_key,
    model_budget,
    state_of,
    written,
)
from tiny_dancer.storage import ModelBudget
from tiny_dancer.storage.periods import period

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


def test_a_key_holds_what_was_asked_and_only_the_hash_of_its_secret() -> None:
    made = make_key("ada", expires_at=NOW + 1, models=["a", "b", "a"], daily_budget=0.0, now=NOW)
    assert made.key.models == ("a", "b")
    assert (made.key.created_at, made.key.expires_at, made.key.daily_budget) == (NOW, NOW + 1, 0.0)
    assert made.key.secret_hash == hashlib.sha256(made.secret.encode()).hexdigest()
    assert re.fullmatch(r"td-[A-Za-z0-9_-]{43}", made.secret)
    assert made.secret not in repr(made)
    assert made.secret[3:] not in repr(made.key)
    others = [make_key("ada") for _ in range(50)]
    assert len({each.secret for each in others}) == len({each.key.id for each in others}) == 50


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "two\nlines"}),
        ("expires", {"expires_at": NOW}),
        ("expires", {"expires_at": -math.inf}),
        ("expires_at", {"expires_at": math.nan}),
        ("models", {"models": [""]}),
        ("requests_per_minute", {"requests_per_minute": 0}),
        ("tokens_per_minute", {"tokens_per_minute": -5}),
        ("daily_budget", {"daily_budget": -0.01}),
        ("monthly_budget", {"monthly_budget": math.nan}),
        ("daily_budget", {"daily_budget": math.inf}),
        ("cheaper_when_spent", {"cheaper_when_spent": True}),
        ("cheaper_when_spent", {"cheaper_when_spent": True, "soft_budget": 1.0}),
        ("budget_duration", {"budget_duration": "1d"}),
    ],
)
def test_what_no_key_can_have_is_refused(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(AccessError, match=field):
        make_key(given.pop("name", "ada"), **given, now=NOW)


def test_keys_are_found_by_id_or_by_a_name_that_is_clear() -> None:
    first, second, bob = (make_key(name, now=NOW).key for name in ("ada", "ada", "bob"))
    assert find_key([first, second, bob], "bob") is bob
    assert find_key([first, second, bob], second.id) is second
    with pytest.raises(AccessError, match=f"{first.id}, {second.id}"):
        find_key([first, second, bob], "ada")
    ended = replace(first, revoked_at=NOW)
    assert find_key([ended, second], "ada") is second, "the one that still serves is meant"
    assert find_key([ended], "ada") is ended
    imitator = replace(bob, id="x", name=first.id)
    assert find_key([imitator, first], first.id) is first, "an id is an id, whatever others are called"
    with pytest.raises(AccessError, match="nobody"):
        find_key([first], "nobody")


def test_the_state_changes_at_the_moment_itself() -> None:
    key = make_key("ada", expires_at=NOW + 10, now=NOW).key
    assert [state_of(key, NOW + at) for at in (0, 9.9, 10)] == ["active", "active", "expired"]
    assert [state_of(replace(key, revoked_at=NOW + 5), NOW + at) for at in (4, 5, 11)] == [
        "active",
        "revoked",
        "revoked",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", NOW + 30 * 86_400),
        ("12H", NOW + 12 * 3600),
        ("1.5w", NOW + 1.5 * 604_800),
        ("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC).timestamp()),
        ("2026-12-01T06:00", datetime(2026, 12, 1, 6, tzinfo=UTC).timestamp()),
        ("2026-12-01T06:00+02:00", datetime(2026, 12, 1, 4, tzinfo=UTC).timestamp()),
        ("2026-12-01T06:00Z", datetime(2026, 12, 1, 6, tzinfo=UTC).timestamp()),
    ],
)
def test_a_time_of_expiry_as_people_write_it(text: str, expected: float) -> None:
    assert expiry(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "d", "-1d", "0h", "nand", "infw", "soon", "30", "30m", "2026-13-01", "1e999d"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(AccessError, match="expires"):
        expiry(text, NOW)


def test_a_model_s_budget_as_people_write_it() -> None:
    assert model_budget("gpt-4o=5") == ModelBudget("gpt-4o", 5.0)
    assert model_budget("a=b/c=0.5/1mo") == ModelBudget("a=b/c", 0.5, "1mo")
    for text in ("gpt-4o", "gpt-4o=", "gpt-4o=five", "gpt-4o=5/", "gpt-4o=5/1y"):
        with pytest.raises(AccessError, match="model_max_budget"):
            model_budget(text)


@given(st.floats(0, 1e11), st.floats(0, 1e11))
def test_days_and_months_are_those_of_the_calendar(now: float, created: float) -> None:
    moment = time.gmtime(now)
    year, month = divmod(moment.tm_year * 12 + moment.tm_mon, 12)
    days = (calendar.timegm((*moment[:3], 0, 0, 0)), calendar.timegm((*moment[:3], 0, 0, 0)) + 86_400)
    months = (
        calendar.timegm((moment.tm_year, moment.tm_mon, 1, 0, 0, 0)),
        calendar.timegm((year, month + 1, 1, 0, 0, 0)),
    )
    assert period("1d", created, now) == days
    assert period("1mo", created, now) == months
    assert written(months[0]).endswith("-01T00:00:00Z")
    assert period(None, created, now) == (0.0, math.inf)


@given(
    st.sampled_from(["30s", "30m", "30h", "7d", "30d", "2w", "3mo", "5mo"]),
    st.floats(0, 4e9),
    st.floats(0, 4e9),
)
def test_periods_follow_one_another_without_a_gap(duration: str, created: float, now: float) -> None:
    start, end = period(duration, created, now)
    assert start <= now < end
    assert period(duration, created, end)[0] == end
    assert period(duration, created, start) == (start, end)
    # The first begins with the day, or month, the key was made in.
    first = period("1mo" if duration.endswith("mo") else "1d", created, created)[0]
    assert period(duration, created, first)[0] == first
