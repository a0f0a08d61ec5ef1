"""Filters and spans of time as SQL conditions. Values are bound, never written into the statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.storage.candidates import Filter

Values = list[str | float | None]


def as_json(texts: Iterable[str]) -> str:
    """A list of texts as one value, for json_each."""
    return msgspec.json.encode(list(texts)).decode()


def of_filter(filter: Filter | None) -> tuple[str, Values]:
    """The condition on table ``candidate``, and its values."""
    parts: list[str] = []
    values: Values = []

    def add(part: str, *bound: str | float) -> None:
        parts.append(part)
        values.extend(bound)

    if filter is not None:
        of_key = "EXISTS (SELECT 1 FROM json_each(candidate.metadata) AS pair WHERE pair.key = ?"
        for key, value in filter.equals.items():
            add(f"{of_key} AND pair.value = ?)", key, value)
        for key, choices in filter.any_of.items():
            add(f"{of_key} AND pair.value IN (SELECT value FROM json_each(?)))", key, as_json(choices))
        for key in filter.has:
            add(f"{of_key})", key)
        if filter.ids is not None:
            add("candidate.id IN (SELECT value FROM json_each(?))", as_json(filter.ids))
        if filter.groups is not None:
            add("candidate.session IN (SELECT value FROM json_each(?))", as_json(filter.groups))
        if filter.created_from is not None:
            add("candidate.created_at >= ?", filter.created_from)
        if filter.created_before is not None:
            add("candidate.created_at < ?", filter.created_before)
        if filter.min_success_rate is not None:
            # A division by no trials is NULL, which does not pass.
            add("candidate.success_count / candidate.trial_count >= ?", filter.min_success_rate)
        if filter.min_trials:
            add("candidate.trial_count >= ?", filter.min_trials)
        if filter.min_confidence is not None:
            add("candidate.confidence >= ?", filter.min_confidence)
    return " AND ".join(parts) or "TRUE", values


def of_time(since: float | None, until: float | None, column: str = "time") -> tuple[str, Values]:
    """The condition ``since <= time < until``, and its values."""
    parts: list[str] = []
    values: Values = []
    for part, value in ((f"{column} >= ?", since), (f"{column} < ?", until)):
        if value is not None:
            parts.append(part)
            values.append(value)
    return " AND ".join(parts) or "TRUE", values


def of_history(since: float | None, until: float | None, decision_ids: Iterable[str] | None) -> tuple[str, Values]:
    """The condition of a history: a span of time, and decisions where given."""
    condition, values = of_time(since, until)
    if decision_ids is not None:
        condition += " AND decision_id IN (SELECT value FROM json_each(?))"
        values.append(as_json(decision_ids))
    return condition, values
