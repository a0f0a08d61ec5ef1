"""Spans of time as SQL conditions. Values are bound, never written into the statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiny_dancer.storage.history import HistoryQuery


def of_time(since: float | None, until: float | None, column: str = "time") -> tuple[str, list[Any]]:
    """The condition ``since <= time < until``, and its values."""
    parts: list[str] = []
    values: list[Any] = []
    for part, value in ((f"{column} >= %s", since), (f"{column} < %s", until)):
        if value is not None:
            parts.append(part)
            values.append(value)
    return " AND ".join(parts) or "TRUE", values


def of_history(query: HistoryQuery) -> tuple[str, list[Any]]:
    """The condition of a history, and its values; the last of them is the limit."""
    condition, values = of_time(query.since, query.until)
    if query.kind is not None:
        condition += " AND kind = %s"
        values.append(query.kind)
    if query.decision_ids is not None:
        condition += " AND decision_id = ANY (%s::text[])"
        values.append(list(query.decision_ids))
    return condition, [*values, query.limit]
