"""Checks of plain values: what passes and as what, what is refused, by which error, at each bound."""

from __future__ import annotations

import enum
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from tests.contract.candidates import Tensor

from tiny_dancer.errors import AccessError, OptionError, StorageError
from tiny_dancer.storage import values

if TYPE_CHECKING:
    from collections.abc import Callable


class Level(enum.IntEnum):
    LOW = 2


class Colour(enum.StrEnum):
    RED = "red"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (values.stored_text, "text", "text"),
        (values.stored_text, "two\nlines", "two\nlines"),
        (values.stored_text, "ä☃😀", "ä☃😀"),
        (values.stored_text, np.str_("x"), "x"),
        (values.stored_text, np.array("x"), "x"),
        (values.stored_text, Colour.RED, "red"),
        (values.stored_text, Loud("x"), "x"),
        (values.number, -1.5, -1.5),
        (values.number, 0, 0.0),
        (values.number, np.float32(0.5), 0.5),
        (values.number, np.int8(-3), -3.0),
        (values.number, np.longdouble(2.5), 2.5),
        (values.number, ml_dtypes.bfloat16(1.5), 1.5),
        (values.number, np.array(2), 2.0),
        (values.number, Tensor(2.5), 2.5),
        (values.number, Level.LOW, 2.0),
        (values.number, Decimal("0.5"), 0.5),
        (values.number, Fraction(1, 4), 0.25),
        (values.amount, 0, 0.0),
        (values.amount, 1e300, 1e300),
        (values.amount, np.float64(1), 1.0),
        (values.share, 0, 0.0),
        (values.share, 1, 1.0),
        (values.share, np.float16(0.5), 0.5),
        (values.share, None, None),
        (values.integer, 0, 0),
        (values.integer, 2**63 - 1, 2**63 - 1),
        (values.integer, np.int64(5), 5),
        (values.integer, np.uint64(2**63 - 1), 2**63 - 1),
        (values.integer, np.array(5), 5),
        (values.integer, Level.LOW, 2),
        (values.flag, True, True),
        (values.flag, np.False_, False),
        (values.flag, np.array(True), True),
        (values.utc_seconds, 0, 0.0),
        (values.utc_seconds, -1e9, -1e9),
        (values.utc_seconds, 1.7e12, 1.7e9),
        (values.utc_seconds, values.LATEST, values.LATEST),
        (values.utc_seconds, values.EARLIEST, values.EARLIEST),
        (values.utc_seconds, datetime(1, 1, 1), values.EARLIEST),
        (values.utc_seconds, np.int64(5), 5.0),
        (values.utc_seconds, np.array(5.0), 5.0),
        (values.utc_seconds, Decimal("0.5"), 0.5),
        (values.utc_seconds, date(1970, 1, 2), 86_400.0),
        (values.utc_seconds, datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0.0),
        (values.utc_seconds, "1969-12-31T23:59:59Z", -1.0),
        (values.utc_seconds, np.str_("1970-01-02"), 86_400.0),
        (values.utc_seconds, np.datetime64("1970-01-02"), 86_400.0),
        (values.utc_seconds, np.datetime64("1970-01-02", "ns"), 86_400.0),
        (values.utc_seconds, np.datetime64("1960"), datetime(1960, 1, 1, tzinfo=UTC).timestamp()),
        (values.utc_seconds, np.array("1970-01-02", "datetime64[10s]"), 86_400.0),
        (values.utc_seconds, pd.Timestamp("1970-01-02"), 86_400.0),
        (values.utc_seconds, pd.Timestamp("1970-01-01", tz="America/New_York"), 18_000.0),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_can_be_stored_becomes_pythons_own(
    check: Callable[[str, object], object], value: object, expected: object
) -> None:
    found = check("field", value)
    assert found == expected
    assert type(found) is type(expected)


MASKED = np.ma.array([1.0], mask=[True])


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (values.stored_text, ""),
        (values.stored_text, None),
        (values.stored_text, b"bytes"),
        (values.stored_text, np.bytes_(b"x")),
        (values.stored_text, "nul\0"),
        (values.stored_text, "\ud800"),
        (values.stored_text, np.str_("\ud800")),
        (values.stored_text, np.array(["x"])),
        (values.stored_text, np.ma.masked),
        (values.number, math.nan),
        (values.number, math.inf),
        (values.number, -math.inf),
        (values.number, True),
        (values.number, np.True_),
        (values.number, "1"),
        (values.number, 1j),
        (values.number, np.complex128(1)),
        (values.number, 10**400),
        (values.number, 10**5000),
        (values.number, Decimal("sNaN")),
        (values.number, np.array([1.0])),
        (values.number, np.ma.masked),
        (values.number, MASKED[:1]),
        (values.number, Tensor(RuntimeError("requires grad"))),
        (values.number, np.timedelta64(5, "s")),
        (values.amount, -1e-9),
        (values.amount, math.inf),
        (values.amount, math.nan),
        (values.amount, False),
        (values.amount, 10**400),
        (values.share, -1e-9),
        (values.share, 1.0000001),
        (values.share, math.nan),
        (values.share, True),
        (values.integer, -1),
        (values.integer, 2**63),
        (values.integer, np.uint64(2**63)),
        (values.integer, 1.0),
        (values.integer, np.float64(1)),
        (values.integer, True),
        (values.flag, 1),
        (values.flag, None),
        (values.flag, "true"),
        (values.utc_seconds, values.EARLIEST - 1),
        (values.utc_seconds, "5139-01-01"),
        (values.utc_seconds, datetime(9999, 1, 1)),
        (values.utc_seconds, math.nan),
        (values.utc_seconds, math.inf),
        (values.utc_seconds, 10**400),
        (values.utc_seconds, "not a date"),
        (values.utc_seconds, None),
        (values.utc_seconds, True),
        (values.utc_seconds, np.True_),
        (values.utc_seconds, pd.NaT),
        (values.utc_seconds, np.datetime64("NaT")),
        (values.utc_seconds, np.datetime64(10**17, "D")),
        (values.utc_seconds, np.ma.masked),
        (values.utc_seconds, [5.0]),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_cannot_is_refused_by_name(check: Callable[..., None], value: object) -> None:
    with pytest.raises(StorageError, match=r"^field: ") as caught:
        check("field", value)
    # It can be shown wherever text can.
    str(caught.value).encode()
    with pytest.raises(AccessError, match=r"^field: "):
        check("field", value, error=AccessError)


def test_text_may_be_empty_or_absent_only_where_that_is_said() -> None:
    assert values.stored_text("field", "", empty=True) == ""
    assert values.stored_text("field", None, optional=True) is None
    with pytest.raises(StorageError, match="empty"):
        values.stored_text("field", "", optional=True)
    with pytest.raises(StorageError, match="NoneType"):
        values.stored_text("field", None, empty=True)
    with pytest.raises(StorageError, match="field"):
        values.share("field", None, required=True)


@pytest.mark.parametrize("limit", [1, 10**9, None, np.int64(3)])
def test_a_limit_is_a_number_of_rows_or_none_for_all(limit: int | None) -> None:
    found = values.limit(limit)
    assert found == limit
    assert type(found) in (int, type(None))


def test_a_limit_beyond_every_database_is_none() -> None:
    assert values.limit(2**63) is None


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "1"])
def test_other_limits_are_refused(limit: Any) -> None:
    with pytest.raises(OptionError, match=r"^limit: "):
        values.limit(limit)


def test_texts_to_look_up_may_be_empty_and_are_read_once() -> None:
    assert values.texts("ids", iter(["", "a", "a"])) == ("", "a", "a")
    assert values.texts("ids", ()) == ()
    for several in (np.array(["a", "b"]), pd.Series(["a", "b"]), [Loud("a"), np.str_("b")]):
        found = values.texts("ids", several)
        assert found == ("a", "b")
        assert {type(each) for each in found} == {str}
    masked = np.ma.array(["a", "b"], mask=[False, True])
    for wrong in ("abc", b"abc", ["a", 5], ["nul\0"], ["\ud800"], [None], None, 5, masked):
        with pytest.raises(OptionError, match=r"^ids: "):
            values.texts("ids", wrong)  # type: ignore[arg-type]


def test_a_span_is_two_times_each_of_which_may_be_open() -> None:
    assert values.span(None, None) == (None, None)
    assert values.span(-5.0, None) == (-5.0, None)
    assert values.span("1970-01-02", 1.75e12) == (86_400.0, 1.75e9)
    assert values.span(5.0, 1.0) == (5.0, 1.0)
    with pytest.raises(OptionError, match=r"^since: "):
        values.span("soon", None)
    with pytest.raises(OptionError, match=r"^until: "):
        values.span(None, math.nan)
