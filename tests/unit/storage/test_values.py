"""Checks of plain values: what passes, what is refused, by which error, at each bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer.errors import AccessError, OptionError, StorageError
from tiny_dancer.storage import values

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (values.stored_text, "text"),
        (values.stored_text, "two\nlines"),
        (values.stored_text, "ä☃😀"),
        (values.number, -1.5),
        (values.number, 0),
        (values.amount, 0),
        (values.amount, 1e300),
        (values.share, 0),
        (values.share, 1),
        (values.share, None),
        (values.integer, 0),
        (values.integer, 2**63 - 1),
        (values.utc_seconds, 0),
        (values.utc_seconds, 1e11),
    ],
    ids=repr,
)
def test_what_can_be_stored_passes(check: Callable[[str, object], None], value: object) -> None:
    check("field", value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (values.stored_text, ""),
        (values.stored_text, None),
        (values.stored_text, b"bytes"),
        (values.stored_text, "nul\0"),
        (values.stored_text, "\ud800"),
        (values.number, math.nan),
        (values.number, math.inf),
        (values.number, -math.inf),
        (values.number, True),
        (values.number, "1"),
        (values.amount, -1e-9),
        (values.amount, math.inf),
        (values.amount, math.nan),
        (values.amount, False),
        (values.share, -1e-9),
        (values.share, 1.0000001),
        (values.share, math.nan),
        (values.share, True),
        (values.integer, -1),
        (values.integer, 2**63),
        (values.integer, 1.0),
        (values.integer, True),
        (values.utc_seconds, -1e-9),
        (values.utc_seconds, 1e11 + 1),
        (values.utc_seconds, math.nan),
        (values.utc_seconds, None),
        (values.utc_seconds, True),
    ],
    ids=repr,
)
def test_what_cannot_is_refused_by_name(check: Callable[..., None], value: object) -> None:
    with pytest.raises(StorageError, match=r"^field: "):
        check("field", value)
    if check is not values.number:
        with pytest.raises(AccessError, match=r"^field: "):
            check("field", value, error=AccessError)


def test_text_may_be_empty_or_absent_only_where_that_is_said() -> None:
    values.stored_text("field", "", empty=True)
    values.stored_text("field", None, optional=True)
    with pytest.raises(StorageError, match="empty"):
        values.stored_text("field", "", optional=True)
    with pytest.raises(StorageError, match="NoneType"):
        values.stored_text("field", None, empty=True)
    with pytest.raises(StorageError, match="field"):
        values.share("field", None, required=True)


@pytest.mark.parametrize("limit", [1, 10**9, None])
def test_a_limit_is_a_number_of_rows_or_none_for_all(limit: int | None) -> None:
    values.limit(limit)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "1"])
def test_other_limits_are_refused(limit: Any) -> None:
    with pytest.raises(OptionError, match=r"^limit: "):
        values.limit(limit)


def test_texts_to_look_up_may_be_empty_and_are_read_once() -> None:
    assert values.texts("ids", iter(["", "a", "a"])) == ("", "a", "a")
    assert values.texts("ids", ()) == ()
    for wrong in ("abc", ["a", 5], ["nul\0"], ["\ud800"], [None]):
        with pytest.raises(OptionError, match=r"^ids: "):
            values.texts("ids", wrong)  # type: ignore[arg-type]


def test_a_span_is_two_times_each_of_which_may_be_open() -> None:
    for since, until in ((None, None), (0.0, None), (None, 1e11), (5.0, 1.0)):
        values.span(since, until)
    with pytest.raises(OptionError, match=r"^since: "):
        values.span(-1.0, None)
    with pytest.raises(OptionError, match=r"^until: "):
        values.span(None, 1.75e12)
