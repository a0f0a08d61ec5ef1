"""Rows with a time in a dictionary, in the order they were stored: how they are looked through and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class _Timed(Protocol):
    @property
    def time(self) -> float: ...


Key = TypeVar("Key")
Row = TypeVar("Row", bound=_Timed)


def within(row: _Timed, since: float | None, until: float | None) -> bool:
    """Whether ``since <= time < until``; None leaves an end open."""
    return (since is None or row.time >= since) and (until is None or row.time < until)


def newest(
    rows: dict[Key, Row],
    since: float | None,
    until: float | None,
    passes: Callable[[Row], bool],
    limit: int | None,
) -> tuple[Row, ...]:
    """Rows of a span of time that pass, newest first; of one time, the one stored later comes first."""
    # Sorting is stable, so those keep the order they are listed in.
    found = [row for row in reversed(rows.values()) if within(row, since, until) and passes(row)]
    return tuple(sorted(found, key=lambda row: row.time, reverse=True)[:limit])


def retain(rows: dict[Key, Row], oldest: float | None, most: int | None) -> list[Row]:
    """Removes rows before ``oldest`` and those beyond the ``most`` newest; returns them."""
    later_first = reversed(rows.items())
    newest = sorted(later_first, key=lambda item: item[1].time, reverse=True)
    gone = [
        key
        for place, (key, row) in enumerate(newest)
        if (most is not None and place >= most) or (oldest is not None and row.time < oldest)
    ]
    return [rows.pop(key) for key in gone]
