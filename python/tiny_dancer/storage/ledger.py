"""The ledger of a gateway: its requests, what they cost and saved, and what storage does with them.

A request is a :class:`tiny_dancer.types.RequestRecord`. Times are UTC seconds since 1970, money is USD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import values
from tiny_dancer.storage.keys import Spend
from tiny_dancer.storage.summaries import DAY
from tiny_dancer.storage.values import INTEGERS, LATEST, plain
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tiny_dancer.storage.calibration import Calibration
    from tiny_dancer.storage.summaries import RequestSummary

# Tokens of one request: no model takes so many, and sums of millions of them stay within 64 bits.
MOST_TOKENS = 2**40

_TEXTS = (
    "id", "endpoint", "key", "asked", "model", "upstream", "response_id", "decision_id", "router", "routed_by",
    "reason", "role", "session", "error", "query_hash", "query_text", "artifact_version", "variant",
    "tool_selection", "hops", "user", "team", "project", "agent", "route",
    "guarantee",
)  # fmt: skip
_MAY_BE_NONE = frozenset({"response_id", "decision_id", "query_hash", "query_text"})
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens")
_WHOLE = (
    "status", "level", "attempts", "fallbacks", "tools_before", "tools_sent", "tool_tokens_saved", "tool_searches",
)  # fmt: skip
_AMOUNTS = ("cost", "baseline_cost")
_NUMBERS = ("confidence", "ttft")
_NO_END = 10**9  # days since 1970


LISTS = ("tags", "agents_failed")
"""Fields that are lists of texts."""


def fitting(record: RequestRecord) -> RequestRecord:
    """The record as every database can hold it: the account of a request must not fail for what a client sent.

    Characters no database holds (NUL, lone surrogates) become U+FFFD, tokens outside [0, 2**40] the nearest in it,
    costs below 0 become 0, numbers that are not finite None, or 0 where there must be one. Texts and numbers of
    numpy become Python's own.
    """
    changes: dict[str, Any] = {}
    for field in _TEXTS:
        changes[field] = _text(getattr(record, field), optional=field in _MAY_BE_NONE)
    for field in _COUNTS:
        changes[field] = _whole(getattr(record, field), 0, MOST_TOKENS)
    for field in _WHOLE:
        changes[field] = _whole(getattr(record, field), -INTEGERS, INTEGERS - 1)
    for field in (*_AMOUNTS, *_NUMBERS):
        number = _finite(getattr(record, field))
        changes[field] = max(number, 0.0) if number is not None and field in _AMOUNTS else number
    for field in ("stream", "guessed"):
        found = plain(getattr(record, field))
        changes[field] = found is True or bool(_finite(found))
    changes["guessed_cost"] = max(_finite(record.guessed_cost) or 0.0, 0.0)
    changes["latency"] = _finite(record.latency) or 0.0
    changes["time"] = min(max(_finite(record.time) or 0.0, 0.0), LATEST)
    if record.scores is not None:
        changes["scores"] = _scores(record.scores)
    for field in LISTS:
        changes[field] = _list(getattr(record, field))
    changes["removed"] = _words(record.removed)
    return msgspec.structs.replace(record, **changes)


def fits(record: RequestRecord) -> bool:
    """Whether :func:`fitting` would leave the record as it is, columns with limits of their own aside.

    Quick, for it is asked of every request: which types its fields have decides most of it, and is remembered.
    """
    row = msgspec.structs.astuple(record)
    types = tuple(map(type, row))
    texts = _KNOWN_TYPES.get(types) or _learn(types)
    return (
        texts is not None
        and "\0" not in "".join(texts(row))
        and 0.0 <= record.time <= LATEST
        and -math.inf < record.latency < math.inf
        and (record.confidence is None or -math.inf < record.confidence < math.inf)
        and (record.ttft is None or -math.inf < record.ttft < math.inf)
        and (
            record.scores is None
            or ({float}.issuperset(map(type, record.scores.values())) and "\0" not in "".join(record.scores))
        )
        and (not record.tags or _is_list(record.tags))
        and (not record.agents_failed or _is_list(record.agents_failed))
        and (not record.removed or (_is_list(tuple(record.removed)) and _is_list(tuple(record.removed.values()))))
    )


_NONE = type(None)
_TYPES: dict[str, set[type]] = {
    **{field: {str, _NONE} if field in _MAY_BE_NONE else {str} for field in _TEXTS},
    **{field: {int} for field in (*_COUNTS, *_WHOLE)},
    **{field: {int, float, _NONE} for field in (*_AMOUNTS, *_NUMBERS)},
    **{field: {int, float} for field in ("time", "latency", "guessed_cost")},
    **{field: {bool} for field in ("stream", "guessed")},
    "scores": {dict, _NONE},
    **{field: {tuple} for field in LISTS},
    "removed": {dict},
}
# By the types of a record's fields: what takes the texts out of its values.
_KNOWN_TYPES: dict[tuple[type, ...], Callable[[tuple[Any, ...]], tuple[str, ...]]] = {}


def _learn(types: tuple[type, ...]) -> Callable[[tuple[Any, ...]], tuple[str, ...]] | None:
    fields = RequestRecord.__struct_fields__
    if not all(kind in _TYPES[field] for field, kind in zip(fields, types, strict=True)):
        return None
    getter = itemgetter(*[place for place, kind in enumerate(types) if kind is str])
    return _KNOWN_TYPES.setdefault(types, getter)


def _text(value: object, *, optional: bool) -> str | None:
    value = plain(value)
    if value is None:
        return None if optional else ""
    return values.storable(value if isinstance(value, str) else repr(value))


def _whole(value: object, least: int, most: int) -> int:
    number = plain(value)
    if not isinstance(number, int):
        number = int(_finite(number) or 0.0)
    return min(max(int(number), least), most)


def _finite(value: object) -> float | None:
    """None where it is no finite number."""
    number = values.as_number(value)
    return number if math.isfinite(number) else None


def _scores(scores: object) -> dict[str, float] | None:
    """NaN stays: it says that a model has no score."""
    if not isinstance(scores, Mapping):
        return None
    found = {values.storable(str(plain(name))): _finite(score) for name, score in scores.items()}
    return {name: math.nan if score is None else score for name, score in found.items()}


def _is_list(texts: tuple[str, ...]) -> bool:
    return {str}.issuperset(map(type, texts)) and "\0" not in "".join(texts)


def _list(tags: object) -> tuple[str, ...]:
    if not isinstance(tags, (tuple, list)):
        return ()
    return tuple(values.storable(found if isinstance(found := plain(each), str) else repr(found)) for each in tags)


def _words(removed: object) -> dict[str, str]:
    if not isinstance(removed, Mapping):
        return {}
    return {_text(name, optional=False) or "": _text(word, optional=False) or "" for name, word in removed.items()}


def check_requests(records: Iterable[RequestRecord]) -> tuple[RequestRecord, ...]:
    """Requests to be kept.

    Raises:
        StorageError: something else is among them.
    """
    try:
        listed = tuple(records)
    except TypeError:
        raise StorageError("records", type(records).__name__, "give a list of RequestRecord") from None
    for place, record in enumerate(listed):
        if not isinstance(record, RequestRecord):
            raise StorageError(f"records[{place}]", type(record).__name__, "give a RequestRecord")
    return listed


class RequestStorage(Protocol):
    """Keeps a gateway's requests. Safe to use from many threads.

    A write is durable when it returns: it survives the end of the process, and in a file also a loss of power.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway, all or none; of one id and time the first stays.

        What cannot be is replaced rather than refused, for it comes from clients and upstreams: NUL and lone
        surrogates by U+FFFD, tokens outside [0, 2**40] by the nearest in it, costs below 0 by 0, numbers that are
        not finite by None, or 0 where there must be one.
        """
        ...

    def request_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_id: str | None = None,
        response_id: str | None = None,
        request_id: str | None = None,
        key: str | None = None,
        limit: int | None = 10_000,
    ) -> tuple[RequestRecord, ...]:
        """Requests with ``since <= time < until`` and the ids given, newest first."""
        ...

    def request_summary(
        self,
        *,
        by: str | Iterable[str] = (),
        since: float | None = None,
        until: float | None = None,
        where: Mapping[str, str | Iterable[str]] | None = None,
        percentiles: bool = True,
    ) -> tuple[RequestSummary, ...]:
        """Requests with ``since <= time < until`` summed up, in the order of the groups.

        Args:
            by: dimensions, of :data:`DIMENSIONS`, each group having one value of each; none: all requests are one
                group.
            since: UTC seconds, or a time in another form; None: from the first on.
            until: the same; None: to the last.
            where: by dimension, the value that a request must have, or several of which it must have one.
            percentiles: they take longer than all the rest: leave them out where nobody looks at them.

        Returns:
            A summary a group that has requests, so none where there are no requests at all.

        Raises:
            OptionError: a dimension that there is not (the nearest is named), or named twice; a value that a
                dimension cannot have; ``since`` after ``until``.
        """
        ...

    def request_calibration(self, *, since: float | None = None, until: float | None = None) -> Calibration:
        """Requests with ``since <= time < until`` by the quality expected of their model and by confidence, beside
        the scores of the feedback about them.
        """
        ...


def check_span(since: float, until: float | None) -> tuple[float, float | None]:
    """A span of time that has a beginning.

    Raises:
        OptionError: an end is no time.
    """
    return values.utc_seconds("since", since, error=OptionError), values.span(None, until)[1]


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """What requests are asked for, checked: a span of time, fields and the text each must have, and how many."""

    since: float | None
    until: float | None
    wanted: Mapping[str, str]
    limit: int | None


def check_request_history(
    since: float | None, until: float | None, wanted: Mapping[str, str | None], limit: int | None
) -> RequestQuery:
    """What requests are looked for by: fields of a record and the text each must have, None for any.

    Raises:
        OptionError: one of the arguments is not what it should be.
    """
    texts = {}
    for field, value in wanted.items():
        text = plain(value)
        if text is None:
            continue
        if not isinstance(text, str):
            raise OptionError(field, type(value).__name__, "give text")
        # As it would be stored.
        texts[field] = values.storable(text)
    return RequestQuery(*values.span(since, until), texts, values.limit(limit))


def days_and_parts(since: float, until: float | None) -> tuple[tuple[int, int], list[tuple[float, float]]]:
    """A span of time as whole UTC days, the first and the one after the last, and what is left beside them."""
    first = math.ceil(since / DAY)
    last = _NO_END if until is None else math.floor(until / DAY)
    if last < first:
        return (first, first), [] if until is None else [(since, until)]
    ends = [(since, float(first * DAY)), (float(last * DAY), float(last * DAY) if until is None else until)]
    return (first, last), [(start, end) for start, end in ends if start < end]


def by_key(rows: Iterable[tuple[str, str, float, int, int]]) -> dict[str, Spend]:
    """Sums by key of rows by key and model: cost, tokens, requests."""
    found: dict[str, tuple[float, int, int, dict[str, float]]] = {}
    for key, model, cost, tokens, requests in rows:
        before = found.get(key, (0.0, 0, 0, {}))
        models = before[3]
        if cost:
            models[model] = models.get(model, 0.0) + cost
        found[key] = (before[0] + cost, before[1] + tokens, before[2] + requests, models)
    return {key: Spend(*sums) for key, sums in found.items()}
