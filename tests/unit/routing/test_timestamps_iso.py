"""ISO 8601 as the engine reads it, beside ``datetime.fromisoformat`` and the conformance reference."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiny_dancer._core import number_to_seconds, text_to_seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "conformance"))

from reference import Refusal
from reference.moments import from_number, from_text

_DATE = r"(\d{4}-\d\d-\d\d|\d{8}|\d{4}-W\d\d(-\d)?|\d{4}W\d\d\d?)"
_CLOCK = r"\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?"
_ODD_CLOCK = r"(\d\d(:?\d\d)?[.,]\d+|\d\d:\d\d:\d\d:\d+|\d{7,})"
ONLY_PYTHON = re.compile(
    rf"""
    {_DATE} (
        \d .*                                            # a digit as separator
      | \D {_ODD_CLOCK} (Z | [+-].*)?                    # a fraction of an hour or a minute, or without its point
      | \D {_CLOCK} [^Z+-]+ (Z | [+-].*)                 # a time that breaks off before its zone
      # A zone like that, or one with 60 minutes or more.
      | \D {_CLOCK} [+-] ({_ODD_CLOCK} | \d\d:?(\d\d:?)?[6-9].*)
    )
    | .* \0 .*
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
"""What ``datetime.fromisoformat`` reads and the engine refuses, as its documentation says."""

BELOW_A_SECOND = re.compile(r".*[+-]00(:?00){2}[.,]\d+", re.DOTALL)
"""A zone less than a second off UTC, which ``datetime.fromisoformat`` reads as UTC."""

ZONES = (
    st.none()
    | st.just(UTC)
    | st.timedeltas(-timedelta(hours=23, minutes=59), timedelta(hours=23, minutes=59)).map(timezone)
)
MOMENTS = st.datetimes(timezones=st.none() | ZONES)


def by_python(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def test_a_zone_less_than_a_second_off_counts() -> None:
    assert text_to_seconds("1970-01-01T00:00:01+00:00:00.25") == 0.75


def by_reference(text: str) -> float | None:
    try:
        return from_text(text)
    except Refusal:
        return None


def written(moment: datetime, separator: str, precision: str, form: int) -> str:
    extended = moment.isoformat(separator, precision)
    date, rest = extended[:10], extended[10:]
    zone = "" if moment.tzinfo is None else moment.strftime("%z")
    year, week, day = moment.isocalendar()
    dates = [date, date.replace("-", ""), f"{year:04}-W{week:02}-{day}", f"{year:04}W{week:02}{day}"]
    if form % 8 < 4:
        return dates[form % 4] + rest
    clock = rest[len(separator) :]
    if zone:
        clock = re.split("[+-]", clock, maxsplit=1)[0]
    return dates[form % 4] + separator + clock.replace(":", "") + zone.replace(":", "")


@settings(max_examples=1000, deadline=None)
@given(
    MOMENTS,
    st.sampled_from("T _t-+é中😀/"),
    st.sampled_from(["auto", "hours", "minutes", "seconds", "milliseconds", "microseconds"]),
    st.integers(0, 7),
)
def test_what_datetime_writes_is_read_as_datetime_reads_it(
    moment: datetime, separator: str, precision: str, form: int
) -> None:
    text = written(moment, separator, precision, form)
    seconds = by_python(text)
    # The year that a week of the first or the last days belongs to may be none.
    if seconds is not None and not BELOW_A_SECOND.fullmatch(text):
        assert text_to_seconds(text) == seconds
    assert by_reference(text) == text_to_seconds(text)


@settings(max_examples=3000, deadline=None)
@given(
    st.builds(
        lambda text, at, by, gone: text[: at % (len(text) + 1)] + by + text[at % (len(text) + 1) + gone :],
        st.builds(
            written, MOMENTS, st.sampled_from("T -"), st.sampled_from(["auto", "minutes"]), st.integers(0, 7)
        ),
        st.integers(0, 40),
        st.text("0123456789TWZ:+-., é\0", max_size=3),
        st.integers(0, 3),
    )
)
@example("2020-W01-12:30")
@example("2020-W01-1-12")
@example("2020W01-12")
@example("9999-12-31T23:59:59.999999-23:59")
@example("0001-01-01T00:00+23:59:59.999999")
@example("2020-01-01T12:00:00.1234567+00:00:00,1234567")
@example("2020-01-01+05:00")
@example("２020-01-01")
def test_what_is_nearly_a_time_is_one_for_both_or_for_neither(text: str) -> None:
    found, expected = text_to_seconds(text), by_python(text)
    assert by_reference(text) == found
    if found is None and expected is not None:
        assert ONLY_PYTHON.fullmatch(text), text
    elif not BELOW_A_SECOND.fullmatch(text):
        assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-01T12.5",
        "2020-01-01T12:30.5",
        "2020-01-01T12:+05:00",
        "2020-01-01T120+05:00",
        "2020-01-01T12:00:00.+05:00",
        "2020-01-01T12:00+05:99",
        "2020-01-01T12:00:00:5",
        "2020-01-01T1200005",
        "20200101123",
        "2020W01123",
    ],
)
def test_what_only_python_makes_sense_of_is_refused(text: str) -> None:
    assert text_to_seconds(text) is None
    assert by_reference(text) is None


@given(st.floats() | st.integers(-(10**20), 10**20))
def test_numbers_are_read_as_the_reference_reads_them(number: float) -> None:
    try:
        expected = from_number(number)
    except Refusal:
        expected = None
    assert number_to_seconds(float(number)) == expected
