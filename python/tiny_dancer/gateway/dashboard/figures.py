"""What the page shows of requests, read from the database in threads: plain values, as JSON will hold them.

Every number is one of :meth:`~tiny_dancer.storage.RequestStorage.request_summary`, as ``tiny-dancer analytics``
prints it, or a sum of some.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage.summaries import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.gateway.dashboard.spans import Span
    from tiny_dancer.storage import RequestSummary, Storage

GROUPINGS: Final = (
    "model", "router", "routed_by", "route", "agent", "upstream", "endpoint", "key", "user", "team", "project",
    "tag", "variant", "error",
)  # fmt: skip
"""Dimensions that requests can be grouped by on the page."""
MOST_GROUPS: Final = 8
"""Groups that are shown by name; what is beyond them is one group together."""


def grouping(query: Mapping[str, str]) -> str:
    """What a query groups by.

    Raises:
        GatewayError: 400, nothing can be grouped by that.
    """
    by = query.get("by", "model")
    if by in GROUPINGS:
        return by
    message = f"Requests cannot be grouped by that; use one of {', '.join(GROUPINGS)}."
    raise GatewayError(400, message, param="by", code="invalid_by")


def summary(storage: Storage, span: Span) -> dict[str, Any]:
    """Sums over the span; None without requests."""
    found = storage.request_summary(since=span.since, until=span.until)
    return {**_span(span), "total": figures(found[0]) if found else None}


def traffic(storage: Storage, span: Span, by: str) -> dict[str, Any]:
    """Sums by step and by group: the groups with most requests by name, the others as one."""
    starts = span.starts
    steps = list(zip(starts, [*starts[1:], span.until], strict=True))
    # The highest step's percentiles are those of its requests: each step is summed up by itself.
    whole = [(storage.request_summary(since=start, until=end) or (None,))[0] for start, end in steps]
    sums = {each.group[0]: each for each in storage.request_summary(by=by, since=span.since, until=span.until)}
    ranked = sorted(sums, key=lambda name: (-sums[name].requests, name or ""))
    named, others = ranked[:MOST_GROUPS], ranked[MOST_GROUPS:]
    columns = {name: _columns(len(steps)) for name in named}
    rest = _columns(len(steps))
    for place, (start, end) in enumerate(steps):
        if whole[place] is None:
            continue
        for each in storage.request_summary(by=by, since=start, until=end, percentiles=False):
            into = columns.get(each.group[0], rest)
            into["requests"][place] += each.requests
            into["spent"][place] += each.spent
    names = {key.id: key.name for key in storage.api_keys()} if by == "key" else {}
    groups: list[dict[str, Any]] = [
        {
            "group": name,
            "name": names.get(name or "", name),
            "of": 1,
            "rest": False,
            "sums": figures(sums[name]),
            **columns[name],
        }
        for name in named
    ]
    if others:
        together = _added([figures(sums[name]) for name in others])
        groups.append({"group": None, "name": None, "of": len(others), "rest": True, "sums": together, **rest})
    return {
        **_span(span),
        "by": by,
        "starts": starts,
        "groups": groups,
        "errors": [0 if each is None else each.errors for each in whole],
        "fallbacks": [0 if each is None else each.fallbacks for each in whole],
        "latency": {name: [_percentile(each, name) for each in whole] for name in ("p50", "p90", "p99")},
    }


def calibration(storage: Storage, span: Span) -> dict[str, Any]:
    """Expected quality beside the scores given, and confidences, both in ten bins."""
    found = storage.request_calibration(since=span.since, until=span.until)
    return {**_span(span), "bins": found.bins, "confidence": found.confidence}


def _columns(steps: int) -> dict[str, list[float]]:
    return {"requests": [0] * steps, "spent": [0.0] * steps}


def _span(span: Span) -> dict[str, Any]:
    return {"since": span.since, "until": span.until, "step": span.step, "range": span.name}


def _percentile(step: RequestSummary | None, name: str) -> float | None:
    if step is None or step.latency_percentiles is None:
        return None
    found: float = getattr(step.latency_percentiles, name)
    return found


_ADDED: Final = (
    "requests", "errors", "fallbacks", "input_tokens", "output_tokens", "spent", "compared", "baseline_cost",
    "saved", "feedback", "removed", "unknown",
)  # fmt: skip


def _added(groups: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Sums of several groups together; percentiles and means cannot be added, and are left out."""
    sums = {name: math.fsum(each[name] or 0.0 for each in groups) for name in _ADDED}
    return {**sums, "latency_p50": None, "latency_p99": None, "score": None}
