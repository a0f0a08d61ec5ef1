"""Filters and spans of time as SQL conditions. Values are bound, never written into the statement."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage.metadata import decoded, terms

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from tiny_dancer.storage.candidates import Filter
    from tiny_dancer.storage.history import HistoryQuery

Values = list[str | float | None]


def as_json(texts: Iterable[str]) -> str:
    """A list of texts as one value, for json_each."""
    return msgspec.json.encode(list(texts)).decode()


def add_functions(connection: apsw.Connection) -> None:
    """Teaches a connection how metadata is compared: by the texts that stand for it, as everywhere."""
    connection.create_scalar_function("metadata_is", _metadata_is, 3, deterministic=True)
    connection.create_scalar_function("metadata_has", _metadata_has, 2, deterministic=True)


def _metadata_is(*values: Any) -> bool:
    metadata, key, choices = values
    texts = terms(decoded(metadata)).get(key, ())
    return bool(texts) and not _choices(choices).isdisjoint(texts)


def _metadata_has(*values: Any) -> bool:
    metadata, key = values
    return key in terms(decoded(metadata))


@lru_cache(64)
def _choices(listed: str) -> frozenset[str]:
    return frozenset(msgspec.json.decode(listed))


def of_filter(filter: Filter | None) -> tuple[str, Values]:
    """The condition on table ``candidate``, and its values."""
    parts: list[str] = []
    values: Values = []

    def add(part: str, *bound: str | float) -> None:
        parts.append(part)
        values.extend(bound)

    if filter is not None:
        for key, value in filter.equals.items():
            add("metadata_is(candidate.metadata, ?, ?)", key, as_json([] if value is None else [value]))
        for key, choices in filter.any_of.items():
            add("metadata_is(candidate.metadata, ?, ?)", key, as_json(choices))
        for key in filter.has:
            add("metadata_has(candidate.metadata, ?)", key)
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
