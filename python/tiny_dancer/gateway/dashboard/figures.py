"""What the page shows of requests, read from the database in threads: plain values, as JSON will hold them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.gateway.dashboard.spans import Span
    from tiny_dancer.storage import RequestSummary, SqliteStorage, SummaryBy

GROUPINGS: Final[tuple[SummaryBy, ...]] = ("model", "route", "key")
MOST_GROUPS: Final = 8
"""Groups that are shown by name; what is beyond them is one group together."""


def grouping(query: Mapping[str, str]) -> SummaryBy:
    """What a query groups by.

    Raises:
        GatewayError: 400, nothing can be grouped by that.
    """
    by = query.get("by", "model")
    for known in GROUPINGS:
        if by == known:
            return known
    raise GatewayError(
        400,
        f"Requests cannot be grouped by that; use one of {', '.join(GROUPINGS)}.",
        param="by",
        code="invalid_by",
    )


def summary(storage: SqliteStorage, span: Span) -> dict[str, Any]:
    """Sums over the span."""
    found = storage.request_summary(by="all", since=span.since, until=span.until)
    return {**_span(span), "total": _sums(found[0]) if found else None}


def traffic(storage: SqliteStorage, span: Span, by: SummaryBy) -> dict[str, Any]:
    """Sums by step and by group: the groups with most requests by name, the others as one."""
    starts = span.starts
    steps = list(zip(starts, [*starts[1:], span.until], strict=True))
    whole = [(storage.request_summary(by="all", since=start, until=end) or (None,))[0] for start, end in steps]
    sums = {each.group: each for each in storage.request_summary(by=by, since=span.since, until=span.until)}
    ranked = sorted(sums, key=lambda name: (-sums[name].requests, name or ""))
    named, others = ranked[:MOST_GROUPS], ranked[MOST_GROUPS:]
    columns: dict[str, dict[str, list[float]]] = {
        name: {"requests": [0] * len(steps), "cost": [0.0] * len(steps)} for name in named
    }
    rest = {"requests": [0.0] * len(steps), "cost": [0.0] * len(steps)}
    for place, (start, end) in enumerate(steps):
        if whole[place] is None:
            continue
        for each in storage.request_summary(by=by, since=start, until=end):
            into = columns.get(each.group, rest)
            into["requests"][place] += each.requests
            into["cost"][place] += each.cost + each.other_cost
    names = {key.id: key.name for key in storage.api_keys()} if by == "key" else {}
    groups: list[dict[str, Any]] = [
        {"group": name, "name": names.get(name, name), "of": 1, "sums": _sums(sums[name]), **columns[name]}
        for name in named
    ]
    if others:
        together = _added([_sums(sums[name]) for name in others])
        groups.append({"group": None, "name": None, "of": len(others), "sums": together, **rest})
    return {
        **_span(span),
        "by": by,
        "starts": starts,
        "groups": groups,
        "errors": [0 if each is None else each.errors for each in whole],
        "fallbacks": [0 if each is None else _fallbacks(each) for each in whole],
        "latency": {
            name: [None if each is None else _percentiles(each)[name] for each in whole]
            for name in ("p50", "p90", "p99")
        },
    }


def calibration(storage: SqliteStorage, span: Span) -> dict[str, Any]:
    """Expected quality beside the scores given, and confidences, both in ten bins."""
    found = storage.request_calibration(since=span.since, until=span.until)
    return {**_span(span), "bins": found.bins, "confidence": found.confidence}


def _span(span: Span) -> dict[str, Any]:
    return {"since": span.since, "until": span.until, "step": span.step, "range": span.name}


def _sums(total: RequestSummary) -> dict[str, Any]:
    return {
        "requests": total.requests,
        "errors": total.errors,
        "fallbacks": _fallbacks(total),
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "cached_tokens": total.cached_tokens,
        "cost": total.cost + total.other_cost,
        "compared": total.compared,
        "baseline_cost": total.baseline_cost,
        "saved": total.saved,
        "saved_share": total.saved_share,
        "unpriced": total.unpriced,
        "guessed": total.guessed,
        "guessed_cost": total.guessed_cost,
        "latency": _percentiles(total),
        "feedback": total.feedback,
        "score": total.score,
        "score_interval": getattr(total, "score_interval", None),
    }


def _percentiles(total: RequestSummary) -> dict[str, float | None]:
    found = getattr(total, "latency_percentiles", None)
    return {name: getattr(found, name, None) for name in ("p50", "p90", "p99")}


def _fallbacks(total: RequestSummary) -> int:
    return int(getattr(total, "fallbacks", 0))


_ADDED: Final = (
    "requests", "errors", "fallbacks", "input_tokens", "output_tokens", "cached_tokens", "cost", "compared",
    "baseline_cost", "saved", "unpriced", "guessed", "guessed_cost", "feedback",
)  # fmt: skip


def _added(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of several groups together; percentiles and means cannot be added."""
    sums = {name: math.fsum(each[name] for each in groups) for name in _ADDED}
    share = sums["saved"] / sums["baseline_cost"] if sums["baseline_cost"] else None
    return {**sums, "saved_share": share, "latency": None, "score": None}
