"""What a gateway's requests come to: sums, means and percentiles by any of their dimensions, over any span.

Both backends sum up the same columns (:data:`SUMS`), each in its way; what follows from the sums is reckoned here.
Times are UTC seconds since 1970, money is USD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import OptionError
from tiny_dancer.names import did_you_mean
from tiny_dancer.storage import values
from tiny_dancer.storage.values import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Seconds.
DAY, HOUR = 86_400, 3_600
# What requests are told apart by, and the field of a record that says it; days and hours are of its time.
DIMENSIONS: Mapping[str, str] = {
    "day": "time",
    "hour": "time",
    "model": "model",
    "upstream": "upstream",
    "endpoint": "endpoint",
    "key": "key",
    "asked": "asked",
    "router": "router",
    "routed_by": "routed_by",
    "variant": "variant",
    "role": "role",
    "status": "status",
    "error": "error",
    "agent": "agent",
    "route": "route",
    "user": "user",
    "team": "team",
    "project": "project",
    "tag": "tags",
    "guarantee": "guarantee",
}
# Those that sums of removed requests are kept by: what has few values, as its operator sets them.
KEPT = (
    "day", "key", "model", "upstream", "endpoint", "router", "routed_by", "variant", "role", "status", "agent",
    "route", "team", "project",
)  # fmt: skip
PERCENTS = (50, 90, 95, 99)
# What is summed up of the requests of a group, in this order: means and shares follow from it.
SUMS = (
    "requests", "errors", "fallbacks", "attempts", "input_tokens", "output_tokens", "cached_tokens", "cost",
    "baseline_cost", "compared", "other_cost", "guessed", "guessed_cost", "unpriced", "uncosted", "latency",
    "ttft", "timed", "confidence", "decided", "feedback", "score", "guarded",
)  # fmt: skip
_AMOUNTS = frozenset({"cost", "baseline_cost", "other_cost", "guessed_cost"})
_MEANS = {"latency": "requests", "ttft": "timed", "confidence": "decided", "score": "feedback"}
# Of the normal distribution: 95 % lie within so many standard deviations.
_Z = 1.959963984540054

Group = tuple[str | None, ...]


def nearest_rank(count: int, percent: int) -> int:
    """Place, from 0, of a percentile in ``count`` >= 1 sorted values: the first that ``percent`` of them reach.

    In whole numbers: 0.07 * 100 is more than 7.
    """
    return max(-(-percent * count // 100) - 1, 0)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Values that a share of the requests do not exceed: the least value, among theirs, that at least so many of
    them reach (nearest rank), so each is the value of a request."""

    p50: float
    p90: float
    p95: float
    p99: float


def wilson(mean: float, count: int) -> tuple[float, float]:
    """Where the mean of values in [0, 1] lies, by Wilson's score interval (1927) at 95 %.

    Of values between 0 and 1 too: the variance of a value in [0, 1] is at most that of 0 and 1 with the same mean,
    so the interval is too wide rather than too narrow.

    Args:
        mean: of those seen.
        count: of those seen, 1 or more.
    """
    n, p = count, min(max(mean, 0.0), 1.0)
    scale = 1 + _Z**2 / n
    middle = (p + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """What the requests of one group come to, or all of them.

    Spend and baseline can only be compared over the same requests: ``cost`` and ``baseline_cost`` are both over
    those that have both, which ``compared`` counts.

    Attributes:
        group: one text a dimension, in the order asked: the UTC day (``2026-11-21``) or hour
            (``2026-11-21T13:00Z``), the field of the record; empty where it has none. None: retention has removed
            these requests, and what they were by this dimension is not kept.
        requests: all of them, each once, however often upstreams were tried.
        errors: those of status 400 or above, and answers that ended in an error.
        fallbacks: those that another model than the first tried served, or failed to.
        attempts: calls to upstreams, for all of them.
        input_tokens: of prompts, those cached included.
        output_tokens: of answers.
        cached_tokens: of prompts, read from an upstream's cache.
        cost: USD spent on the requests compared.
        baseline_cost: USD the strongest model would have cost for the same requests.
        compared: requests with a cost and a baseline.
        other_cost: USD spent on requests that have a cost and no baseline.
        guessed: requests whose tokens or cost are guessed, in part or as a whole.
        guessed_cost: USD of ``cost`` and ``other_cost`` that are guessed.
        unpriced: requests a model served that have no cost, or no baseline.
        uncosted: requests a model served that have no cost.
        latency: mean seconds from arrival to the last byte, failed requests included; None without requests.
        latency_percentiles: of the same; None without requests, or where they were not asked for.
        ttft: mean seconds to the first byte, over the requests that have it; None where none has.
        ttft_percentiles: of the same.
        timed: requests that have a time to the first byte.
        confidence: mean of the decisions', over the requests that have one; None where none has.
        decided: requests that have a confidence.
        feedback: requests there is feedback about, as a whole: under the id of their decision, or under their own
            where nothing was routed.
        score: its mean, or None without feedback.
        guarded: requests whose answer the certificate of their router covers.
        removed: of ``requests``, those whose rows retention has removed. What they came to is kept, by UTC day,
            and is in every figure; which values they had is not, so percentiles are None.
        unknown: requests that retention has removed and no figure counts, for nobody knows any more whether they
            belong here: the span begins or ends within their day, they had to pass a dimension that is not kept,
            or sums were not kept yet. Percentiles are None where there are any.
    """

    group: Group
    requests: int
    errors: int
    fallbacks: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    baseline_cost: float
    compared: int
    other_cost: float
    guessed: int
    guessed_cost: float
    unpriced: int
    uncosted: int
    latency: float | None
    latency_percentiles: Percentiles | None
    ttft: float | None
    ttft_percentiles: Percentiles | None
    timed: int
    confidence: float | None
    decided: int
    feedback: int
    score: float | None
    guarded: int
    removed: int
    unknown: int

    @property
    def success_rate(self) -> float | None:
        """Share of the requests without an error; None without requests."""
        return 1.0 - self.errors / self.requests if self.requests else None

    @property
    def guarded_share(self) -> float | None:
        """:attr:`guarded` as a share of the requests; None without requests."""
        return self.guarded / self.requests if self.requests else None

    @property
    def spent(self) -> float:
        """USD of all requests that have a cost."""
        return self.cost + self.other_cost

    @property
    def saved(self) -> float:
        """USD less than the strongest model would have cost; below 0 where routing cost more."""
        return self.baseline_cost - self.cost

    @property
    def saved_share(self) -> float | None:
        """:attr:`saved` as a share of the baseline; None where that is 0."""
        return self.saved / self.baseline_cost if self.baseline_cost else None

    @property
    def score_interval(self) -> tuple[float, float] | None:
        """Where the mean of the feedback lies, by :func:`wilson`; None without feedback."""
        if self.score is None:
            return None
        return wilson(self.score, self.feedback)


def figures(summary: RequestSummary) -> dict[str, float | None]:
    """Every figure of a summary by its name, in one fixed order: what is written as JSON, CSV and Parquet.

    Percentiles are ``latency_p50`` to ``ttft_p99``, the interval is ``score_low`` and ``score_high``.
    """
    low, high = summary.score_interval or (None, None)
    return {
        "requests": summary.requests,
        "errors": summary.errors,
        "success_rate": summary.success_rate,
        "fallbacks": summary.fallbacks,
        "attempts": summary.attempts,
        "input_tokens": summary.input_tokens,
        "output_tokens": summary.output_tokens,
        "cached_tokens": summary.cached_tokens,
        "spent": summary.spent,
        "cost": summary.cost,
        "baseline_cost": summary.baseline_cost,
        "saved": summary.saved,
        "saved_share": summary.saved_share,
        "compared": summary.compared,
        "other_cost": summary.other_cost,
        "unpriced": summary.unpriced,
        "uncosted": summary.uncosted,
        "guessed": summary.guessed,
        "guessed_cost": summary.guessed_cost,
        "latency": summary.latency,
        **_of_percentiles("latency", summary.latency_percentiles),
        "ttft": summary.ttft,
        **_of_percentiles("ttft", summary.ttft_percentiles),
        "timed": summary.timed,
        "confidence": summary.confidence,
        "decided": summary.decided,
        "feedback": summary.feedback,
        "score": summary.score,
        "score_low": low,
        "score_high": high,
        "guarded": summary.guarded,
        "guarded_share": summary.guarded_share,
        "removed": summary.removed,
        "unknown": summary.unknown,
    }


def _of_percentiles(name: str, found: Percentiles | None) -> dict[str, float | None]:
    values = (None,) * len(PERCENTS) if found is None else (found.p50, found.p90, found.p95, found.p99)
    return {f"{name}_p{percent}": value for percent, value in zip(PERCENTS, values, strict=True)}


@dataclass(frozen=True, slots=True)
class SummaryQuery:
    """What is to be summed up, checked.

    Attributes:
        by: dimensions, in order.
        since: UTC seconds, or None.
        until: UTC seconds, or None.
        where: values a dimension may have, as they are stored: days and hours since 1970, a status as a number.
        percentiles: whether they are wanted.
    """

    by: tuple[str, ...]
    since: float | None
    until: float | None
    where: Mapping[str, tuple[str | int, ...]]
    percentiles: bool

    @property
    def kept_where(self) -> dict[str, tuple[str | int, ...]]:
        """What removed requests can be asked for: of an hour its day."""
        found = {name: values for name, values in self.where.items() if name in KEPT}
        if "hour" in self.where:
            days = {int(hour) * HOUR // DAY for hour in self.where["hour"]}
            found["day"] = tuple(sorted(days.intersection(found["day"]) if "day" in found else days))
        return found

    @property
    def asks_more(self) -> bool:
        """Whether it asks for what is not known any more of removed requests."""
        return not set(KEPT).issuperset(self.where)


def check_summary(
    by: str | Iterable[str],
    since: object,
    until: object,
    where: Mapping[str, str | Iterable[str]] | None,
    percentiles: object,
) -> SummaryQuery:
    """What to sum up, by what, and over which span of time.

    Raises:
        OptionError: one of them is not what it should be.
    """
    listed = (by,) if isinstance(plain(by), str) else values.texts("by", by)
    names = tuple(_dimension("by", each) for each in listed)
    if len(set(names)) != len(names):
        raise OptionError("by", ", ".join(names), "name a dimension once")
    start, end = values.span(since, until)
    if start is not None and end is not None and start > end:
        raise OptionError("since", since, f"give a time before until, which is {until}")
    if where is None:
        where = {}
    if not isinstance(where, Mapping):
        raise OptionError("where", type(where).__name__, "give values by dimension, such as {'model': 'gpt-4o'}")
    wanted: dict[str, tuple[str | int, ...]] = {}
    for name, value in where.items():
        name = _dimension("where", name)
        texts = (value,) if isinstance(plain(value), str) else values.texts(f"where[{name}]", value)
        wanted[name] = tuple(stored_value(name, plain(each)) for each in texts)  # type: ignore[arg-type]
    return SummaryQuery(names, start, end, wanted, values.flag("percentiles", percentiles, error=OptionError))


def _dimension(field: str, name: object) -> str:
    found = values.stored_text(field, name, empty=True, error=OptionError)
    if found not in DIMENSIONS:
        raise OptionError(field, found, did_you_mean(found, DIMENSIONS, "dimensions"))
    return found


def stored_value(dimension: str, text: str) -> str | int:
    """A value of a dimension as rows have it.

    Raises:
        OptionError: it is no value of the dimension.
    """
    if dimension == "status":
        if not (text.isascii() and text.isdecimal() and len(text) == 3):
            raise OptionError("where[status]", text, "give a status of HTTP, such as 200")
        return int(text)
    if dimension in _SPANS:
        length, form = _SPANS[dimension]
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise OptionError(f"where[{dimension}]", text, f"give one in UTC, such as {form}") from None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = int(moment.timestamp())
        if seconds % length:
            raise OptionError(f"where[{dimension}]", text, f"give one in UTC, such as {form}")
        return seconds // length
    return values.storable(text)


_SPANS = {"day": (DAY, "2026-11-21"), "hour": (HOUR, "2026-11-21T13:00Z")}


def shown_value(dimension: str, value: str | int | None) -> str | None:
    """A value of a dimension as text."""
    if value is None or isinstance(value, str):
        return value
    if dimension not in _SPANS:
        return str(value)
    moment = datetime.fromtimestamp(value * _SPANS[dimension][0], UTC)
    return moment.strftime("%Y-%m-%d" if dimension == "day" else "%Y-%m-%dT%H:00Z")


@dataclass(slots=True)
class Sums:
    """What one group comes to: of rows that are there, and of removed ones.

    Attributes:
        values: in the order of :data:`SUMS`, over both.
        removed: how many of its requests are gone.
        unknown: as :attr:`RequestSummary.unknown`.
    """

    values: list[float]
    removed: int = 0
    unknown: int = 0


Value = str | int | None


def of_removed(groups: dict[tuple[Value, ...], Sums], group: tuple[Value, ...], sums: Sequence[float]) -> None:
    """Adds to a group what removed requests came to."""
    found = groups.setdefault(group, Sums([0.0] * len(SUMS)))
    found.values = [before + more for before, more in zip(found.values, sums, strict=True)]
    found.removed += int(sums[0])


def add_removed(
    query: SummaryQuery, groups: dict[tuple[Value, ...], Sums], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Adds what removed requests came to that a database has kept: of each row whether all of its requests are
    known to be asked for, the group, the sums."""
    for counted, *found in rows:
        group, sums = tuple(found[: len(query.by)]), found[len(query.by) :]
        if counted:
            of_removed(groups, group, sums)
        else:
            groups.setdefault(group, Sums([0.0] * len(SUMS))).unknown += int(sums[0])


def summaries(
    query: SummaryQuery,
    groups: Mapping[tuple[Value, ...], Sums],
    latencies: Mapping[tuple[Value, ...], Percentiles],
    first_bytes: Mapping[tuple[Value, ...], Percentiles],
) -> tuple[RequestSummary, ...]:
    """Of sums and percentiles by group, in the order of the groups; what is None comes first."""
    ordered = sorted(groups, key=lambda group: [(value is not None, value) for value in group])
    return tuple(
        _summed(query, group, groups[group], latencies.get(group), first_bytes.get(group)) for group in ordered
    )


def _summed(
    query: SummaryQuery,
    group: Sequence[Value],
    sums: Sums,
    latencies: Percentiles | None,
    first_bytes: Percentiles | None,
) -> RequestSummary:
    fields: dict[str, Any] = {}
    by_name = dict(zip(SUMS, sums.values, strict=True))
    for name, value in by_name.items():
        if name in _MEANS:
            count = by_name[_MEANS[name]]
            fields[name] = value / count if count else None
        else:
            fields[name] = float(value) if name in _AMOUNTS else int(value)
    whole = not sums.removed and not sums.unknown
    return RequestSummary(
        group=tuple(shown_value(name, value) for name, value in zip(query.by, group, strict=True)),
        latency_percentiles=latencies if whole else None,
        ttft_percentiles=first_bytes if whole else None,
        removed=sums.removed,
        unknown=sums.unknown,
        **fields,
    )


# What no requests come to.
EMPTY = _summed(SummaryQuery((), None, None, {}, percentiles=False), (), Sums([0.0] * len(SUMS)), None, None)
