"""Requests of a gateway: made to fit a database, kept in memory, summed up."""

from __future__ import annotations

import math
import struct
import zlib
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.errors import OptionError
from tiny_dancer.storage import check
from tiny_dancer.storage.check import LATEST
from tiny_dancer.storage.records_gateway import RequestSummary, Spend, SummaryBy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiny_dancer.types import RequestRecord

# Seconds.
DAY = 86_400
GROUPS = ("day", "model", "key", "route", "all")
# Tokens of one request: no model takes so many, and sums of millions of them stay within 64 bits.
MOST_TOKENS = 2**40

_TEXTS = (
    "id", "endpoint", "key", "asked", "model", "upstream", "response_id", "decision_id", "router", "routed_by",
    "reason", "role", "session", "error", "query_hash", "query_text",
)  # fmt: skip
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens")
_AMOUNTS = ("cost", "baseline_cost")
_NUMBERS = ("confidence", "ttft")


def fitting(record: RequestRecord) -> RequestRecord:
    """The record as every database can hold it: the account of a request must not fail for what a client sent.

    Characters no database holds (NUL, lone surrogates) become U+FFFD, tokens outside [0, 2**40] the nearest in it,
    costs below 0 become 0, numbers that are not finite None, or 0 where there must be one.
    """
    changes: dict[str, Any] = {}
    for field in _TEXTS:
        text = getattr(record, field)
        if text is not None:
            changes[field] = _storable(text)
    for field in _COUNTS:
        changes[field] = min(max(int(getattr(record, field)), 0), MOST_TOKENS)
    for field in (*_AMOUNTS, *_NUMBERS):
        value = getattr(record, field)
        if value is not None and not math.isfinite(value):
            changes[field] = None
        elif value is not None and field in _AMOUNTS:
            changes[field] = max(value, 0.0)
    changes["latency"] = record.latency if math.isfinite(record.latency) else 0.0
    changes["time"] = min(max(record.time, 0.0), LATEST) if math.isfinite(record.time) else 0.0
    return msgspec.structs.replace(record, **changes)


def hashed_ids(records: Iterable[RequestRecord]) -> bytes:
    """CRC-32 of every id, response id and decision id that is there, 4 bytes each, little-endian."""
    crc = zlib.crc32
    hashes = [
        crc(id.encode())
        for record in records
        for id in (record.id, record.response_id, record.decision_id)
        if id is not None
    ]
    return struct.pack(f"<{len(hashes)}I", *hashes)


def check_summary(by: SummaryBy, since: float | None, until: float | None) -> None:
    """Raises OptionError where what to sum up by, or a time, is none."""
    if by not in GROUPS:
        raise OptionError("by", by, f"use one of {', '.join(GROUPS)}")
    check.history(since, until, None, None)


def check_history(
    since: float | None, until: float | None, wanted: Mapping[str, str | None], limit: int | None
) -> dict[str, str]:
    """What requests are looked for by: fields of a record and the text each must have.

    Returns:
        Those that are not None, as they would be stored.

    Raises:
        OptionError: one of the arguments is not what it should be.
    """
    check.history(since, until, None, limit)
    for field, value in wanted.items():
        if value is not None and not isinstance(value, str):
            raise OptionError(field, type(value).__name__, "give text")
    return {field: _storable(value) for field, value in wanted.items() if value is not None}


def _storable(text: str) -> str:
    if text.isprintable():
        return text
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    # By way of UTF-16, where only a surrogate that stands alone is an error.
    return clean.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class RequestRows:
    """Requests in memory. Not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[float, str], RequestRecord] = {}
        self._spend: dict[tuple[int, str], Spend] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Adds requests; of one id and time the first stays."""
        for record in map(fitting, records):
            if self._rows.setdefault((record.time, record.id), record) is record:
                day = (int(record.time // DAY), record.key)
                self._spend[day] = _spent(self._spend.get(day), record)

    def history(
        self,
        since: float | None,
        until: float | None,
        wanted: Mapping[str, str],
        limit: int | None,
    ) -> tuple[RequestRecord, ...]:
        """Requests, newest first."""
        found = [
            row
            for row in reversed(self._rows.values())
            if _within(row.time, since, until)
            and all(getattr(row, field) == text for field, text in wanted.items())
        ]
        return tuple(sorted(found, key=lambda row: row.time, reverse=True)[:limit])

    def spend(self, since: float) -> dict[str, Spend]:
        """What each key has used: whole days from their sums, the rest of the first day from its requests."""
        first = math.ceil(since / DAY)
        found: dict[str, Spend] = {}
        for (day, key), spent in self._spend.items():
            if day >= first:
                before = found.get(key, _NOTHING)
                found[key] = Spend(
                    before.cost + spent.cost, before.tokens + spent.tokens, before.requests + spent.requests
                )
        for row in self._rows.values():
            if since <= row.time < first * DAY:
                found[row.key] = _spent(found.get(row.key), row)
        return found

    def summary(
        self,
        by: SummaryBy,
        since: float | None,
        until: float | None,
        scores: Mapping[str, float],
    ) -> tuple[RequestSummary, ...]:
        """Sums by group, in its order; ``scores``: of the feedback, by decision."""
        groups: defaultdict[str, list[RequestRecord]] = defaultdict(list)
        for row in self._rows.values():
            if _within(row.time, since, until):
                groups[_group(row, by)].append(row)
        return tuple(_summed(group, groups[group], scores) for group in sorted(groups))

    def retain(self, oldest: float | None, most: int | None) -> int:
        """Removes rows before ``oldest`` and those beyond the ``most`` newest; returns how many."""
        later_first = reversed(self._rows.values())
        newest = sorted(later_first, key=lambda row: row.time, reverse=True)
        gone = [
            (row.time, row.id)
            for place, row in enumerate(newest)
            if (most is not None and place >= most) or (oldest is not None and row.time < oldest)
        ]
        for key in gone:
            del self._rows[key]
        return len(gone)


_NOTHING = Spend(0.0, 0, 0)


def _spent(before: Spend | None, record: RequestRecord) -> Spend:
    before = before or _NOTHING
    tokens = record.input_tokens + record.output_tokens
    return Spend(before.cost + (record.cost or 0.0), before.tokens + tokens, before.requests + 1)


def _within(time: float, since: float | None, until: float | None) -> bool:
    return (since is None or time >= since) and (until is None or time < until)


def _group(record: RequestRecord, by: SummaryBy) -> str:
    if by == "day":
        return datetime.fromtimestamp(record.time, UTC).strftime("%Y-%m-%d")
    if by == "route":
        return f"{record.router}/{record.routed_by}" if record.router else record.routed_by
    if by == "all":
        return ""
    return record.model if by == "model" else record.key


def _summed(group: str, rows: Sequence[RequestRecord], scores: Mapping[str, float]) -> RequestSummary:
    costs = [(row.cost, row.baseline_cost) for row in rows if row.cost is not None]
    both = [(cost, baseline) for cost, baseline in costs if baseline is not None]
    served = [row for row in rows if row.model and (row.status < 400 or row.status == 499)]
    first_bytes = [row.ttft for row in rows if row.ttft is not None]
    told = [scores[id] for row in rows if (id := row.id if row.decision_id is None else row.decision_id) in scores]
    return RequestSummary(
        group=group,
        requests=len(rows),
        errors=sum(row.status >= 400 for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        cost=math.fsum(cost for cost, _ in both),
        baseline_cost=math.fsum(baseline for _, baseline in both),
        compared=len(both),
        other_cost=math.fsum(cost for cost, baseline in costs if baseline is None),
        unpriced=sum(row.cost is None or row.baseline_cost is None for row in served),
        latency=math.fsum(row.latency for row in rows) / len(rows),
        ttft=math.fsum(first_bytes) / len(first_bytes) if first_bytes else None,
        feedback=len(told),
        score=math.fsum(told) / len(told) if told else None,
    )
