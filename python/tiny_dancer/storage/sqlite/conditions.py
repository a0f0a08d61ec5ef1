"""Spans of time as SQL conditions. Values are bound, never written into the statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.storage.history import HistoryQuery

Values = list[str | float | None]


def as_json(texts: Iterable[str]) -> str:
    """A list of texts as one value, for json_each."""
    return msgspec.json.encode(list(texts)).decode()


def of_time(since: float | None, until: float | None, column: str = "time") -> tuple[str, Values]:
    """The condition ``since <= time < until``, and its values."""
    parts: list[str] = []
    values: Values = []
    for part, value in ((f"{column} >= ?", since), (f"{column} < ?", until)):
        if value is not None:
            parts.append(part)
            values.append(value)
    return " AND ".join(parts) or "TRUE", values


def of_history(query: HistoryQuery) -> tuple[str, Values]:
    """The condition of a history, and its values; the last of them is the limit."""
    condition, values = of_time(query.since, query.until)
    if query.kind is not None:
        condition += " AND kind = ?"
        values.append(query.kind)
    if query.decision_ids is not None:
        condition += " AND decision_id IN (SELECT value FROM json_each(?))"
        values.append(as_json(query.decision_ids))
    return condition, [*values, -1 if query.limit is None else query.limit]
